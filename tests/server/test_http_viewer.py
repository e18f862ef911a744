"""The page of a run over real HTTP: what it shows to whom, its drawings, and steering by its forms."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest

from content.database import Database
from engine.ports import Control, Say
from engine.runs import AuditDraft, Run
from engine.values import Principal
from server.http import make_app
from tests.server.flat import Flat
from tests.server.served import Served, serve
from tests.server.test_http_pages import let_in

pytestmark = pytest.mark.anyio

TRAP = "<img src=x onerror=alert(1)>"
PROCESS = f"""
format: 1
process: invoice
title: "Pay {TRAP}"
context: {{schema: {{type: object, properties: {{amount: {{type: number}}, approval: {{type: object}}}}}}}}
start: check
nodes:
  check:
    type: tool
    tool: some.check
    writes: [amount]
    next: [{{to: approve, when: {{">": [{{var: amount}}, 10]}}, label: "{TRAP}"}}, {{to: done}}]
  approve:
    type: supervisor
    title: "{TRAP}"
    seat: {{roles: [finance]}}
    ask: {{title: Well?}}
    decisions: [approve]
    deadline: P1D
    on_timeout: {{to: done}}
    writes: [approval]
    next: [{{to: done}}]
  done: {{type: end, outcome: done}}
"""
STEP: dict[str, Any] = {
    "step": "1.check",
    "type": "tool",
    "scope": "",
    "to": "approve",
    "tool": "some.check",
    "patch": [{"op": "add", "path": "/amount", "value": 25}],
    "guards": [
        {
            "to": "approve",
            "holds": True,
            "trace": {
                "clauses": [
                    {
                        "at": "",
                        "clause": {">": [{"var": "amount"}, 10]},
                        "value": True,
                        "clauses": [{"at": "/0", "clause": {"var": "amount"}, "value": 25}],
                    }
                ]
            },
        }
    ],
}


class Watched(Flat):
    """The small house with somebody who may look at everything, and somebody who may look at nothing."""

    def local_user(self, name: str | None) -> Principal:
        if name in ("vic", "sam"):
            return Principal(tenant="local", subject=name, roles=frozenset({"viewer"} if name == "vic" else ()))
        return super().local_user(name)


@pytest.fixture
async def flat(tmp_path: Path) -> AsyncGenerator[Flat]:
    opened = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await opened.migrate()
    yield Watched(opened, tmp_path)
    await opened.close()


@pytest.fixture
async def served(flat: Flat) -> AsyncGenerator[Served]:
    async with serve(make_app(flat)) as running:
        yield running


async def at_the_question(flat: Flat, **fields: Any) -> Run:
    """Return a run that has checked and waits for finance."""
    await flat.definitions.publish_text(flat.me, "invoice", PROCESS)
    run = await flat.run(version="1", **fields)
    audit = AuditDraft(key="step/1.check", actor="process:invoice", action="node.finished", node="check", data=STEP)
    await flat.step(run, "step/1.check", status="running", position="approve", audit=(audit,))
    await flat.ask(run, "task_1")
    return run


async def test_the_page_says_why_a_way_was_taken_and_where_a_value_comes_from(served: Served, flat: Flat) -> None:
    run = await at_the_question(flat)
    child = await flat.run(kind="agent", title=f"Look {TRAP}", parent_id=run.run_id)
    with anyio.fail_after(20):
        async with served.http(Accept="text/html") as http:
            text = (await http.get(f"/runs/{run.run_id}")).text
            below = (await http.get(f"/runs/{child.run_id}")).text
    assert "check led to approve" in text
    assert "<code>{&quot;var&quot;:&quot;amount&quot;}</code> → <code>25</code>" in text
    assert re.search(
        r'<th scope="row">amount</th><td><code>25</code></td><td><ul><li>.*?check</a>, tool some.check', text
    )
    assert f'href="/runs/{child.run_id}"' in text
    assert f'href="/runs/{run.run_id}"' in below
    assert 'data-node="nodes/approve" data-type="supervisor" data-state="waiting"' in text
    assert "<img" not in text
    assert 'action="/inbox/task_1"' in text
    assert "<svg" not in below


async def test_the_drawing_is_for_those_who_may_see_the_run_and_runs_under_the_policy(
    served: Served, flat: Flat
) -> None:
    run = await at_the_question(flat)
    with anyio.fail_after(20):
        async with served.http() as http:
            answer = await http.get(f"/runs/{run.run_id}/drawing.svg")
            assert answer.headers["content-type"] == "image/svg+xml"
            root = ElementTree.fromstring(answer.text)
            states = {one.get("data-node"): one.get("data-state") for one in root.iter() if one.get("data-node")}
            assert states == {"nodes/check": "done", "nodes/approve": "waiting", "nodes/done": None}
            # The one style in it is let in by its digest, and nothing else is.
            policy = answer.headers["content-security-policy"]
            assert re.search(r"style-src 'self' 'sha256-[A-Za-z0-9+/=]+';", policy)
            assert "unsafe" not in policy
            alone = await http.get("/processes/invoice@1.svg")
            assert "data-state" not in alone.text.partition("</style>")[2]
            assert (await http.get("/processes/other.svg")).status_code == 404
            assert (await http.get("/processes/..%2Fx.svg")).status_code in (404, 422)
            sam = {"Upstairs-User": "sam"}
            for path in ("", "/parts", "/drawing.svg", "/events"):
                assert (await http.get(f"/runs/{run.run_id}{path}", headers=sam)).status_code == 404, path
            mine = await flat.run(kind="agent")
            assert (await http.get(f"/runs/{mine.run_id}/drawing.svg")).status_code == 422
        async with served.http(token=None) as stranger:
            for path in (f"/runs/{run.run_id}/parts", f"/runs/{run.run_id}/drawing.svg", "/processes/invoice.svg"):
                assert (await stranger.get(path)).status_code == 401


async def test_a_form_of_the_page_gives_a_control_verb_and_another_page_gives_none(served: Served, flat: Flat) -> None:
    run = await at_the_question(flat)
    place = f"/runs/{run.run_id}/control"
    with anyio.fail_after(20):
        async with served.browser() as browser:
            await let_in(served, browser)
            own = {"Origin": served.url}
            filled = {"action": "skip", "target": "approve", "values": '{"approval": {"x": 1}}', "reason": "by hand"}
            answer = await browser.post(place, data=filled, headers=own)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run.run_id}")
            for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
                assert (await browser.post(place, data=filled, headers=headers)).status_code == 403
            wrong = {"skip": "[1]", "explode": "", "set_context": f"{TRAP}"}
            for action, values in wrong.items():
                answer = await browser.post(place, data={"action": action, "values": values}, headers=own)
                assert answer.status_code == 422
                assert 'role="alert"' in answer.text
                assert TRAP not in answer.text
            said = await browser.post(place, data={"action": "message", "text": " hello "}, headers=own)
            assert said.status_code == 303
            assert (await browser.post("/runs/run_404/control", data=filled, headers=own)).status_code == 404
            assert (await browser.post(place, content=b"{}", headers=own)).status_code == 422
    control, message, _ = flat.control.said
    assert isinstance(control, Control)
    assert (control.action, control.by.subject, control.target, control.reason) == ("skip", "me", "approve", "by hand")
    assert control.values == {"approval": {"x": 1}}
    assert isinstance(message, Say)
    assert message.text == "hello"


OFFERED: list[tuple[str, dict[str, Any], str, set[str]]] = [
    ("me", {}, "running", {"pause", "stop", "cancel", "retry", "skip", "advance", "set_context", "rewind", "migrate"}),
    (
        "finn",
        {},
        "paused",
        {"resume", "stop", "cancel", "retry", "skip", "advance", "set_context", "rewind", "migrate"},
    ),
    ("vic", {}, "running", set()),
    ("me", {}, "failed", {"retry"}),
    ("me", {}, "completed", set()),
    ("me", {"kind": "agent"}, "running", {"pause", "checkpoint", "stop", "cancel", "message"}),
    ("vic", {"kind": "agent"}, "running", set()),
]


@pytest.mark.parametrize(("user", "fields", "status", "offered"), OFFERED)
async def test_a_viewer_is_offered_what_their_role_the_kind_and_the_status_allow(
    served: Served, flat: Flat, user: str, fields: dict[str, Any], status: str, offered: set[str]
) -> None:
    run = await at_the_question(flat, **fields)
    await flat.step(run, "status", status=status)
    with anyio.fail_after(20):
        async with served.http(Accept="text/html", **{"Upstairs-User": user}) as http:
            text = (await http.get(f"/runs/{run.run_id}")).text
    assert set(re.findall(r'name="action" value="(\w+)"', text)) == offered
    # Only whoever holds the seat gets the form of the question, as long as it is open.
    asks = user == "me" and status in ("running", "paused")
    assert ('action="/inbox/task_1"' in text) == asks
