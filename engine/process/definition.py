"""The definition of a process, format 1: a graph as data, with its context, its defaults and its scenarios."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from engine.errors import Invalid
from engine.process.document import check_json, read_document
from engine.process.durations import Duration, parse_duration
from engine.process.findings import pointer
from engine.process.nodes import NODE_TYPES
from engine.process.nodes.base import (
    Body,
    ErrorTransition,
    NodeBase,
    Retry,
    Seat,
    TimeoutTransition,
    Transition,
)
from engine.values import Budget, Value, digest

__all__ = [
    "NODE_TYPES",
    "Body",
    "Context",
    "Defaults",
    "ErrorTransition",
    "NodeBase",
    "ProcessDefinition",
    "Retry",
    "Scenario",
    "Seat",
    "Supervision",
    "TimeoutTransition",
    "Transition",
    "definition_schema",
    "parse_definition",
    "parse_duration",
]

MAX_PROBLEMS = 20


class Context(Value):
    """The schema of the context and the values it starts with, before the input is laid over them."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_: dict[str, Any] = Field(default={"type": "object", "properties": {}}, alias="schema")
    initial: dict[str, JsonValue] = {}


class Defaults(Value):
    """What holds for every node that does not say otherwise."""

    model: str | None = None
    timeout: Duration | None = None
    retry: Retry | None = None
    budget: Budget | None = None


class Supervision(Value):
    """A supervisor over the whole run and what that seat may do."""

    seat: Seat
    may: tuple[Literal["skip", "retry", "advance", "set_context", "pause"], ...] = ("skip", "retry", "advance", "pause")


class Answer(Value):
    """What somebody decides in a scenario, so long after being asked; `refused` says that the engine won't take it."""

    decision: str
    values: dict[str, JsonValue] = {}
    by: str | None = None
    elapsed: Duration | None = None
    refused: bool = False


class Fixture(Value):
    """What a node gives in a scenario: a result, an error of a kind, a decision, after so much time.

    `also` are further people who answer the same question, as for a quorum. `then` is what a person decides behind the
    node: which of the ways to take that wait for a person, or what is to become of its failure; several in turn.
    """

    result: JsonValue = None
    error: str | None = None
    decision: str | None = None
    values: dict[str, JsonValue] = {}
    by: str | None = None
    elapsed: Duration | None = None
    also: tuple[Answer, ...] = ()
    then: Answer | tuple[Answer, ...] | None = None


class Operation(Value):
    """What an actor does to the run by hand so long after its start; `refused` says that the engine won't do it."""

    after: Duration
    by: str
    action: Literal["retry", "skip", "advance", "set_context", "pause", "resume", "rewind", "cancel", "stop"]
    target: str | None = None
    to: str | None = None
    values: dict[str, JsonValue] | None = None
    patch: list[JsonValue] | None = None
    reason: str = ""
    refused: bool = False


class Actor(Value):
    """Somebody in a scenario."""

    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Expectation(Value):
    """What a scenario must have led to; what is not given is not looked at.

    `path` are the nodes of the outermost graph, `tasks` the nodes that asked somebody, both in order. `error` is the
    kind of failure the run ends with; without it, a run that fails fails the scenario. `status` is how the run is left.
    """

    path: tuple[str, ...] | None = None
    context: dict[str, JsonValue] = {}
    outcome: str | None = None
    error: str | None = None
    status: Literal["completed", "failed", "cancelled"] | None = None
    tasks: tuple[str, ...] | None = None


class Scenario(Value):
    """A test of a process: its input, a fixture or several in turn per node, who acts, and what must come of it."""

    name: str = Field(min_length=1, max_length=200)
    input: dict[str, JsonValue] = {}
    fixtures: dict[str, Fixture | tuple[Fixture, ...]] = {}
    actors: dict[str, Actor] = {}
    operations: tuple[Operation, ...] = ()
    expect: Expectation = Expectation()


class ProcessDefinition(Body):
    """A process: nodes and the transitions between them over one typed context."""

    format: Literal[1]
    process: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    title: str = Field(default="", max_length=200)
    about: str = Field(default="", max_length=10_000)
    input: dict[str, Any] = {}
    context: Context = Context()
    defaults: Defaults = Defaults()
    supervision: Supervision | None = None
    scenarios: tuple[Scenario, ...] = ()

    def canonical(self) -> dict[str, Any]:
        """Return the definition as JSON without what is said by default: equal definitions give equal values."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def digest(self) -> str:
        """Return the hexadecimal sha256 of the canonical JSON."""
        return digest(self.canonical())


def parse_definition(source: str | bytes | Mapping[str, Any]) -> ProcessDefinition:
    """Return the definition of a YAML or JSON text, or of its value.

    Raises Invalid, whose message and `problems` name each path and what is expected there, and Exhausted for a text
    beyond 1 MiB, 64 levels or 100,000 values.
    """
    if isinstance(source, Mapping):
        data: Any = dict(source)
        check_json(data)
    else:
        data = read_document(source)
    if not isinstance(data, dict):
        raise Invalid("a definition is a mapping with format, process, start and nodes", path="")
    try:
        return ProcessDefinition.model_validate(data)
    except ValidationError as error:
        problems = [_problem(cast("dict[str, Any]", item), data) for item in error.errors(include_url=False)]
    shown = problems[:MAX_PROBLEMS]
    rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise Invalid(
        f"the definition is not in format 1: {shown[0]['path'] or '/'}: {shown[0]['message']}{rest}", problems=shown
    )


def _problem(item: dict[str, Any], data: Any) -> dict[str, str]:
    """Return path and message of one problem; the location of pydantic also names the branch of a union it took."""
    parts: list[str | int] = []
    here: Any = data
    location: tuple[str | int, ...] = item["loc"]
    for index, part in enumerate(location):
        if len(parts) > 1 and parts[-2] == "nodes" and location[index - 1] == parts[-1] and part in NODE_TYPES:
            continue  # the type of the node, by which the union was entered
        if isinstance(here, dict) and part in here:
            here = cast("dict[str | int, Any]", here)[part]
        elif isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif index < len(location) - 1 or item["type"] != "missing":
            continue
        parts.append(part)
    return {"path": pointer(*parts), "message": _expectation(item)}


def _expectation(item: dict[str, Any]) -> str:
    """Return what is expected, in words for the person who wrote the definition."""
    kind, message = item["type"], str(item["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        return "this field is required"
    if kind == "extra_forbidden":
        return "there is no such field here; check its spelling"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"a node has a type, one of {', '.join(NODE_TYPES)}"
    given = item.get("input")
    if isinstance(given, (str, int, float)) and len(str(given)) <= 60 and repr(given) not in message:
        return f"{message}, not {given!r}"
    return message


def definition_schema() -> dict[str, Any]:
    """Return the JSON Schema of format 1, for editors and the designer."""
    return ProcessDefinition.model_json_schema(by_alias=True)
