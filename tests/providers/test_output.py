"""Validated output: strict JSON that fits its schema, repaired by the model, or a failure that keeps the answer."""

from typing import Any

import pytest

from engine.errors import Invalid
from engine.transcript import ModelRequest, Route, ToolSpec, user
from providers.errors import Refused
from providers.output import InvalidOutput, generate_validated, read_output
from providers.scripted import Scripted, ScriptedReply, answer

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}, "name": {"type": "string"}},
    "required": ["age", "name"],
}


def ask(schema: dict[str, Any] | None = SCHEMA) -> ModelRequest:
    tool = ToolSpec(name="search", description="Search.", input_schema={})
    route = Route(provider="scripted", model="s")
    return ModelRequest(route=route, messages=(user("Who?"),), tools=(tool,), output_schema=schema)


async def test_a_valid_answer_takes_one_try_without_tools():
    provider = Scripted([answer({"age": 3, "name": "Ida"})])
    reply, tries = await generate_validated(provider, ask())
    assert reply.output == {"age": 3, "name": "Ida"}
    assert len(tries) == 1
    assert provider.requests[0].tool_choice == "none"


async def test_a_wrong_answer_is_repaired_with_its_errors_named():
    provider = Scripted([answer({"age": -1}), answer({"age": 3, "name": "Ida"})])
    reply, tries = await generate_validated(provider, ask())
    assert reply.output == {"age": 3, "name": "Ida"}
    assert len(tries) == 2
    *_, said, repair = provider.requests[1].messages
    assert said == tries[0].message
    assert "$.age" in repair.text
    assert "'name' is a required property" in repair.text


async def test_in_the_end_the_answer_is_kept_in_the_failure():
    provider = Scripted(["no JSON", "still none", "nor here"])
    with pytest.raises(InvalidOutput) as raised:
        await generate_validated(provider, ask(), attempts=3)
    assert raised.value.answer == "nor here"
    assert len(raised.value.tries) == 3
    assert "not JSON" in raised.value.details["errors"][0]


async def test_a_cut_answer_is_never_valid_even_if_it_parses():
    provider = Scripted([ScriptedReply(text='{"age": 3, "name": "Ida"}', finish="length"), ""])
    with pytest.raises(InvalidOutput):
        await generate_validated(provider, ask())
    assert "cut off" in provider.requests[1].messages[-1].text


async def test_a_refusal_is_not_repaired():
    provider = Scripted([ScriptedReply(text="No.", finish="refusal"), "never asked"])
    with pytest.raises(Refused, match="No"):
        await generate_validated(provider, ask())
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "schema",
    [None, {"type": "no such type"}, {"$ref": "https://example.org/schema.json"}],
    ids=["none", "not a schema", "a reference outside"],
)
async def test_a_wrong_schema_is_the_callers_fault_and_nothing_is_fetched(schema: dict[str, Any] | None):
    with pytest.raises(Invalid):
        await generate_validated(Scripted([answer({})]), ask(schema))


@pytest.mark.parametrize("text", ['{"a": NaN}', '```json\n{"a": 1}\n```', '{"a": 1} and more', "", "{" * 100_000])
def test_only_strict_json_counts(text: str):
    value, errors = read_output(text, {})
    assert value is None
    assert errors


def test_at_most_ten_errors_are_told():
    schema = {"type": "array", "items": {"type": "string"}}
    assert len(read_output(str(list(range(30))), schema)[1]) == 10
