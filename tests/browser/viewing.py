"""A run's page in a browser, let in as people are: by a one-time link."""

import http.client
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.hosting import TIMEOUT_S
from tests.faults.house import FaultHouse

ORDER = """
format: 1
process: order
title: Order parts
input:
  type: object
  properties: {parts: {type: array, items: {type: string}}, amount: {type: number}, text: {type: string}}
  required: [parts, amount]
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      parts: {type: array, items: {type: string}}
      amount: {type: number}
      text: {type: string}
      checked: {type: object}
      approval: {type: object}
start: check
nodes:
  check:
    type: foreach
    title: Look at each part
    items: {var: parts}
    as: part
    key: {var: part}
    body:
      start: look
      nodes:
        look:
          type: supervisor
          title: Is it there?
          seat: {roles: [operator]}
          ask: {title: "Is {{part}} there?"}
          decisions: ["yes", "no"]
          deadline: P2D
          on_timeout: {to: unknown}
          writes: [checked]
        unknown: {type: wait, for: PT0.1S}
    next:
      - {to: approve, when: {">": [{var: amount}, 1000]}, label: dear}
      - {to: side_by_side}
  approve:
    type: supervisor
    title: Somebody decides
    seat: {roles: [finance]}
    ask:
      title: "Order for {{amount}}?"
      form:
        type: object
        properties: {reason: {type: string, title: Reason of the decision, maxLength: 100}}
        required: [reason]
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: refused, label: nobody decided}
    writes: [approval]
    next:
      - {to: side_by_side, when: {"==": [{var: approval.decision}, approve]}}
      - {to: refused}
  side_by_side:
    type: branch
    title: Send and book
    take: every
    arms:
      - name: send
        body:
          start: packed
          nodes:
            packed:
              {type: wait, title: Pack it, event: {name: order.packed}, deadline: P9D, on_timeout: {to: late}}
            late: {type: wait, for: PT0.1S}
      - {name: book, body: {start: booked, nodes: {booked: {type: wait, title: Book it, for: PT0.1S}}}}
    next: [{to: sent}]
  sent: {type: end, outcome: sent, output: {var: amount}}
  refused: {type: end, outcome: refused}
"""


@contextmanager
def viewing(
    browser: Browser, house: FaultHouse, path: str, *, user: str = "", **how: Any
) -> Generator[tuple[Page, list[str]]]:
    """Open a page of the house as `user`; also give what went wrong in it: errors of scripts and of its policy."""
    context = browser.new_context(**how)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_S * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    port = house.folder.read_server().port
    page.goto(f"http://127.0.0.1:{port}{link(house, path, user)}")
    try:
        yield page, errors
    finally:
        context.close()


def link(house: FaultHouse, path: str, user: str = "") -> str:
    """Return a one-time link for `user`."""
    asked = http.client.HTTPConnection("127.0.0.1", house.folder.read_server().port, timeout=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {house.folder.token()}", **({"Upstairs-User": user} if user else {})}
    try:
        asked.request("POST", f"/link?path={path}", headers=headers)
        return str(json.loads(asked.getresponse().read())["path"])
    finally:
        asked.close()
