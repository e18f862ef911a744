"""A person at the designer in a browser, let in as people are: by a one-time link."""

import http.client
import json
import re
from collections.abc import Generator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.hosting import TIMEOUT_S
from tests.faults.house import FaultHouse

COMMENTED = """\
# Why this is so.
format: 1
process: commented
input: {type: object, properties: {total: {type: number}}, required: [total]}
context:
  schema: {type: object, additionalProperties: false, properties: {total: {type: number}}}
start: check
nodes:
  # It looks at nothing.
  check:
    type: wait
    for: PT1S   # a moment
    next:
      - {to: large, when: {">": [{var: total}, 10]}}
      - {to: small}
  large: {type: end, outcome: large}
  small: {type: end, outcome: small}
scenarios:
  - name: a large one
    input: {total: 11}
    expect: {path: [check, large], outcome: large}
"""


@contextmanager
def designing(browser: Browser, house: FaultHouse, name: str, *, user: str = "", path: str = "") -> Generator[Page]:
    """Open the designer of a process as a person; whatever the page asks of other hosts or logs as wrong fails."""
    context = browser.new_context(viewport={"width": 1500, "height": 950})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_S * 1000)
    wrong: list[str] = []
    port = house.folder.read_server().port
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    page.on("request", lambda asked: wrong.append(asked.url) if f"//127.0.0.1:{port}/" not in asked.url else None)
    path = path or f"/processes/{name}/design"
    page.goto(f"http://127.0.0.1:{port}{link(house, path, user)}")
    if path.endswith("/design"):
        expect(page.locator("#designer")).not_to_have_attribute("aria-busy", "true")
    yield page
    # A page with changes asks before it goes; closing it does not.
    context.close()
    assert wrong == []


def link(house: FaultHouse, path: str, user: str = "") -> str:
    """Return the one-time link of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", house.folder.read_server().port, timeout=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {house.folder.token()}"} | ({"Upstairs-User": user} if user else {})
    connection.request("POST", f"/link?path={path}", headers=headers)
    found = json.loads(connection.getresponse().read())
    connection.close()
    return str(found["path"])


def node(page: Page, path: str) -> Locator:
    return page.locator(f"#canvas .node[data-path='nodes/{path}']")


def shape(page: Page, path: str) -> Locator:
    """The outline of a node, without the nodes inside it."""
    return page.locator(f"#canvas .node[data-path='nodes/{path}'] > .shape").first


def add(page: Page, kind: str) -> None:
    page.locator("#palette").get_by_role("button", name=kind, exact=True).click()


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def fill(page: Page, label: str, value: str) -> None:
    page.locator("#panel").get_by_label(label, exact=True).first.fill(value)


def connect(page: Page, source: str, target: str) -> None:
    """Drag a way from a node to another, as with a mouse."""
    drawn(page)
    shape(page, source).hover()
    handle = node(page, source).locator("> .handle").bounding_box()
    goal = shape(page, target).bounding_box()
    assert handle is not None
    assert goal is not None
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(goal["x"] + 20, goal["y"] + 10, steps=4)
    page.mouse.up()
    expect(way(page, source, target)).to_be_attached()


def way(page: Page, source: str, target: str, kind: str = "way") -> Locator:
    return page.locator(f"#canvas .way[data-key='{kind} nodes/{source} nodes/{target}']")


def drawn(page: Page) -> None:
    """Wait until the drawing shows the last change."""
    expect(page.locator("#canvas")).not_to_have_attribute("aria-busy", "true")


def settled(page: Page, said: str | re.Pattern[str] = "The verifier finds nothing to mend.") -> None:
    drawn(page)
    expect(page.locator("#verdict")).to_have_text(said)


def kept(page: Page) -> str:
    """The text as it stands in the page."""
    drawn(page)
    tab(page, "Text")
    return page.get_by_label("Definition", exact=True).input_value()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#notice")).to_contain_text("Saved as revision")
