"""Reading definitions: format 1 from YAML and JSON, and what is refused, where, and in which words."""

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Exhausted, Invalid, Problem
from engine.process.definition import NODE_TYPES, definition_schema, parse_definition, parse_duration
from engine.process.nodes.foreach import ForeachNode

INVOICE = """
format: 1
process: invoice_approval
title: Invoice approval
input: {type: object, properties: {document_id: {type: string}}, required: [document_id]}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      document_id: {type: string}
      invoice: {type: object, properties: {total: {type: number}, supplier: {type: string}}}
      approval: {type: object, properties: {decision: {type: string}}}
      payment: {type: object}
  initial: {}
start: read
defaults: {model: some-model, timeout: PT5M, retry: {max_attempts: 3}, budget: {usd: 2}}
nodes:
  read:
    type: interaction
    interaction: extract_invoice@production
    input: {document: {var: document_id}}
    writes: [invoice]
    next:
      - {to: pay,    when: {"<=": [{var: invoice.total}, 1000]}}
      - {to: approve}
  approve:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Pay {{invoice.supplier}}?", form: {type: object}}
    decisions: [approve, reject]
    deadline: P2D
    escalate: [{after: P1D, to: {roles: [cfo]}}]
    on_timeout: {to: rejected}
    writes: [approval]
    next: [{to: pay, when: {"==": [{var: approval.decision}, approve]}}, {to: rejected}]
  pay:      {type: tool, tool: erp.pay, input: {invoice: {var: invoice}}, writes: [payment], next: [{to: done}]}
  done:     {type: end, outcome: paid}
  rejected: {type: end, outcome: rejected}
"""

EVERY_FIELD = """
format: 1
process: everything
start: think
supervision: {seat: {roles: [boss]}, may: [pause]}
nodes:
  think:
    type: agent
    title: Think
    about: It thinks.
    instructions: Think about {{topic}}.
    reads: [topic]
    skills: [research]
    tools: [search]
    exclude_tools: [pay]
    policy: [{tools: [search], min_calls: 1, max_calls: 3}]
    budget: {turns: 5, usd: 1}
    timeout: PT1H
    retry: {max_attempts: 2, initial_interval: PT2S, backoff: 1.5, max_interval: PT1M, not_on: [invalid_output]}
    on_error: [{to: wait, match: [timeout]}, {to: over}]
    compensate: undo
    max_visits: 4
    position: {x: 1, y: 2}
    next: [{to: wait, trigger: agent, label: wait}, {to: split, trigger: agent}]
  wait:
    type: wait
    event: {name: paid, match: {id: {var: id}}}
    deadline: P1D
    on_timeout: {to: over}
    next: [{to: split}]
  split:
    type: branch
    take: every
    join: {at_least: 1}
    arms:
      - name: left
        body: {start: a, nodes: {a: {type: script, code: "{}"}}}
      - name: right
        when: {var: flag}
        body:
          start: each
          nodes:
            each:
              type: foreach
              items: {var: list}
              as: item
              key: {var: item.id}
              max_concurrency: 3
              on_error: collect
              collect: {into: results, fields: [item]}
              writes: [results]
              body:
                start: ask
                nodes:
                  ask: {type: supervisor, seat: {users: [ann]}, ask: {title: t}, decisions: [ok]}
    next: [{to: child}]
  child:
    type: process
    process: other@3
    input: {a: 1}
    writes: [x]
    returns: {x: {var: output.x}}
    next: [{to: over}]
  undo: {type: wait, for: PT1S}
  over: {type: end, outcome: done, output: {var: x}}
scenarios:
  - name: usual
    input: {topic: t}
    fixtures: {think: {result: {}}, wait: [{elapsed: P2D}]}
    actors: {ann: {roles: [boss]}}
    expect: {path: [think, over], outcome: done, tasks: []}
"""


def refused(source: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse_definition(source)
    return caught.value


def test_yaml_json_and_values_give_the_same_definition_and_digest() -> None:
    from_yaml = parse_definition(INVOICE)
    assert parse_definition(json.dumps(from_yaml.canonical())) == from_yaml
    assert parse_definition(from_yaml.canonical()).digest() == from_yaml.digest()
    assert parse_definition(INVOICE.encode()).digest() == from_yaml.digest()
    assert from_yaml.nodes["read"].next[0].to == "pay"


def test_every_field_of_the_format_is_read_and_survives_the_canonical_form() -> None:
    definition = parse_definition(EVERY_FIELD)
    again = parse_definition(json.dumps(definition.canonical()))
    assert again == definition
    assert {node.type for node in definition.nodes.values()} == {"agent", "wait", "branch", "process", "end"}
    split = next(definition.nodes["split"].bodies())
    assert split.body.nodes["a"].type == "script"
    each = list(definition.nodes["split"].bodies())[1].body.nodes["each"]
    assert isinstance(each, ForeachNode)
    assert (each.on_item_error, each.on_error, each.as_) == ("collect", (), "item")


def test_the_digest_ignores_order_and_defaults_but_no_meaning() -> None:
    plain = parse_definition(INVOICE)
    spelled = parse_definition(INVOICE.replace("next: [{to: done}]", "next: [{label: '', trigger: auto, to: done}]"))
    other = parse_definition(INVOICE.replace("1000", "1001"))
    assert plain.digest() == spelled.digest() != other.digest()


@pytest.mark.parametrize(
    ("old", "new", "path", "word"),
    [
        ("deadline: P2D", "deadline: P2Y", "/nodes/approve/deadline", "duration"),
        ("type: tool,", "type: toool,", "/nodes/pay", "interaction, agent, tool"),
        ("writes: [payment]", "write: [payment]", "/nodes/pay/write", "no such field"),
        ("max_attempts: 3", "max_attempts: 0", "/defaults/retry/max_attempts", "greater"),
        ("start: read", "begin: read", "/start", "required"),
        ("{to: approve}", "{when: true}", "/nodes/read/next/1/to", "required"),
        ("format: 1", "format: 2", "/format", "1"),
        ("decisions: [approve, reject]", "decisions: []", "/nodes/approve/decisions", "1"),
        ("process: invoice_approval", "process: Invoice Approval", "/process", "pattern"),
        ("usd: 2", "usd: -2", "/defaults/budget/usd", "greater"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path_and_what_is_expected(
    old: str, new: str, path: str, word: str
) -> None:
    problem = refused(INVOICE.replace(old, new, 1))
    assert path in [found["path"] for found in problem.details["problems"]]
    assert word in "".join(found["message"] for found in problem.details["problems"])
    assert path in problem.message or len(problem.details["problems"]) > 1


def test_a_wait_is_for_exactly_one_thing() -> None:
    assert "exactly one" in refused(EVERY_FIELD.replace("for: PT1S", "for: PT1S, until: x")).message
    assert "exactly one" in refused(EVERY_FIELD.replace("for: PT1S", "title: nothing")).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is given twice"),
        ('{"a": {"b": 1, "b": 2}}', "'b' is given twice"),
        ("a: !!python/object/apply:os.system [x]", "not JSON"),
        ("a: !tag 1", "not JSON"),
        ("a: *nowhere", "anchor"),
        ("a: [1", "line"),
        ("a: 1\n---\nb: 2", "2 documents"),
        ("", "empty"),
        ("[1, 2]", "mapping"),
        ("? [a]\n: 1", "text"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_text_that_is_no_plain_document_is_refused_with_its_line(text: str | bytes, words: str) -> None:
    assert words in refused(text).message


TENFOLD = [f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]" for before, name in ["ab", "bc", "cd", "de", "ef"]]
BOMB = "\n".join(["a: &a [1,1,1,1,1,1,1,1,1,1]", *TENFOLD])


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a [*a]", "[" * 50_000, "{a: " * 3_000, "x: " + "y" * 1_100_000, "[" + "1," * 200_001 + "]"]
)
def test_bombs_of_aliases_depth_and_size_are_refused(text: str) -> None:
    with pytest.raises(Exhausted):
        parse_definition(text)


@pytest.mark.parametrize("value", [{"format": object()}, {1: 2}, {"x": float("nan")}, {"x": {"y": {1, 2}}}])
def test_a_value_that_is_not_json_is_refused(value: Any) -> None:
    refused(value)


def test_plain_words_of_yaml_stay_what_they_look_like() -> None:
    words = "{a: no, b: 2026-01-01, c: 012, d: 1e3, e: '5', f: null, g: 0x1F, h: -1.5, i: 1_000}"
    read = parse_definition(INVOICE.replace("{document: {var: document_id}}", words)).nodes["read"]
    values = [part.value for part in read.expressions()]
    assert values == ["no", "2026-01-01", "012", 1000.0, "5", None, "0x1F", -1.5, "1_000"]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("PT5M", timedelta(minutes=5)),
        ("P2D", timedelta(days=2)),
        ("P1DT12H", timedelta(hours=36)),
        ("P2W", timedelta(weeks=2)),
        ("PT0.5S", timedelta(milliseconds=500)),
        ("PT1H2M3S", timedelta(hours=1, minutes=2, seconds=3)),
    ],
)
def test_durations_are_those_of_iso_8601(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1Y", "P1M", "P1DT", "1D", "P-1D", "P1W2D", "pt5m", "PT5M ", "P٣D", "PT1.S", "P9999D"]
)
def test_what_is_no_duration_or_has_no_fixed_length_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_duration(text)


def test_the_schema_of_the_format_names_every_node_type() -> None:
    text = json.dumps(definition_schema())
    assert [name for name in NODE_TYPES if f'"const": "{name}"' not in text] == []


def spoiled(line: str) -> st.SearchStrategy[str]:
    noise = st.text("{}[]:,&*!'\" \n-", max_size=6)
    return noise.map(lambda added: INVOICE.replace(line, line + added, 1))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40) | st.sampled_from(INVOICE.splitlines()).flatmap(spoiled))
def test_whatever_the_text_only_problems_are_raised(text: str | bytes) -> None:
    with contextlib.suppress(Problem):
        assert parse_definition(text).digest()
