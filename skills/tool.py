"""Tools: an async function with a typed signature becomes a `Tool`, which is all there is to registering one.

    @tool(effect="read_only")
    async def word_count(ctx: ToolContext, text: Annotated[str, Field(description="what to count")]) -> int:
        '''Count the words of a text.'''
        return len(text.split())

The arguments' schema comes from the signature, the description from the docstring. Nothing is registered anywhere:
whoever loads a module collects its tools by `tools_of`.
"""

import inspect
import json
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, create_model

from engine.transcript import ToolSpec
from engine.values import Principal
from skills.arguments import Checker, Violation, check_bounds, invalid, json_path
from skills.schemas import Schema, shape, tidy, without_nulls

P = ParamSpec("P")
R = TypeVar("R")

Effect = Literal["read_only", "side_effecting", "control", "always_ask"]


@dataclass(frozen=True)
class ToolReply:
    """What a call answers: `text` for a model, `value` for a program (None: text alone, as for lessons).

    `reveals` are tools that the answer makes known. `rest` says where the whole text is when this one was cut.
    `order` is what the agent's own workflow is to do: the answer then comes from there, and `text` is not used.
    A tool that returns a `ToolReply` itself has no output schema.
    """

    text: str
    value: JsonValue = None
    reveals: tuple[ToolSpec, ...] = ()
    rest: str | None = None
    order: dict[str, JsonValue] | None = None


@dataclass(frozen=True)
class Tool(Generic[P, R]):
    """An async function as a tool. `roles`: who may see and call it; empty means everybody.

    `wrapped`: the function gives something else than an object, which travels as `{"result": …}`.
    """

    function: Callable[P, Awaitable[R]]
    spec: ToolSpec
    roles: frozenset[str]
    arguments: type[BaseModel]
    checker: Checker
    output: TypeAdapter[Any] | None
    wrapped: bool

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Call the function itself, past every check: for tools that build on each other, and for tests."""
        return self.function(*args, **kwargs)

    def admits(self, principal: Principal) -> bool:
        """Tell whether `principal` may see and call the tool."""
        return not self.roles or principal.has_role(*self.roles)

    def within(self, skill: str) -> "Tool[P, R]":
        """Return the tool under the name `skill.tool`."""
        spec = ToolSpec.model_validate(self.spec.model_dump() | {"name": f"{skill}.{self.spec.name}", "skill": skill})
        return replace(self, spec=spec)

    def parse(self, arguments: Mapping[str, JsonValue]) -> dict[str, Any]:
        """Return the checked keyword arguments of the function.

        Raises:
            Invalid: they break the schema; the message names every place, `details.errors` too.
            Exhausted: they are too large or too deep.
        """
        check_bounds(arguments)
        given = without_nulls(self.spec.input_schema, dict(arguments))
        what = f"the arguments of {self.spec.name} do not fit"
        self.checker.check(given, what=what)
        try:
            parsed = self.arguments.model_validate(given)
        except ValidationError as error:
            found = [Violation(json_path(one["loc"]), one["msg"]) for one in error.errors(include_url=False)]
            raise invalid(what, found) from error
        return {name.removesuffix("_"): getattr(parsed, name) for name in type(parsed).model_fields}

    def reply(self, result: Any) -> ToolReply:
        """Return what the function gave, as its output schema promises; raises when it breaks that promise."""
        if self.output is None:
            if not isinstance(result, ToolReply):
                raise TypeError(f"{self.spec.name} must return a ToolReply, not {type(result).__name__}")
            return result
        checked = self.output.validate_python(result)
        value = cast(JsonValue, self.output.dump_python(checked, mode="json", by_alias=True, warnings="error"))
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        return ToolReply(text=text, value={"result": value} if self.wrapped else value)


AnyTool = Tool[..., Any]


def tool(
    *,
    effect: Effect = "read_only",
    honours_key: bool = False,
    timeout_s: float = 60.0,
    roles: tuple[str, ...] = (),
    name: str | None = None,
    target: str | None = None,
    polls: bool = False,
) -> Callable[[Callable[P, Awaitable[R]]], Tool[P, R]]:
    """Make a tool of an async function whose first parameter is the `ToolContext`.

    `honours_key` promises that a call repeated with the same `ctx.key` has no second effect. `name` replaces the
    function's own name. `target` names the parameter that says what a call acts on, so that a person can allow the
    tool on that for a whole run; without it such a grant is for the same arguments only. `polls` says that the tool
    is called again and again until its answer changes, which is not the loop of an agent that is stuck.

    Raises:
        TypeError: the signature can't be a tool's (no docstring, positional or variadic parameters, no types, no
            parameter `target`).
    """

    def decorate(function: Callable[P, Awaitable[R]]) -> Tool[P, R]:
        title = name or function.__name__
        description = inspect.getdoc(function)
        if not inspect.iscoroutinefunction(function) or not description:
            raise TypeError(f"the tool {title} must be an async function with a docstring")
        hints = typing.get_type_hints(function, include_extras=True)
        arguments = _arguments_model(title, function, hints)
        if target is not None and f"{target}_" not in arguments.model_fields:
            raise TypeError(f"the tool {title} has no parameter {target!r}, which is to be its target")
        output = None if hints["return"] is ToolReply else TypeAdapter(hints["return"])
        output_schema, wrapped = _output_schema(output) if output else (None, False)
        spec = ToolSpec(
            name=title,
            description=description,
            input_schema=_input_schema(arguments),
            output_schema=output_schema,
            effect=effect,
            honours_key=honours_key,
            timeout_s=timeout_s,
            target=target,
            polls=polls,
        )
        return Tool(
            function=function,
            spec=spec,
            roles=frozenset(roles),
            arguments=arguments,
            checker=Checker(spec.input_schema),
            output=output,
            wrapped=wrapped,
        )

    return decorate


def tools_of(module: ModuleType) -> tuple[AnyTool, ...]:
    """Return the tools that a module defines, in the order in which they stand there."""
    return tuple(
        cast(AnyTool, value)
        for value in vars(module).values()
        if isinstance(value, Tool) and cast(AnyTool, value).function.__module__ == module.__name__
    )


def _arguments_model(title: str, function: Callable[..., Any], hints: dict[str, Any]) -> type[BaseModel]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].name != "ctx" or "return" not in hints:
        raise TypeError(f"the tool {title} must take ctx: ToolContext first and state what it returns")
    fields: dict[str, Any] = {}
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"the tool {title}: {parameter.name} must be a named parameter with a type")
        if parameter.name not in hints:
            raise TypeError(f"the tool {title}: {parameter.name} has no type")
        # The underscore keeps an argument named like a method of the model (`schema`, `copy`) from shadowing it.
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"{parameter.name}_"] = (hints[parameter.name], Field(default, alias=parameter.name))
    return create_model(f"{title}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _input_schema(arguments: type[BaseModel]) -> Schema:
    schema = shape(arguments.model_json_schema(by_alias=True))
    return tidy({"type": "object", "properties": {}, "additionalProperties": False} | schema)


def _output_schema(output: TypeAdapter[Any]) -> tuple[Schema, bool]:
    schema = shape(output.json_schema(mode="serialization", by_alias=True))
    if schema.get("type") == "object" and not {"anyOf", "oneOf", "allOf"} & set(schema):
        return schema, False
    schema.pop("description", None)
    return {"type": "object", "properties": {"result": schema}, "required": ["result"]}, True
