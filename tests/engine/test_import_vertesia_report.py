"""What an import of a Vertesia definition leaves out, each with a note, what it refuses, and how it is written."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from engine.errors import Exhausted, Invalid
from engine.process.document import read_document
from engine.process.imports import import_vertesia
from engine.process.writing import written
from tests.engine.vertesia_samples import REVIEW, changed, node, said, small

# --- what is left out ---------------------------------------------------------------------------------------------


def places(value: Any, at: str = "") -> Iterator[str]:
    """Yield the pointers of all objects that are structure of the format, not data of the author."""
    if isinstance(value, dict):
        yield at
        for name, one in value.items():
            if name not in ("input", "initial", "properties", "guard", "when", "files", "context_update"):
                yield from places(one, f"{at}/{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, f"{at}/{index}")


MAPS = {"/nodes", "/resources/scripts"}
PLACES = [at for at in places(REVIEW) if at not in MAPS]


@pytest.mark.parametrize("at", PLACES)
def test_a_field_that_nobody_knows_is_reported_wherever_it_stands(at: str) -> None:
    imported = import_vertesia(changed(f"{at}/brand_new", {"deep": 1}))
    assert f"{at}/brand_new" in said(imported, "not_mapped")
    assert imported.verifies


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        ("/metadata", {"lanes": []}, "/metadata"),
        ("/model", "vendor/small", "/model"),
        ("/nodes/read_file/model", "vendor/small", "/nodes/read_file/model"),
        ("/nodes/read_file/result_schema", {"type": "object"}, "/nodes/read_file/result_schema"),
        ("/nodes/read_file/metadata", {"lane": 1}, "/nodes/read_file/metadata"),
        ("/nodes/weigh/interaction", "app:mine:Weigh", "/nodes/weigh/interaction"),
        ("/nodes/done/max_retries", 1, "/nodes/done/max_retries"),
        ("/nodes/side_by_side/failure_policy", "collect_errors", "/nodes/side_by_side/failure_policy"),
        ("/nodes/each_clause/collect/include", ["child_run_id"], "/nodes/each_clause/collect/include"),
        ("/nodes/read_file/input/doc", "{{#if x}}a{{/if}}", "/nodes/read_file/input/doc"),
        ("/nodes/accept/transitions", [{"to": "file_it"}, {"to": "done"}], "/nodes/accept/transitions"),
        ("/resources/scripts/spare", {"language": "python"}, "/resources/scripts/spare"),
        ("/resources/scripts/count/source/type", "git", "/resources/scripts/count/source/type"),
        ("/nodes/lonely", {"type": "final"}, "/nodes/lonely"),
        ("/nodes/done/transitions", [{"to": "refused"}], "/nodes/done/transitions"),
    ],
)
def test_what_has_nothing_here_that_corresponds_to_it_is_reported(path: str, value: Any, at: str) -> None:
    assert at in said(import_vertesia(changed(path, value)), "not_mapped")


def test_phases_of_tools_keep_their_order_and_counts_and_say_what_they_lose() -> None:
    policy = {
        "phases": [
            {"id": "a", "tools": ["search"], "min_successes": 2, "recovery_prompt": "again"},
            {"id": "b", "tools": ["file"]},
        ],
        "phase_resets": [],
        "completion_prompt": "Done?",
    }
    imported = import_vertesia(changed("/nodes/weigh/agent_policy", policy))
    found = node(imported, "weigh")
    assert found["policy"] == [{"tools": ["search"], "min_calls": 2}, {"tools": ["file"]}]
    assert found["tools"] == ["search", "file"]
    lost = said(imported, "not_mapped")
    for name in ("phases/0/recovery_prompt", "phases/0/id", "phase_resets", "completion_prompt"):
        assert f"/nodes/weigh/agent_policy/{name}" in lost


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "at", "message"),
    [
        ("/format_version", 2, "/format_version", "format_version is 2; definitions of format_version 1 are read"),
        ("/format_version", ..., "/format_version", "format_version is missing"),
        ("/format_version", True, "/format_version", "format_version is True"),
        ("/process", ..., "/process", "'process' is missing"),
        ("/process", 7, "/process", "a text is expected here, not int 7"),
        ("/initial", "nowhere", "/initial", "there is no node 'nowhere'"),
        ("/context", [], "/context", "an object is expected here, not list []"),
        ("/context/schema", ..., "/context/schema", "'schema' is missing"),
        ("/nodes", {}, "/nodes", "a definition has at least one node"),
        ("/nodes/done", "final", "/nodes/done", "an object is expected here, not str 'final'"),
        ("/nodes/done/type", "finish", "/nodes/done/type", "'finish' is no type of a node"),
        ("/nodes/accept/transitions/0/to", "gone", "/nodes/accept/transitions/0/to", "there is no node 'gone'"),
        ("/nodes/accept/transitions/0/trigger", "x", "/nodes/accept/transitions/0/trigger", "'x' is no trigger"),
        ("/nodes/accept/transitions/0/guard", "a > 1", "/nodes/accept/transitions/0/guard", "a guard is JSON Logic"),
        ("/nodes/accept/config", ..., "/nodes/accept/tool", "'tool' is missing"),
        ("/nodes/count_them/script", "gone", "/nodes/count_them/script", "there is no script 'gone'"),
        ("/nodes/ask_legal/task/fields/0/options", [], "/nodes/ask_legal/task/fields/0/options", "has options"),
        ("/nodes/ask_legal/task/fields/1/type", "rich", "/nodes/ask_legal/task/fields/1/type", "'rich' is no type"),
        ("/nodes/each_clause/node/type", "human_task", "/nodes/each_clause/node/type", "can't stand inside another"),
        ("/nodes/each_clause/node/transitions", [{"to": "done"}], "/nodes/each_clause/node/transitions", "does not"),
        ("/nodes/each_clause/failure_policy", "x", "/nodes/each_clause/failure_policy", "'x' is no policy"),
        ("/nodes/each_clause/max_concurrency", -1, "/nodes/each_clause/max_concurrency", "an integer of at least 0"),
        ("/nodes/side_by_side/join", "any", "/nodes/side_by_side/join", "'any' is no join"),
        ("/nodes/side_by_side/branches/1/id", "bank", "/nodes/side_by_side/branches/1/id", "another branch has the id"),
        ("/nodes/side_by_side/branches", [], "/nodes/side_by_side/branches", "a branch has 1 to 100 of them"),
        ("/nodes/read_file/writes", [3], "/nodes/read_file/writes/0", "a text is expected here, not int 3"),
    ],
)  # fmt: skip
def test_a_broken_source_is_refused_with_the_place_and_what_is_expected_there(
    path: str, value: Any, at: str, message: str
) -> None:
    with pytest.raises(Invalid) as refused:
        import_vertesia(changed(path, value))
    problems = {one["path"]: one["message"] for one in refused.value.details["problems"]}
    assert message in problems[at]


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("", Invalid, "the text is empty"),
        ("[1, 2]", Invalid, "an object is expected here"),
        ("{", Invalid, "neither YAML nor JSON"),
        ("a: &a [1]\nb: !!python/object:os.system x", Invalid, "is not JSON"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [" + "*b, " * 60_000 + "*b]", Exhausted, "100000 values"),
        ("[" * 100 + "]" * 100, Exhausted, "64 levels"),
        ("x" * (1024 * 1024 + 1), Exhausted, "1 MiB"),
        (b"\xff", Invalid, "not UTF-8"),
        ("format_version: 1\nprocess: a\nprocess: b", Invalid, "given twice"),
    ],
)
def test_hostile_text_is_refused_by_name(source: str | bytes, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        import_vertesia(source)


def test_too_many_nodes_and_tags_without_an_end_are_answered_at_once() -> None:
    many = {f"n{number}": {"type": "final"} for number in range(2001)}
    with pytest.raises(Exhausted, match="at most 2000"):
        import_vertesia(small(many))
    endless = "{{" * 100_000 + " " * 100_000
    imported = import_vertesia(changed("/nodes/read_file/input/doc", endless))
    assert node(imported, "read_file")["input"]["doc"] == endless


def test_a_deadline_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="is not a duration"):
        import_vertesia(REVIEW, deadline="a month")


# --- how it is written --------------------------------------------------------------------------------------------


def test_what_is_stored_around_a_definition_is_read_too() -> None:
    stored = {"id": "1", "name": "Review", "version": 4, "status": "published", "definition": REVIEW}
    imported = import_vertesia(yaml.safe_dump(stored, sort_keys=False))
    assert imported.text == import_vertesia(REVIEW).text
    assert set(said(imported, "not_mapped")) >= {"/id", "/name", "/version", "/status", "/definition/model"}


@pytest.mark.parametrize(
    "value",
    ["1e3", "no", "~", "null", "- x", "# x", "a: b", "1_000", "0x1", "2026-01-01", "é\n  two\n", " x ", "'", '"',
     "x" * 300, "true", "", "*a", "&a", "!x", "{{x}}", "%", "@", "\t", "a\x07b", "\u2028"],
)  # fmt: skip
def test_a_text_is_written_so_that_it_is_read_as_the_same(value: str) -> None:
    assert read_document(written({"a": value, "b": [value, {value or "k": 1}]})) == {
        "a": value,
        "b": [value, {value or "k": 1}],
    }
