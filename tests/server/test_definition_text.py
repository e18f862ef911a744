"""Editing the text of a definition by machine: what was not edited stays as it was written."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.process.document import read_document
from engine.process.writing import written
from server.definition_text import edited, same

TEXT = """\
# Who may spend what.
format: 1
process: spend   # never renamed
start: read

nodes:
  # The scan comes first.
  read:
    type: tool
    tool: content.fetch
    next:
      - {to: pay, when: {"<=": [{var: total}, 1000.0]}}   # small
      - {to: ask}

  ask:
    type: supervisor
    ask:
      title: |-
        Pay?
        Or not.
    seat: &seat {roles: [finance]}
    escalate: [{after: P1D, to: *seat}]
    next: [{to: pay}]

  # The end of it.
  pay: {type: end, outcome: paid}
"""

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["no", "1e5", "~", "x: y", "# c", "a\nb\n", "<<", "=", "2026-01-01", " a", "a\n\n", "\u2028", "null"]
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
storable = st.dictionaries(st.sampled_from(["nodes", "a", "b", "no", "c d"]), values, min_size=1)


def read(text: str) -> Any:
    return read_document(text)


def edit(change: Callable[[dict[str, Any]], object]) -> str:
    data = copy.deepcopy(read(TEXT))
    change(data)
    changed = edited(TEXT, data)
    assert same(read(changed), data)
    return changed


def test_a_text_that_says_it_already_stays_byte_for_byte() -> None:
    assert edited(TEXT, read(TEXT)) == TEXT


def test_a_number_that_a_browser_writes_otherwise_is_no_change() -> None:
    data = read(TEXT)
    data["nodes"]["read"]["next"][0]["when"]["<="][1] = 1000
    assert edited(TEXT, data) == TEXT
    large = "format: 1\nn: 12345678901234567890\nflag: true\n"
    assert edited(large, {"format": 1, "n": 12345678901234567000, "flag": True}) == large
    assert edited(large, {"format": 1, "n": 12345678901234567000, "flag": 1}) == large.replace("true", "1")


def test_one_changed_value_changes_one_place() -> None:
    assert edit(lambda d: d["nodes"]["pay"].update(outcome="settled")) == TEXT.replace(
        "outcome: paid", "outcome: settled"
    )
    assert edit(lambda d: d["nodes"]["read"].update(tool="other")) == TEXT.replace("content.fetch", "other")


def test_a_value_inside_a_line_changes_alone() -> None:
    def change(data: dict[str, Any]) -> None:
        data["nodes"]["read"]["next"][0]["when"]["<="][1] = "a, b"

    assert edit(change) == TEXT.replace("1000.0", "'a, b'")


def test_a_new_node_and_a_new_way_leave_every_comment() -> None:
    def change(data: Any) -> None:
        data["nodes"]["wait"] = {"type": "wait", "for": "PT1H", "next": [{"to": "pay"}]}
        data["nodes"]["read"]["next"].insert(1, {"to": "wait", "when": True})

    changed = edit(change)
    assert [line for line in TEXT.splitlines() if line not in changed.splitlines()] == []
    assert "      - {to: wait, when: true}\n      - {to: ask}\n" in changed
    assert "  wait:\n    type: wait\n    for: PT1H\n" in changed


def test_a_removed_node_takes_only_its_own_lines() -> None:
    def change(data: Any) -> None:
        del data["nodes"]["ask"]
        data["nodes"]["read"]["next"].pop()

    changed = edit(change)
    assert "# small" in changed
    assert "# The end of it." in changed
    assert "supervisor" not in changed


def test_a_renamed_node_keeps_what_is_written_in_it() -> None:
    def change(data: Any) -> None:
        data["nodes"] = {("scan" if name == "read" else name): node for name, node in data["nodes"].items()}
        data["start"] = "scan"

    assert edit(change) == TEXT.replace("  read:\n", "  scan:\n").replace("start: read", "start: scan")


def test_what_an_alias_stands_for_can_be_changed_in_its_place() -> None:
    changed = edit(lambda d: d["nodes"]["ask"]["escalate"][0].update(to={"roles": ["cfo"]}))
    assert "seat: &seat {roles: [finance]}" in changed
    assert "# The scan comes first." in changed


def test_what_an_anchor_shares_is_written_out_where_only_one_place_changes() -> None:
    changed = edit(lambda d: d["nodes"]["ask"].update(seat={"roles": ["cfo"]}))
    assert read(changed)["nodes"]["ask"]["escalate"][0]["to"] == {"roles": ["finance"]}


def test_a_text_in_json_stays_json() -> None:
    assert edited('{"format": 1}', {"format": 1, "process": "ü"}) == '{\n  "format": 1,\n  "process": "ü"\n}\n'


def test_a_text_that_cannot_be_read_is_written_anew() -> None:
    assert edited("a: [", {"format": 1}) == "format: 1\n"


@settings(max_examples=60, deadline=None)
@given(storable)
def test_whatever_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert same(read(written(data)), data)


@settings(max_examples=60, deadline=None)
@given(storable, storable)
def test_whatever_is_edited_is_read_back(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert same(read(edited(written(before), after)), after)
