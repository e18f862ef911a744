"""Where names are looked up while rendering: the stack of contexts, `@data`, block parameters, partials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from content.templates.expressions import MISSING
from content.templates.nodes import Program


@dataclass(frozen=True, slots=True)
class Frame:
    """A context and the one around it; `constants` are keys whose values are written in the template itself."""

    value: Any
    parent: "Frame | None" = None
    constants: frozenset[str] = frozenset()

    def push(self, value: Any, constants: frozenset[str] = frozenset()) -> "Frame":
        """Return the frame for `value`, which is this very frame where the context stays the same."""
        same = value is self.value or (_scalar(value) and type(value) is type(self.value) and value == self.value)
        return self if same and not constants else Frame(value, self, constants)

    def up(self, steps: int) -> "Frame | None":
        """Return the frame `steps` further out, None above the outermost."""
        frame: Frame | None = self
        for _ in range(steps):
            if frame is None:
                return None
            frame = frame.parent
        return frame


@dataclass(slots=True)
class Data:
    """The `@` variables of a loop; each loop has its own copy, `@../` reaches the outer one."""

    values: dict[str, Any]
    parent: "Data | None" = None

    def child(self) -> "Data":
        """Return a copy that can be written without touching this one."""
        return Data(dict(self.values), self)


@dataclass(frozen=True, slots=True)
class Bindings:
    """The block parameters of one block, and those around it."""

    names: tuple[str, ...]
    values: Sequence[Any]
    parent: "Bindings | None" = None

    def find(self, name: str) -> tuple[bool, Any]:
        """Return whether `name` is bound, and to what."""
        bindings: Bindings | None = self
        while bindings is not None:
            if name in bindings.names:
                index = bindings.names.index(name)
                return True, bindings.values[index] if index < len(bindings.values) else MISSING
            bindings = bindings.parent
        return False, MISSING


@dataclass(frozen=True, slots=True)
class Body:
    """A program with the scope it was written in: an inline partial or the body of a partial's call."""

    program: Program
    scope: "Scope"


@dataclass(frozen=True, slots=True)
class Inlines:
    """The inline partials of one block, known in all that it calls, and those around it."""

    local: Mapping[str, Body]
    parent: "Inlines | None" = None

    def find(self, name: str) -> Body | None:
        """Return the nearest inline partial of that name."""
        inlines: Inlines | None = self
        while inlines is not None:
            if name in inlines.local:
                return inlines.local[name]
            inlines = inlines.parent
        return None


@dataclass(frozen=True, slots=True)
class Scope:
    """All that a statement sees."""

    frame: Frame
    data: Data
    bindings: Bindings | None = None
    inlines: Inlines | None = None
    block: Body | None = None

    def within(self, value: Any, data: Data, names: tuple[str, ...], values: Sequence[Any]) -> "Scope":
        """Return the scope of a body that works on `value`, with its block parameters."""
        bindings = Bindings(names, values, self.bindings) if names else self.bindings
        return Scope(self.frame.push(value), data, bindings, self.inlines, self.block)


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
