"""The tools of the skill `processes` on real runs: telling what happened outside, why, and where from."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from content.interactions import Interactions
from content.versions import VersionStore
from engine.errors import Denied, Invalid, NotFound
from engine.values import Principal
from server.activities.scripts import Scripts
from server.verification import Outside, verify_text
from skills.catalogue import Catalogue
from skills.core import CORE_TOOLS
from skills.toolbox import Toolbox
from tests.processes.test_events import order, waiting
from tests.server.engine_house import EngineHouse
from tests.skills.house import House

pytestmark = pytest.mark.anyio


@pytest.fixture
def tools(house: EngineHouse, tmp_path: Path) -> House:
    """The tools over the runs of the house."""
    found = House(house.database, tmp_path)
    found.services = replace(found.services, control=house.control, runs=house.store)
    return found


@pytest.fixture
async def outside(house: EngineHouse) -> AsyncGenerator[Outside]:
    """What a definition may name, and the sandbox."""
    scripts = Scripts()
    yield Outside(
        Toolbox(Catalogue.load(), CORE_TOOLS),
        Interactions(house.database),
        VersionStore(house.database, "process"),
        scripts,
    )
    await scripts.close()


async def test_a_tool_sends_the_event_and_others_say_why_and_where_from(
    house: EngineHouse, tools: House, alice: Principal
) -> None:
    run = await house.start(alice, order(), {"number": "T1"})
    await waiting(house, alice, run)
    event = {"name": "payment", "payload": {"amount": 5}, "match": {"order": "T1"}, "idempotency_key": "bank-1"}
    sent = await tools.call(alice, "processes.send_event", **event)
    assert (sent["consumed"], sent["kept"]) == ([run.run_id], [])
    assert await tools.call(alice, "processes.send_event", **event) == sent
    assert (await house.finished(alice, run)).status == "completed"
    found = await tools.call(alice, "processes.provenance", run_id=run.run_id, key="payment")
    assert found["value"] == {"amount": 5}
    assert [(write["node"], write["step"], write["op"]) for write in found["writes"]] == [("paid", "1.paid", "add")]
    why = await tools.call(alice, "processes.explain", run_id=run.run_id)
    assert [one["because"] for one in why["transitions"]] == [
        "paid led to done, the way without a guard",
        "done ended the run as paid",
    ]
    with pytest.raises(NotFound, match="nothing in the run"):
        await tools.call(alice, "processes.provenance", run_id=run.run_id, key="nothing")
    with pytest.raises(Invalid, match="its nodes are paid, done"):
        await tools.call(alice, "processes.explain", run_id=run.run_id, step="elsewhere")
    stranger = Principal(tenant="other", subject="alice", roles=frozenset({"operator"}))
    for name, more in (("provenance", {"key": "payment"}), ("explain", {})):
        with pytest.raises(NotFound):
            await tools.call(stranger, f"processes.{name}", run_id=run.run_id, **more)
    with pytest.raises(Denied):
        await tools.call(alice.model_copy(update={"kind": "agent"}), "processes.send_event", **event)


PUBLISHED = """
format: 1
process: outer
context: {schema: {type: object, additionalProperties: false, properties: {n: {type: number}}}}
start: count
nodes:
  count: {type: script, code: "CODE", writes: [n], next: [{to: inner}]}
  inner: {type: process, process: PROCESS, next: [{to: done}]}
  done: {type: end, outcome: done}
"""


@pytest.mark.parametrize(
    ("code", "process", "found"),
    [
        ("{'n': 1}", "outer", []),
        (
            "{'n': nope}",
            "outer",
            [("script_refused", "/nodes/count/code", "line 1: Name `nope` used when not defined")],
        ),
        (
            "import socket; {'n': 1}",
            "outer",
            [("script_refused", "/nodes/count/code", "line 1: Cannot resolve imported module `socket`")],
        ),
        ("{'n': = 1}", "outer", [("script_syntax", "/nodes/count/code", "line 1: it is not Python: invalid syntax")]),
        (
            "{'n': 1}",
            "elsewhere",
            [
                (
                    "unknown_process",
                    "/nodes/inner/process",
                    "there is no process 'elsewhere'; create it first or correct the name",
                )
            ],
        ),
    ],
)
async def test_what_a_script_or_a_child_names_is_looked_up_before_a_definition_is_published(
    outside: Outside, alice: Principal, code: str, process: str, found: list[tuple[str, str, str]]
) -> None:
    text = PUBLISHED.replace("CODE", code).replace("PROCESS", process)
    findings = await verify_text(outside, alice, text)
    assert [(one.code, one.path, one.message) for one in findings if one.severity == "error"] == found


ASKING = """
format: 1
process: asking
start: ask
nodes:
  ask:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Pay?", description: "TEXT"}
    decisions: [yes, no]
    next: [{to: done}]
  done: {type: end, outcome: done}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{#if paid}}paid{{else}}open{{/if}}", ""),
        ("{{shout paid}}", "shout"),
        ("{{> letterhead}}", "letterhead"),
        ("{{#if paid}}paid", "if"),
    ],
)
async def test_a_text_that_no_run_could_fill_in_is_refused_before_a_definition_is_published(
    outside: Outside, alice: Principal, text: str, message: str
) -> None:
    findings = await verify_text(outside, alice, ASKING.replace("TEXT", text))
    refused = [one for one in findings if one.code == "text_refused"]
    assert [one.path for one in refused] == (["/nodes/ask/ask/description"] if message else [])
    assert all(message in one.message for one in refused)
