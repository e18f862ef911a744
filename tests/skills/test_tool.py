"""A function becomes a tool: its schema comes from its signature, and every wrong form of arguments is named."""

from typing import Annotated, Any, Literal, cast

import pytest
from pydantic import BaseModel, Field, JsonValue

from engine.errors import Exhausted, Invalid
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply, tool


class Filter(BaseModel, extra="forbid"):
    """What to look for."""

    kind: Literal["report", "letter"] = Field(description="kind of document")
    pages: list[int] = []


class Found(BaseModel):
    """What was found."""

    names: list[str] = Field(description="by score")
    next: str | None = None


@tool()
async def look(
    ctx: ToolContext,
    query: Annotated[str, Field(description="what to look for", min_length=2, max_length=20)],
    limit: Annotated[int, Field(ge=1, le=50)] = 8,
    filter: Filter | None = None,
    extra: dict[str, JsonValue] = {},  # noqa: B006
    schema: bool = False,
) -> Found:
    """Look for documents."""
    return Found(names=[query, str(limit), type(filter).__name__, str(schema), str(extra)])


def test_the_schema_is_one_flat_object_that_refuses_unknown_keys() -> None:
    assert look.spec.input_schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["query"],
        "properties": {
            "query": {"type": "string", "minLength": 2, "maxLength": 20, "description": "what to look for"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 8},
            "filter": {
                "type": "object",
                "description": "What to look for.",
                "additionalProperties": False,
                "required": ["kind"],
                "properties": {
                    "kind": {"type": "string", "enum": ["report", "letter"], "description": "kind of document"},
                    "pages": {"type": "array", "items": {"type": "integer"}},
                },
            },
            "extra": {"type": "object"},
            "schema": {"type": "boolean", "default": False},
        },
    }
    assert look.spec.description == "Look for documents."


def test_the_output_schema_of_an_object_is_its_own() -> None:
    schema = look.spec.output_schema
    assert schema is not None
    assert schema["type"] == "object"
    assert schema["properties"]["names"]["description"] == "by score"
    assert look.reply(Found(names=["a"])).value == {"names": ["a"], "next": None}


def test_a_plain_value_travels_inside_an_object_and_reads_as_itself() -> None:
    @tool()
    async def count(ctx: ToolContext) -> list[int]:
        """Count."""
        return [1]

    @tool()
    async def say(ctx: ToolContext) -> str:
        """Say."""
        return "hi"

    assert count.spec.output_schema == {
        "type": "object",
        "properties": {"result": {"type": "array", "items": {"type": "integer"}}},
        "required": ["result"],
    }
    assert count.reply([1, 2]) == ToolReply(text="[1, 2]", value={"result": [1, 2]})
    assert say.reply("hi") == ToolReply(text="hi", value={"result": "hi"})


def test_a_tool_that_writes_its_own_reply_has_no_output_schema() -> None:
    @tool()
    async def lesson(ctx: ToolContext) -> ToolReply:
        """Teach."""
        return ToolReply(text="so")

    assert lesson.spec.output_schema is None
    assert lesson.reply(ToolReply(text="so")).value is None


@pytest.mark.parametrize(
    ("arguments", "path", "words"),
    [
        ({}, "$.query", "is missing; it must be string, at least 2 characters"),
        ({"query": 7}, "$.query", "must be string, at least 2 characters, at most 20 characters, not 7"),
        ({"query": None}, "$.query", "not null"),
        ({"query": "x"}, "$.query", "and has 1"),
        ({"query": "abc", "limit": 99}, "$.limit", "must be integer, at least 1, at most 50, not 99"),
        ({"query": "abc", "limit": "8"}, "$.limit", 'not the text "8"'),
        ({"query": "abc", "limit": 1.5}, "$.limit", "not 1.5"),
        ({"query": "abc", "limit": True}, "$.limit", "must be integer"),
        ({"query": "abc", "querry": "x"}, "$.querry", "did you mean query?"),
        ({"query": "abc", "filter": {"kind": "report", "page": []}}, "$.filter.page", "did you mean pages?"),
        ({"query": "abc", "filter": {}}, "$.filter.kind", 'is missing; it must be "report" | "letter"'),
        ({"query": "abc", "filter": {"kind": "leter"}}, "$.filter.kind", "did you mean letter?"),
        ({"query": "abc", "filter": {"kind": "report", "pages": [1, "2"]}}, "$.filter.pages[1]", "must be integer"),
        ({"query": "abc", "filter": '{"kind": "report"}'}, "$.filter", "send the value itself, without quotes"),
        ({"query": "abc", "filter": ["report"]}, "$.filter", "must be object, not an array"),
    ],
)
def test_wrong_arguments_are_named_with_place_expectation_and_near_names(
    arguments: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        look.parse(arguments)
    assert f"{path} " in caught.value.message
    assert words in caught.value.message
    assert path in [one["path"] for one in caught.value.details["errors"]]


def test_every_wrong_argument_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        look.parse({"limit": 0, "other": 1})
    assert {one["path"] for one in caught.value.details["errors"]} == {"$.query", "$.limit", "$.other"}


def test_arguments_arrive_typed_and_null_means_left_out() -> None:
    parsed = look.parse({"query": "abc", "filter": {"kind": "letter", "pages": None}, "limit": None, "schema": True})
    assert parsed == {
        "query": "abc",
        "limit": 8,
        "filter": Filter(kind="letter"),
        "extra": {},
        "schema": True,
    }


def test_values_deeper_or_larger_than_the_bounds_are_refused_before_they_are_walked() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    with pytest.raises(Exhausted, match="levels deep"):
        look.parse({"query": "abc", "extra": deep})
    with pytest.raises(Exhausted, match="bytes"):
        look.parse({"query": "abc", "extra": {"a": "x" * 1_100_000}})
    with pytest.raises(Invalid, match="not JSON"):
        look.parse({"query": "abc", "extra": {"a": float("nan")}})
    with pytest.raises(Invalid, match="not JSON"):
        look.parse({"query": "abc", "extra": {"a": "\ud800"}})


def test_a_function_that_cannot_be_a_tool_is_refused_when_it_is_written() -> None:
    async def silent(ctx: ToolContext) -> str:
        return ""

    async def spread(ctx: ToolContext, *words: str) -> str:
        """Spread."""
        return ""

    async def without_ctx(query: str) -> str:
        """Look."""
        return ""

    for function, words in ((silent, "docstring"), (spread, "words"), (without_ctx, "ctx")):
        with pytest.raises(TypeError, match=words):
            tool()(cast(Any, function))


def test_a_self_referring_model_is_refused() -> None:
    class Node(BaseModel):
        children: list["Node"] = []

    async def grow(ctx: ToolContext, node: Node) -> str:
        """Grow."""
        return ""

    grow.__annotations__["node"] = Node
    with pytest.raises(TypeError, match="refers to itself"):
        tool()(grow)


def test_an_answer_that_breaks_its_own_promise_is_not_passed_on() -> None:
    with pytest.raises(ValueError, match="names"):
        cast(AnyTool, look).reply({"nmes": []})
