"""Publishing a process: errors block it, and so do its own scenarios, unless somebody says why not."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from content.database import Database
from content.definitions import ProcessDefinitions
from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.process.definition import parse_definition
from engine.process.findings import Finding
from engine.process.verify import verify
from engine.values import Principal, canonical_json

pytestmark = pytest.mark.anyio

PASSES = {"name": "small", "fixtures": {"read": {"result": 5}}, "expect": {"outcome": "done"}}
FAILS = {"name": "large", "fixtures": {"read": {"result": 50}}, "expect": {"outcome": "asked"}}


def text(*scenarios: dict[str, Any], **changes: Any) -> str:
    definition = {
        "format": 1,
        "process": "pay",
        "context": {"schema": {"type": "object", "properties": {"sum": {"type": "number"}}}},
        "start": "read",
        "nodes": {
            "read": {"type": "tool", "tool": "erp.read", "writes": ["sum"], "next": [{"to": "done"}]},
            "done": {"type": "end"},
        },
        "scenarios": list(scenarios),
        **changes,
    }
    return canonical_json(definition)


async def verifier(principal: Principal, text: str) -> list[Finding]:
    return verify(parse_definition(text))


@pytest.fixture
async def definitions(tmp_path: Path) -> AsyncGenerator[ProcessDefinitions]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await database.migrate()
    yield ProcessDefinitions(database, verifier)
    await database.close()


async def test_what_its_scenarios_confirm_is_published(definitions: ProcessDefinitions, alice: Principal) -> None:
    assert (await definitions.publish_text(alice, "pay", text(PASSES), comment="first")).comment == "first"


async def test_failing_scenarios_block_a_publication_and_are_named(
    definitions: ProcessDefinitions, alice: Principal
) -> None:
    with pytest.raises(Invalid, match="1 scenarios of the process 'pay' fail, the first is 'large'") as caught:
        await definitions.publish_text(alice, "pay", text(PASSES, FAILS))
    (failing,) = caught.value.details["failing"]
    assert failing == {"scenario": "large", "problems": ["the outcome should be 'asked', and it ended with 'done'"]}
    with pytest.raises(NotFound):
        await definitions.find(alice, "pay@1")


async def test_a_reason_lets_failing_scenarios_through_and_is_kept_with_the_version(
    definitions: ProcessDefinitions, alice: Principal
) -> None:
    version = await definitions.publish_text(alice, "pay", text(FAILS), comment="first", despite="the seat is new")
    kept = await definitions.find(alice, version.address)
    assert kept == version
    assert version.comment == "first\nPublished though scenarios fail (large): the seat is new"


async def test_a_reason_without_a_failure_leaves_no_trace(definitions: ProcessDefinitions, alice: Principal) -> None:
    assert (await definitions.publish_text(alice, "pay", text(PASSES), despite="in a hurry")).comment == ""


async def test_no_reason_lets_errors_through(definitions: ProcessDefinitions, alice: Principal) -> None:
    with pytest.raises(Invalid, match="has 1 errors, the first at /start"):
        await definitions.publish_text(alice, "pay", text(start="nowhere"), despite="in a hurry")


async def test_with_a_reason_too_only_a_publisher_publishes_and_only_what_was_reviewed(
    definitions: ProcessDefinitions, alice: Principal
) -> None:
    draft = await definitions.put_draft(alice, "pay", text(FAILS))
    writer = alice.model_copy(update={"subject": "wim", "roles": frozenset({"author"})})
    with pytest.raises(Denied):
        await definitions.publish(writer, "pay", despite="mine")
    with pytest.raises(Conflict, match="at revision 1, not 2"):
        await definitions.publish(alice, "pay", revision=draft.revision + 1, despite="mine")
    with pytest.raises(Invalid, match="2000 are kept"):
        await definitions.publish(alice, "pay", despite="x" * 3000)
