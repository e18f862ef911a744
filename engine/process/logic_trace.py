"""Why a rule gave what it gave: each clause that was evaluated with the values it saw, as bounded JSON."""

from typing import Any

from engine.errors import Problem
from engine.process.logic_compile import Closure, Compiler
from engine.process.logic_tree import Call, LogicError, Node

MAX_CLAUSES = 200
_MAX_TEXT = 200
_MAX_MEMBERS = 20
_MAX_LEVELS = 4
_MAX_CLAUSE_LEVELS = 10


def clip(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Return the value shortened to a size that an audit record may hold."""
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "…"
    if isinstance(value, list):
        if levels == 0:
            return f"… {len(value)} elements"
        kept = [clip(item, levels - 1) for item in value[:_MAX_MEMBERS]]
        return kept if len(value) <= _MAX_MEMBERS else [*kept, f"… {len(value) - _MAX_MEMBERS} more"]
    if isinstance(value, dict):
        if levels == 0:
            return f"… {len(value)} members"
        kept = {str(key)[:_MAX_TEXT]: clip(value[key], levels - 1) for key in list(value)[:_MAX_MEMBERS]}
        return kept if len(value) <= _MAX_MEMBERS else {**kept, "…": f"{len(value) - _MAX_MEMBERS} more"}
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "… a very large number"
    return value


class TracingCompiler(Compiler):
    """A compiler whose closures write down each clause: place, clause, value or error, and the clauses inside it."""

    def __init__(self, operators: dict[str, Any], strict: bool) -> None:
        super().__init__(operators, strict)
        self.top: list[dict[str, Any]] = []
        self.left = MAX_CLAUSES
        self._open: list[list[dict[str, Any]]] = [self.top]

    def compile(self, node: Node) -> Closure:
        """Return the closure of a node, wrapped so that it is written down."""
        run = super().compile(node)
        if not isinstance(node, Call):
            return run
        at, clause = node.at, clip(node.raw, _MAX_CLAUSE_LEVELS)

        def written(context: Any, scope: Any) -> Any:
            if self.left <= 0:
                return run(context, scope)
            self.left -= 1
            inside: list[dict[str, Any]] = []
            entry: dict[str, Any] = {"at": at, "clause": clause}
            self._open[-1].append(entry)
            self._open.append(inside)
            try:
                value = run(context, scope)
                entry["value"] = clip(value)
                return value
            except LogicError as error:
                entry["error"] = clip(error.error)
                raise
            except Problem as problem:
                entry["error"] = {"type": problem.code}
                raise
            finally:
                self._open.pop()
                if inside:
                    entry["clauses"] = inside

        return written
