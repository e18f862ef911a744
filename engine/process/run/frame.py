"""What is shared while a definition is carried out: the run, its context, and the scopes of nested bodies."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import JsonValue

from engine.errors import Problem
from engine.json_schema import first_violation
from engine.people import People
from engine.ports import ProcessSnapshot, apply_change
from engine.process.definition import ProcessDefinition
from engine.process.logic import Rule, compile_rule
from engine.process.messages import Proposal
from engine.process.patches import Patch, writes_patch
from engine.process.paths import short_path
from engine.process.run.events import Events
from engine.process.run.posts import Posts
from engine.runs import Change, RunRef
from engine.values import Budget, Principal, Spent, canonical_json

MAX_CONTEXT_BYTES = 256 * 1024
UNDO = "undo/"
"""How the paths of compensations begin; those of all other steps begin with a number."""


class NodeFailed(Exception):  # a result of a node that the definition may handle
    """A node came to nothing: `kind` is what `on_error` matches, `spent` what it used up all the same."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.spent = Spent()
        self.kind = kind
        self.message = message


class Ended(Exception):  # how an end inside a body ends the whole run
    """An `end` node was reached; `spent` is what no step has written down yet."""

    def __init__(self, outcome: str, output: JsonValue) -> None:
        super().__init__(outcome)
        self.spent = Spent()
        self.outcome = outcome
        self.output = output


@dataclass
class Conduct:
    """One run under way: what every frame of it shares. Changed by the workflow alone, one step at a time."""

    run: RunRef
    principal: Principal
    snapshot: ProcessSnapshot
    definition: ProcessDefinition
    people: People
    events: Events
    budget: Budget
    spent: Spent = field(default_factory=Spent)
    rules: dict[int, tuple[Any, Rule]] = field(default_factory=lambda: {})
    paused: bool = False
    position: str = ""
    parked: set[str] = field(default_factory=lambda: set())
    """The steps that hold nothing but a timer: they can be left and begun anew without harm."""

    posts: Posts = field(default_factory=Posts)
    proposals: tuple[Proposal, ...] = ()
    record: Callable[[Change], Awaitable[object]] = apply_change
    """How the end of a step is written down: by itself, or in a batch together with others."""

    undo: dict[tuple[str, str], None] = field(default_factory=lambda: {})
    """What would undo something in this run: each node with its graph. The run that a batch belongs to is told."""

    given_back: dict[str, int] = field(default_factory=lambda: {})
    """How many of its slots each batch still needs, where that is fewer than it was given."""

    def propose(self, by: str, node: str, keys: Iterable[str]) -> None:
        """Remember who has put values into the context by hand."""
        new = (Proposal(key=key, node=node, by=by) for key in keys)
        self.proposals = tuple(dict.fromkeys((*self.proposals, *new)))

    def rule(self, expression: Any) -> Rule:
        """Return the compiled form of an expression, strict about missing variables."""
        # Kept beside its rule, an expression stays what its id means.
        known = self.rules.get(id(expression))
        if known is None:
            known = self.rules[id(expression)] = (expression, compile_rule(expression, strict=True))
        return known[1]


@dataclass
class Frame:
    """A scope: the run's context, or the variables of one item of a foreach laid over it.

    `path` leads every step of the frame, so that steps of parallel bodies keep names of their own. `scope` is the path
    of the frame whose values this one writes: "" for the run's context, the item's path inside a foreach. `caught`: a
    node above lives with failures in it.
    """

    conduct: Conduct
    values: dict[str, JsonValue]
    path: str = ""
    scope: str = ""
    outer: "Frame | None" = None
    locals: dict[str, JsonValue] = field(default_factory=lambda: {})
    caught: bool = False
    steps: int = 0
    visits: dict[str, int] = field(default_factory=lambda: {})

    def visible(self) -> dict[str, JsonValue]:
        """Return everything an expression in this frame may read, inner names over outer ones."""
        outer = self.outer.visible() if self.outer is not None else {}
        return {**outer, **self.values, **self.locals}

    def seen(self, reads: Sequence[str] | None) -> dict[str, JsonValue]:
        """Return what a node sees that `reads` these keys (None: all), and in any case the items it is about."""
        visible = self.visible()
        return (
            visible if reads is None else {name: visible[name] for name in (*reads, *self._items()) if name in visible}
        )

    def _items(self) -> dict[str, JsonValue]:
        return {**(self.outer._items() if self.outer is not None else {}), **self.locals}

    @property
    def undoes(self) -> bool:
        """Whether this is the frame of a compensation, or one inside it."""
        return self.path.startswith(UNDO)

    def trial(self) -> "Frame":
        """Return a copy to try writes and guards on."""
        return replace(self, values=dict(self.values))

    def next_step(self, node: str) -> str:
        """Return the name of the next step: unique in the run and the same on every replay."""
        self.steps += 1
        return f"{short_path(self.path)}{self.steps}.{node}"

    def evaluate(self, expression: Any, where: str) -> Any:
        """Return the value of an expression.

        Raises:
            NodeFailed: of kind `expression`, when it reads what is not there or breaks a bound.
        """
        try:
            return self.conduct.rule(expression)(self.visible())
        except Problem as problem:
            raise NodeFailed("expression", f"{where}: {problem.message}") from problem

    def evaluate_all(self, inputs: Mapping[str, Any], where: str) -> dict[str, JsonValue]:
        """Return the values of a mapping of expressions."""
        return {name: self.evaluate(rule, f"{where}.{name}") for name, rule in inputs.items()}

    def trace(self, expression: Any) -> JsonValue:
        """Return the clauses of an expression with the values they saw, for the audit."""
        return self.conduct.rule(expression).explain(self.visible())

    def write(self, node_id: str, declared: tuple[str, ...], result: Mapping[str, JsonValue]) -> Patch:
        """Lay `result` into the frame and return what that changed, as JSON Patch on the frame's scope.

        Raises:
            NodeFailed: of kind `undeclared_write`, `invalid_output` or `context_full`; nothing is written then.
        """
        undeclared = sorted(set(result) - set(declared))
        if undeclared:
            raise NodeFailed(
                "undeclared_write", f"{node_id} wrote {', '.join(undeclared)}, but declares only {list(declared)}"
            )
        if not result:
            return []
        # Names of a foreach item need not be in the context's schema; what is there must hold.
        schema = {**self.conduct.definition.context.schema_, "additionalProperties": True, "required": []}
        problem = first_violation(schema, dict(result))
        if problem:
            raise NodeFailed("invalid_output", f"{node_id} wrote what the context's schema refuses: {problem}")
        merged = {**self.values, **result}
        if len(canonical_json(merged).encode()) > MAX_CONTEXT_BYTES:
            raise NodeFailed(
                "context_full",
                f"{node_id} would bring the context over {MAX_CONTEXT_BYTES} bytes; keep an artifact's path instead",
            )
        patch = writes_patch(self.values, result)
        self.values.update(result)
        return patch
