"""The scripts of the examples compute for real what the scenarios take as given."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

import examples
from engine.process.definition import NodeBase, ProcessDefinition, parse_definition
from engine.process.nodes.script import ScriptNode
from skills.sandbox import Sandbox, open_sandbox

pytestmark = pytest.mark.anyio

PROCESSES = Path(examples.__file__).parent / "processes"
CLAIM = {"says": "Prices are fixed.", "quote": "fixed  prices", "anchor": "c@1#1;0-9"}
OTHER = {"says": "They change.", "quote": "may change", "anchor": "c@1#2;0-9"}
CAP = {"number": "7", "topic": "liability cap", "text": "No cap."}
TERM = {"number": "", "topic": "term", "text": "Two years."}
LAW = {"number": "9", "topic": "governing law", "text": "Elsewhere."}
CAPPED = {"deviation": "major", "why": "no cap", "rule": "a cap", "anchor": "p@1#1;0-5", "proposal": "A cap."}
SOUND = {"deviation": "none", "why": "", "rule": "", "anchor": "", "proposal": ""}


def nodes_of(nodes: Mapping[str, NodeBase]) -> Iterator[tuple[str, NodeBase]]:
    for name, node in nodes.items():
        yield name, node
        for nested in node.bodies():
            yield from nodes_of(cast("Mapping[str, NodeBase]", nested.body.nodes))


def scripts(definition: ProcessDefinition) -> dict[str, ScriptNode]:
    return {name: node for name, node in nodes_of(definition.nodes) if isinstance(node, ScriptNode)}


def read(process: str) -> ProcessDefinition:
    return parse_definition((PROCESSES / f"{process}.yaml").read_text())


CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("loan_origination", "rate", {"left": 2100, "amount": 60000, "known": True}, {"rating": "good"}),
    ("loan_origination", "rate", {"left": 900, "amount": 60000, "known": True}, {"rating": "fair"}),
    ("loan_origination", "rate", {"left": 900, "amount": 60000, "known": False}, {"rating": "poor"}),
    (
        "research_with_citations",
        "flatten",
        {"all": [{"claims": [CLAIM, OTHER]}, {"claims": [CLAIM]}, {"item": "a part", "error": {"kind": "exhausted"}}]},
        {"cited": [CLAIM, OTHER]},
    ),
    (
        "research_with_citations",
        "compare",
        {"quote": "fixed  prices", "text": "There are fixed\nprices."},
        {"literal": True},
    ),
    ("research_with_citations", "compare", {"quote": "free prices", "text": "fixed prices"}, {"literal": False}),
    ("research_with_citations", "compare", {"quote": " ", "text": "fixed prices"}, {"literal": False}),
    (
        "research_with_citations",
        "misquoted",
        {},
        {"finding": {"stands": False, "why": "the passage does not have these words"}},
    ),
    (
        "research_with_citations",
        "sift",
        {
            "checked": [
                {"claim": CLAIM, "finding": {"stands": True, "why": ""}},
                {"claim": OTHER, "finding": {"stands": False, "why": ""}},
                {"item": OTHER, "error": {"kind": "not_found"}},
            ]
        },
        {"standing": [CLAIM], "shaky": 2, "wish": "what did not stand needs other sources"},
    ),
    (
        "contract_review",
        "draw_up",
        {
            "compared": [
                {"clause": CAP, "finding": CAPPED},
                {"clause": TERM, "finding": SOUND},
                {"item": LAW, "error": {"kind": "unavailable"}},
            ]
        },
        {
            "deviations": [
                {"number": "7", "topic": "liability cap", "deviation": "major", "why": "no cap", "anchor": "p@1#1;0-5"},
                {
                    "number": "9",
                    "topic": "governing law",
                    "deviation": "major",
                    "why": "it could not be compared",
                    "anchor": "",
                },
            ],
            "major": 2,
            "redline": "## 7 liability cap\n\nStruck out: No cap.\n\nInstead: A cap.\n\n## term\n\nTwo years.\n\n"
            "## 9 governing law\n\nElsewhere.",
        },
    ),
]


@pytest.fixture(scope="module")
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with open_sandbox() as opened:
        yield opened


@pytest.mark.parametrize(("process", "node", "values", "expected"), CASES)
async def test_a_script_gives_its_writes(
    sandbox: Sandbox, process: str, node: str, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    script = scripts(read(process))[node]
    assert set(values) == set(script.input)
    with anyio.fail_after(60):
        done = await sandbox.run(
            script.code, values, name=node, seconds=5.0, seed="s", at=datetime(2026, 1, 5, 9, tzinfo=UTC)
        )
    assert done.value == expected


def test_each_script_of_the_examples_is_computed_here() -> None:
    there = {(path.stem, node) for path in PROCESSES.glob("*.yaml") for node in scripts(read(path.stem))}
    assert there == {(process, node) for process, node, _, _ in CASES}
