"""Definitions of Vertesia are taken over: what means the same, what comes near, what is left out, what is refused."""

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.document import read_document
from engine.process.imports import import_vertesia
from engine.process.simulate import play
from skills.sandbox import Sandbox, open_sandbox
from tests.engine.vertesia_samples import REVIEW, changed, node, said, small

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with open_sandbox() as opened:
        yield opened


# --- what comes of it ---------------------------------------------------------------------------------------------


def test_a_definition_with_every_type_of_node_is_taken_over_verified_and_can_be_carried_out() -> None:
    imported = import_vertesia(json.dumps(REVIEW))
    assert imported.findings == ()
    assert imported.verifies
    assert imported.process == "supplier_review"
    assert set(said(imported, "mapped")) == {f"/nodes/{name}" for name in REVIEW["nodes"]}
    types = {name: one["type"] for name, one in imported.definition.canonical()["nodes"].items()}
    assert types == {
        "read_file": "interaction", "each_clause": "foreach", "count_them": "script", "side_by_side": "branch",
        "side_by_side_collect": "script", "weigh": "agent", "route": "script", "accept": "script",
        "ask_legal": "supervisor", "file_it_input": "script", "file_it": "tool", "done": "end", "refused": "end",
        "unanswered": "end",
    }  # fmt: skip
    assert imported.needs.model_dump() == {
        "tools": ("file_record", "look_up", "search"),
        "interactions": ("ReadFile",),
        "skills": ("law",),
        "processes": ("supplier_history",),
    }


def test_a_call_of_a_model_keeps_its_input_its_writes_and_its_retries() -> None:
    assert node(import_vertesia(REVIEW), "read_file") == {
        "type": "interaction",
        "title": "Read the file",
        "about": "A model reads the file.",
        "interaction": "ReadFile",
        "input": {"doc": {"var": "doc_id"}, "why": {"cat": ["File of ", {"var": "doc_id"}, ", please"]}},
        "writes": ["supplier", "amount", "clauses"],
        "retry": {"max_attempts": 2},
        "next": [{"to": "each_clause"}],
    }


def test_a_repetition_keeps_items_keys_bounds_and_what_it_collects() -> None:
    found = node(import_vertesia(REVIEW), "each_clause")
    body = found.pop("body")
    assert found == {
        "type": "foreach",
        "items": {"var": "clauses"},
        "as": "clause",
        "key": {"var": "clause.id"},
        "max_concurrency": 4,
        "on_item_error": "collect",
        "collect": {"into": "findings", "fields": ["clause", "finding"]},
        "writes": ["findings"],
        "next": [{"to": "count_them"}],
    }
    assert body == {
        "start": "each_clause_item",
        "nodes": {
            "each_clause_item": {
                "type": "agent",
                "instructions": "Weigh this clause: {{clause.text}}",
                "reads": [],
                "skills": ["law"],
                "tools": ["search"],
                "exclude_tools": ["write"],
                "writes": ["finding"],
            }
        },
    }


def test_a_choice_routes_with_its_default_last_and_an_agent_chooses_its_own_way() -> None:
    imported = import_vertesia(REVIEW)
    assert node(imported, "route")["next"] == [
        {"to": "ask_legal", "label": "large", "when": {">": [{"var": "amount"}, 1000]}},
        {"to": "accept"},
    ]
    weigh = node(imported, "weigh")
    assert weigh["instructions"] == "Weigh {{supplier}} and choose _next."
    assert [way["trigger"] for way in weigh["next"]] == ["agent", "agent"]


def test_a_task_of_a_person_becomes_a_seat_with_the_same_form_and_gets_a_deadline() -> None:
    found = node(import_vertesia(REVIEW, deadline="P5D"), "ask_legal")
    assert found["seat"] == {"groups": ["legal"]}
    assert found["ask"] == {
        "title": "Accept {{supplier}}?",
        "description": "{{opinion}}",
        "form": {
            "type": "object",
            "properties": {
                "decision": {"type": "string", "enum": ["accepted", "refused"]},
                "notes": {"type": "string", "title": "Why"},
            },
            "required": ["decision"],
            "additionalProperties": False,
        },
    }
    assert (found["decisions"], found["deadline"], found["on_timeout"]) == (["done"], "P5D", {"to": "unanswered"})
    assert found["writes"] == ["ask_legal_answer", "decision", "notes"]


@pytest.mark.parametrize(
    ("assignee", "seat"),
    [
        ("group:legal", {"groups": ["legal"]}),
        ("role:cfo", {"roles": ["cfo"]}),
        ("fay", {"users": ["fay"]}),
        ("{{supplier}}", {"roles": ["approver"]}),
        (..., {"roles": ["approver"]}),
    ],
)
def test_who_is_asked_is_who_was_asked_there_or_people_who_approve(assignee: Any, seat: dict[str, Any]) -> None:
    imported = import_vertesia(changed("/nodes/ask_legal/task/assignee", assignee))
    assert node(imported, "ask_legal")["seat"] == seat
    noted = "/nodes/ask_legal/task/assignee" in said(imported, "approximated")
    assert noted == (assignee not in ("group:legal", "role:cfo"))


def test_what_only_a_start_can_give_is_its_input() -> None:
    canonical = import_vertesia(REVIEW).definition.canonical()
    assert canonical["input"]["required"] == ["doc_id"]
    assert canonical["input"]["additionalProperties"] is False
    assert set(canonical["input"]["properties"]) == {"doc_id"}


@pytest.mark.parametrize(("amount", "decision"), [(10, None), (5000, "accepted"), (5000, "refused")])
def test_an_imported_definition_goes_the_way_that_it_went_there(amount: int, decision: str | None) -> None:
    legal = {"decision": "done", "by": "lou", "values": {"decision": decision, "notes": "seen"}}
    scenario = {
        "name": "as there",
        "input": {"doc_id": "obj_1"},
        "actors": {"lou": {"groups": ["legal"]}},
        "fixtures": {
            "read_file": {"result": {"supplier": "ACME", "amount": amount, "clauses": [{"id": "a", "text": "t"}]}},
            "each_clause_item": {"result": {"finding": "fine"}},
            "count_them": {"result": {"score": 1}},
            "side_by_side_bank": {"result": "sound"},
            "side_by_side_history": {"result": {"outcome": "done", "output": {"summary": "long"}}},
            "side_by_side_collect": {"result": {"checks": []}},
            "weigh": {"result": {"opinion": "good", "_next": "route"}},
            "route": {"result": {}},
            "accept": {"result": {"decision": "accepted", "legal": {}}},
            **({"ask_legal": legal} if decision else {}),
            "file_it_input": {"result": {"file_it_input": {"record": {}}}},
            "file_it": {"result": {"id": 1}},
        },
    }
    read = read_document(import_vertesia(REVIEW).text)
    definition: ProcessDefinition = parse_definition({**read, "scenarios": [scenario]})
    played = play(definition, definition.scenarios[0])
    assert played.problems == ()
    before = ("read_file", "each_clause", "count_them", "side_by_side", "side_by_side_collect", "weigh", "route")
    if decision is None:
        assert played.path == (*before, "accept", "file_it_input", "file_it", "done")
    elif decision == "accepted":
        assert played.path == (*before, "ask_legal", "file_it_input", "file_it", "done")
    else:
        assert played.path == (*before, "ask_legal", "refused")
    assert played.context["findings"] == [{"clause": {"id": "a", "text": "t"}, "finding": "fine"}]
    assert played.context["side_by_side_history_output"] == "long"


HOSTILE = "'}; import os; {'"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        (
            "accept",
            {"v1": "none for ACME", "old_legal": {"team": "north"}},
            {"decision": "accepted", "legal": {"team": "north", "note": "none for ACME"}},
        ),
        (
            "accept",
            {"v1": HOSTILE, "old_legal": None},
            {"decision": "accepted", "legal": {"note": HOSTILE}},
        ),
        (
            "file_it_input",
            {"v1": "ACME", "v2": "as accepted"},
            {"file_it_input": {"record": {"who": "ACME", "why": ["as accepted", 7]}}},
        ),
        (
            "side_by_side_collect",
            {"side_by_side_bank_output": "sound", "side_by_side_history_output": {"a": 1}},
            {
                "checks": [
                    {"index": 0, "branch_id": "bank", "output": "sound"},
                    {"index": 1, "branch_id": "history", "output": {"a": 1}},
                ]
            },
        ),
        ("count_them", {"clauses": [1, 2, 3]}, {"score": 3}),
        ("route", {}, {}),
    ],
)
async def test_the_scripts_that_an_import_writes_compute_what_the_source_says(
    sandbox: Sandbox, name: str, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = node(import_vertesia(REVIEW), name)
    assert set(made.get("input", {})) == set(values)
    with anyio.fail_after(60):
        done = await sandbox.run(
            made["code"], values, name=name, seconds=5.0, seed="s", at=datetime(2026, 1, 5, 9, tzinfo=UTC)
        )
    assert done.value == expected


async def test_a_text_of_the_source_never_becomes_code(sandbox: Sandbox) -> None:
    update = {"decision": HOSTILE, f"legal.{HOSTILE}": '"""\n{{supplier}}'}
    made = node(import_vertesia(changed("/nodes/accept/config/context_update", update)), "accept")
    with anyio.fail_after(60):
        done = await sandbox.run(
            made["code"], {"v1": '"""\nACME', "old_legal": {}}, name="accept", seconds=5.0, seed="s",
            at=datetime(2026, 1, 5, 9, tzinfo=UTC),
        )  # fmt: skip
    assert done.value == {"decision": HOSTILE, "legal": {HOSTILE: '"""\nACME'}}


def test_a_definition_inside_another_becomes_one_of_its_own() -> None:
    inner = small({"look": {"type": "interaction", "interaction": "Look", "writes": ["seen"]}}, seen={"type": "string"})
    outer = small(
        {
            "child": {
                "type": "process",
                "process_definition": inner,
                "writes": ["seen"],
                "transitions": [{"to": "end"}],
            },
            "end": {"type": "final"},
        },
        seen={"type": "string"},
    )  # fmt: skip
    imported = import_vertesia(outer)
    (child,) = imported.children
    assert (imported.process, child.process) == ("small", "small_2")
    assert node(imported, "child")["process"] == "small_2"
    assert node(imported, "child")["returns"] == {"seen": {"var": "output.seen"}}
    assert imported.verifies
    assert child.verifies
    assert child.notes[0].source.startswith("/nodes/child/process_definition")


def test_things_outside_get_the_names_that_they_have_here() -> None:
    names = {"ReadFile": "read_file", "file_record": "erp.file", "supplier_history": "history"}
    imported = import_vertesia(REVIEW, names=names)
    assert node(imported, "read_file")["interaction"] == "read_file"
    assert node(imported, "file_it")["tool"] == "erp.file"
    arms = node(imported, "side_by_side")["arms"]
    assert arms[1]["body"]["nodes"]["side_by_side_history"]["process"] == "history@3"


def test_names_that_are_none_here_are_changed_wherever_they_stand() -> None:
    nodes = {
        "1st step!": {
            "type": "tool",
            "tool": "set_context",
            "input": {"updates": {"sum-total": "{{start-sum}}"}},
            "writes": ["sum-total"],
            "transitions": [{"to": "1st end", "guard": {">": [{"var": "context.sum-total"}, 1]}}, {"to": "other end"}],
        },
        "1st end": {"type": "final", "title": "{{sum-total}}"},
        "other end": {"type": "final"},
    }
    imported = import_vertesia(small(nodes, **{"sum-total": {"type": "number"}, "start-sum": {"type": "number"}}))
    assert imported.findings == ()
    first = node(imported, "st_step_")
    assert (first["input"], first["writes"]) == ({"v1": {"var": "start_sum"}}, ["sum_total"])
    assert first["next"] == [{"to": "st_end", "when": {">": [{"var": "sum_total"}, 1]}}, {"to": "other_end"}]
    assert "the node '1st step!' is called 'st_step_' here" in [note.message for note in imported.of("approximated")]


# --- what comes near ----------------------------------------------------------------------------------------------


def test_what_may_be_missing_begins_as_null_as_it_does_there() -> None:
    nodes = {
        "ask": {
            "type": "human_task",
            "task": {"title": "{{user.name}}: {{answer}}?", "fields": []},
            "transitions": [{"to": "good", "guard": {"==": [{"var": "answer"}, "yes"]}}, {"to": "set"}],
        },
        "set": {"type": "interaction", "interaction": "Set", "writes": ["answer"], "transitions": [{"to": "ask"}]},
        "good": {"type": "final"},
    }
    imported = import_vertesia(small(nodes, answer={"type": "string"}))
    assert imported.findings == ()
    context = imported.definition.canonical()["context"]
    assert context["initial"] == {"answer": None, "user": None}
    assert context["schema"]["properties"]["answer"] == {"type": ["string", "null"]}
    assert sum("null" in note.message for note in imported.of("approximated")) == 2


def test_where_no_guard_may_hold_and_where_a_cycle_may_not_end_the_run_does() -> None:
    nodes = {
        "set": {
            "type": "interaction",
            "interaction": "Set",
            "writes": ["n"],
            "transitions": [
                {"to": "set", "guard": {"<": [{"var": "n"}, 3]}},
                {"to": "end", "guard": {">": [{"var": "n"}, 9]}},
            ],
        },
        "end": {"type": "final"},
    }
    imported = import_vertesia(small(nodes, n={"type": "number"}))
    assert imported.findings == ()
    found = node(imported, "set")
    assert found["next"][-1] == {"to": "no_transition"}
    assert found["max_visits"] == 100


def test_a_guard_that_cannot_be_evaluated_leaves_the_choice_to_a_person() -> None:
    imported = import_vertesia(changed("/nodes/ask_legal/transitions/0/guard", {"regex": [{"var": "decision"}, "a"]}))
    assert node(imported, "ask_legal")["next"][0] == {"to": "file_it_input", "trigger": "user"}
    assert "there is no operator 'regex'" in said(imported, "not_mapped")["/nodes/ask_legal/transitions/0/guard"]
    assert imported.verifies


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/resources/scripts/count/language", "javascript"),
        ("/resources/scripts/count/packages", ["numpy"]),
        ("/resources/scripts/count/source/files/main.py", "score = 1"),
        ("/resources/scripts/count/source/files/main.py", "def f("),
    ],
)
def test_code_that_is_not_run_here_is_asked_of_people_until_it_is_written_anew(path: str, value: Any) -> None:
    imported = import_vertesia(changed(path, value))
    found = node(imported, "count_them")
    assert (found["type"], found["seat"]) == ("supervisor", {"roles": ["operator"]})
    assert found["ask"]["form"]["properties"] == {"score": {"type": "number"}}
    assert found["writes"] == ["count_them_by_hand", "score"]
    assert "/nodes/count_them" in said(imported, "not_mapped")
    assert imported.verifies
