"""How far a run is on its picture: from records that the real engine has written, cut wherever a run can stand."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.drawing import RunState, mermaid, run_state, sketch_of, svg
from engine.process.simulate.play import _play  # pyright: ignore[reportPrivateUsage]
from engine.runs import AuditRecord, RunStatus

SVG = "{http://www.w3.org/2000/svg}"


def process(nodes: dict[str, Any], start: str = "a", **more: Any) -> ProcessDefinition:
    names = ["x", "y", "items", "found", "answer", "ok"]
    context = {"schema": {"type": "object", "properties": {name: {} for name in names}}}
    given = {"format": 1, "process": "drawn", "start": start, "context": context, "nodes": nodes}
    return parse_definition({**given, "input": {"type": "object"}, **more})


def recorded(definition: ProcessDefinition) -> list[AuditRecord]:
    """Play the first scenario through the real engine and return its records."""
    played, records = _play(definition, definition.scenarios[0], lambda text, _: text)
    assert not played.problems, played.problems
    return records


def at(records: list[AuditRecord], action: str, node: str, nth: int = 1) -> list[AuditRecord]:
    """Return the records up to the nth of an action on a node."""
    hits = [number for number, one in enumerate(records) if (one.action, one.node) == (action, node)]
    return records[: hits[nth - 1] + 1]


def seen(
    definition: ProcessDefinition, records: list[AuditRecord], status: RunStatus = "running", **more: Any
) -> RunState:
    return run_state(definition, records, status=status, **more)


def wait(*targets: str, **fields: Any) -> dict[str, Any]:
    return {"type": "wait", "for": "PT1S", "next": [{"to": to} for to in targets], **fields}


def tool(*targets: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool", "tool": "some.tool", "next": [{"to": to} for to in targets], **fields}


END = {"type": "end", "outcome": "over"}
RESULT = {"result": {}}

LINE = process(
    {
        "a": wait("b"),
        "b": {
            "type": "supervisor",
            "seat": {"roles": ["boss"]},
            "ask": {"title": "Well?"},
            "decisions": ["on", "again"],
            "writes": ["answer"],
            "deadline": "P1D",
            "on_timeout": {"to": "late"},
            "next": [{"to": "a", "when": {"==": [{"var": "answer.decision"}, "again"]}}, {"to": "c"}],
        },
        "c": END,
        "late": END,
    },
    scenarios=[
        {
            "name": "twice",
            "fixtures": {"b": [{"decision": "again", "by": "bo"}, {"decision": "on", "by": "bo"}]},
            "actors": {"bo": {"roles": ["boss"]}},
        }
    ],
)


def test_a_run_stands_where_its_records_lead_and_what_it_has_not_come_to_has_no_state() -> None:
    found = seen(LINE, [])
    assert (found.states, found.taken, found.visits) == ({"nodes/a": "running"}, frozenset(), {"nodes/a": 1})
    found = seen(LINE, at(recorded(LINE), "node.finished", "a"), asked=["b"])
    assert found.states == {"nodes/a": "done", "nodes/b": "waiting"}
    assert found.taken == {("nodes/a", "nodes/b")}


def test_visits_are_counted_and_every_way_that_was_taken_is_marked() -> None:
    found = seen(LINE, recorded(LINE), "completed")
    assert found.states == {"nodes/a": "done", "nodes/b": "done", "nodes/c": "done"}
    assert found.visits == {"nodes/a": 2, "nodes/b": 2, "nodes/c": 1}
    assert found.counts == {"nodes/a": "2 visits", "nodes/b": "2 visits"}
    assert found.taken == {("nodes/a", "nodes/b"), ("nodes/b", "nodes/a"), ("nodes/b", "nodes/c")}


@pytest.mark.parametrize(("status", "state"), [("cancelled", "stopped"), ("failed", "failed")])
def test_what_was_under_way_when_the_run_ended_is_told_apart_from_what_was_done(status: RunStatus, state: str) -> None:
    found = seen(LINE, at(recorded(LINE), "node.finished", "a"), status, asked=["b"])
    assert found.states == {"nodes/a": "done", "nodes/b": state}


EACH = process(
    {
        "a": {
            "type": "foreach",
            "items": {"var": "items"},
            "as": "item",
            "key": {"var": "item"},
            "max_concurrency": 2,
            "on_error": "collect",
            "body": {"start": "look", "nodes": {"look": tool("keep"), "keep": tool()}},
            "next": [{"to": "b"}],
        },
        "b": END,
    },
    scenarios=[
        {
            "name": "one of five fails",
            "input": {"items": ["x]/1.look", "k/2", "c", "d", "e"]},
            "fixtures": {"look": [RESULT, RESULT, {"error": "gone"}, RESULT, RESULT], "keep": RESULT},
        }
    ],
)


def test_a_foreach_says_how_far_it_is_in_its_items_whatever_their_keys_are_called() -> None:
    records = recorded(EACH)
    found = seen(EACH, at(records, "node.finished", "keep", 2))
    assert found.counts["nodes/a"] == "2 of 5"
    assert found.states["nodes/a"] == "running"
    found = seen(EACH, records, "completed")
    assert found.counts["nodes/a"] == "5 of 5, 1 failed"
    assert found.counts["nodes/a/body/nodes/look"] == "1 failed, 4 done"
    assert found.visits["nodes/a/body/nodes/keep"] == 4
    assert ("nodes/a/body/nodes/look", "nodes/a/body/nodes/keep") in found.taken


def test_the_items_that_have_begun_without_a_record_are_as_many_as_run_side_by_side() -> None:
    started = recorded(EACH)[:1]
    found = seen(EACH, started)
    assert found.counts == {"nodes/a": "0 of 5", "nodes/a/body/nodes/look": "2 running"}
    # Two of them wait for somebody, as far as the open tasks say.
    found = seen(EACH, started, asked=["look"])
    assert found.counts["nodes/a/body/nodes/look"] == "1 waiting, 1 running"
    assert found.states["nodes/a/body/nodes/look"] == "waiting"


FORK = process(
    {
        "a": {
            "type": "branch",
            "take": "every",
            "join": "any",
            "arms": [
                {"name": "quick", "body": {"start": "one", "nodes": {"one": wait("two"), "two": wait()}}},
                {"name": "slow", "body": {"start": "one", "nodes": {"one": wait(**{"for": "P1D"})}}},
                {"name": "never", "when": {"==": [1, 2]}, "body": {"start": "one", "nodes": {"one": wait()}}},
            ],
            "next": [{"to": "b"}],
        },
        "b": END,
    },
    scenarios=[{"name": "a race"}],
)


def test_arms_are_told_apart_and_the_one_that_lost_the_race_was_stopped() -> None:
    records = recorded(FORK)
    arms = [f"nodes/a/arms/{number}/body/nodes" for number in range(3)]
    begun = seen(FORK, records[:1])
    assert begun.states == {"nodes/a": "running", f"{arms[0]}/one": "running", f"{arms[1]}/one": "running"}
    half = seen(FORK, at(records, "node.finished", "one"))
    assert half.states[f"{arms[0]}/one"] == "done"
    assert half.states[f"{arms[0]}/two"] == "running"
    assert half.states[f"{arms[1]}/one"] == "running"
    over = seen(FORK, records, "completed")
    assert over.states[f"{arms[1]}/one"] == "stopped"
    assert not any(path.startswith(arms[2]) for path in over.states)


UNDO = process(
    {
        "a": tool("b", compensate="back"),
        "b": tool("c"),
        "c": END,
        "back": tool(),
    },
    scenarios=[
        {
            "name": "undone",
            "fixtures": {"a": RESULT, "b": {"error": "gone"}, "back": RESULT},
            "expect": {"error": "gone"},
        }
    ],
)


def test_what_was_made_up_for_is_undone_and_its_way_does_not_count() -> None:
    found = seen(UNDO, recorded(UNDO), "failed")
    assert found.states == {"nodes/a": "undone", "nodes/b": "failed", "nodes/back": "done"}
    assert (found.taken, found.visits) == (frozenset(), {"nodes/b": 1, "nodes/back": 1})


def record(seq: int, action: str, node: str = "", **data: Any) -> AuditRecord:
    fixed: dict[str, Any] = {"run_id": "r", "actor": "x", "attempt": 1, "previous_hash": "", "hash": ""}
    return AuditRecord(seq=seq, at="2026-01-05T09:00:00Z", action=action, node=node, data=data, **fixed)  # pyright: ignore[reportArgumentType]


def step(seq: int, name: str, to: str | None, action: str = "node.finished", **data: Any) -> AuditRecord:
    node = name.rpartition("/")[2].partition(".")[2]
    return record(seq, action, node, step=name, to=to, **data)


def test_a_run_that_went_back_stands_there_again_and_what_came_after_is_undone() -> None:
    records = [step(1, "1.a", "b"), step(2, "2.b", "a"), step(3, "3.a", "b")]
    back = record(4, "process.rewound", to_step="2.b", to_node="b", patch=[])
    found = seen(LINE, [*records, back], asked=["b"])
    assert found.states == {"nodes/a": "undone", "nodes/b": "waiting"}
    assert found.visits == {"nodes/a": 1, "nodes/b": 1}
    assert found.taken == {("nodes/a", "nodes/b")}


def test_items_of_a_visit_that_was_left_are_not_taken_for_those_of_the_next() -> None:
    given = record(1, "process.started", patch=[{"op": "add", "path": "/items", "value": ["x", "y", "z"]}])
    records = [given, step(2, "1.a[x]/1.look", "keep", scope="1.a[x]/")]
    assert seen(EACH, records).states["nodes/a/body/nodes/keep"] == "running"
    back = record(3, "process.rewound", to_step="1.a", to_node="a", patch=[])
    found = seen(EACH, [*records, back])
    assert found.counts["nodes/a"] == "0 of 3"
    assert "nodes/a/body/nodes/keep" not in found.states


def test_a_skipped_node_and_a_choice_that_a_person_has_yet_to_make_are_seen() -> None:
    left = [step(1, "1.a", "b"), step(2, "2.b", None, "node.skipped", order="skip")]
    found = seen(LINE, left, asked=["b"])
    assert found.states == {"nodes/a": "done", "nodes/b": "waiting"}
    chosen = record(3, "node.advanced", "b", at_step="2.b", to="c")
    found = seen(LINE, [*left, chosen])
    assert found.states == {"nodes/a": "done", "nodes/b": "skipped", "nodes/c": "running"}
    assert ("nodes/b", "nodes/c") in found.taken


def test_a_failure_that_somebody_is_asked_about_waits_for_them() -> None:
    failed = step(1, "1.a", None, "node.failed", error={"kind": "gone", "message": ""})
    assert seen(UNDO, [failed]).states == {"nodes/a": "failed"}
    assert seen(UNDO, [failed], asked=["a"]).states == {"nodes/a": "waiting"}


def test_a_question_in_an_arm_that_only_an_item_can_tell_is_seen_by_its_task() -> None:
    arm = {"name": "asks", "when": {"var": "item.open"}, "body": {"start": "ask", "nodes": {"ask": tool()}}}
    body = {"start": "fork", "nodes": {"fork": {"type": "branch", "arms": [arm]}}}
    each = process({"a": {"type": "foreach", "items": {"var": "items"}, "as": "item", "body": body}})
    given = record(1, "process.started", patch=[{"op": "add", "path": "/items", "value": [{"open": True}]}])
    path = "nodes/a/body/nodes/fork/arms/0/body/nodes/ask"
    assert path not in seen(each, [given]).states
    assert seen(each, [given], asked=["ask"]).states[path] == "waiting"


def test_places_whose_names_were_cut_are_told_by_a_node_that_stands_in_one_graph_alone() -> None:
    cut = f"1.a[{'x' * 76}~{'0' * 20}/1.look"
    assert seen(EACH, [step(1, cut, "keep")]).states["nodes/a/body/nodes/look"] == "done"
    unknown = [step(1, "1.a[x/1.look", "keep"), step(2, "9.gone", "a"), step(3, "1.a/left/1.look", None)]
    assert seen(EACH, unknown).states == {"nodes/a": "running"}


def test_the_svg_and_the_mermaid_text_say_the_same_of_a_run() -> None:
    found = seen(EACH, at(recorded(EACH), "node.finished", "keep", 2))
    given: dict[str, Any] = {"states": found.states, "counts": found.counts, "taken": found.taken}
    links = {"nodes/a": '/runs/r?x="#a'}
    root = ElementTree.fromstring(svg(sketch_of(EACH), **given, links=links))
    groups = {str(one.get("data-node")): one for one in root.iter(f"{SVG}g") if one.get("data-node")}
    drawn = {path: one.get("data-state") for path, one in groups.items() if one.get("data-state")}
    assert drawn == dict(found.states)
    assert groups["nodes/a"].get("aria-label") == "a, foreach, running, 2 of 5"
    (link,) = root.iter(f"{SVG}a")
    assert (link.get("href"), link.get("aria-label")) == (links["nodes/a"], "a, foreach, running, 2 of 5")
    assert root.get("role") == "group"
    text = mermaid(EACH, **given)
    assert 'a_n["a<br/>foreach<br/>running, 2 of 5"]' in text
    assert "a_n__body_n_look_n ==> a_n__body_n_keep_n" in text
    assert "a_n --> b_n" in text
    classes = dict(re.findall(r"^  class (\w+) (\w+)$", text, re.M))
    assert classes["a_n"] == "running"
    assert "classDef running" in text


def test_items_in_batches_are_not_guessed_at_by_the_run_above_them_and_stand_in_their_own() -> None:
    given = record(1, "process.started", patch=[{"op": "add", "path": "/items", "value": list(range(1000))}])
    found = seen(EACH, [given])
    assert (found.states, found.counts) == ({"nodes/a": "running"}, {})
    batch = [record(1, "batch.started", "a"), step(2, "1.a[7]/1.look", "keep"), step(3, "1.a[8]/1.look", "keep")]
    found = seen(EACH, batch, position="a")
    assert found.counts == {"nodes/a/body/nodes/look": "2 done", "nodes/a/body/nodes/keep": "2 running"}


def test_a_thousand_items_are_read_in_one_pass() -> None:
    given = record(1, "process.started", patch=[{"op": "add", "path": "/items", "value": list(range(1000))}])
    records = [given]
    for number in range(999):
        records.append(step(len(records) + 1, f"1.a[{number}]/1.look", "keep", scope=f"1.a[{number}]/"))
        records.append(step(len(records) + 1, f"1.a[{number}]/2.keep", None, scope=f"1.a[{number}]/"))
    found = seen(EACH, records)
    assert found.counts["nodes/a"] == "999 of 1000"
    assert found.counts["nodes/a/body/nodes/look"] == "1 running, 999 done"
