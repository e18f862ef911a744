"""What an import says of itself: each part of the source that was mapped, approximated or not mapped, and why."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.findings import Finding, pointer
from engine.values import Value

Kind = Literal["mapped", "approximated", "not_mapped"]
MAX_PROBLEMS = 20


class Note(Value):
    """What became of one part: `source` and `target` are JSON pointers into the two definitions, "" where none fits."""

    kind: Kind
    source: str
    target: str = ""
    message: str


class Needs(Value):
    """What the imported definition names and what has to exist before it can be published."""

    tools: tuple[str, ...] = ()
    interactions: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()


class Imported(Value):
    """A definition of ours as YAML, the report, and what the verifier says of it.

    `children` are definitions that stood inside the source; they are published before this one.
    """

    process: str
    text: str
    notes: tuple[Note, ...]
    needs: Needs
    findings: tuple[Finding, ...] = ()
    children: tuple["Imported", ...] = ()

    @property
    def verifies(self) -> bool:
        """Whether neither this definition nor one of its children has an error."""
        here = not any(finding.severity == "error" for finding in self.findings)
        return here and all(child.verifies for child in self.children)

    @property
    def family(self) -> tuple["Imported", ...]:
        """This definition behind those that stood inside it: the order in which they are published."""
        return (*(one for child in self.children for one in child.family), self)

    @property
    def definition(self) -> ProcessDefinition:
        """The definition of the text."""
        return parse_definition(self.text)

    def of(self, kind: Kind) -> tuple[Note, ...]:
        """Return the notes of a kind."""
        return tuple(note for note in self.notes if note.kind == kind)


class Notes:
    """Collects notes, and the problems for which a source is refused."""

    def __init__(self) -> None:
        """Start with nothing to say."""
        self.notes: list[Note] = []
        self.problems: list[dict[str, str]] = []

    def mapped(self, source: str, target: str, message: str) -> None:
        """Say that a part means the same here."""
        self.notes.append(Note(kind="mapped", source=source, target=target, message=message))

    def approximated(self, source: str, target: str, message: str) -> None:
        """Say that a part means something near to it here."""
        self.notes.append(Note(kind="approximated", source=source, target=target, message=message))

    def lost(self, source: str, message: str) -> None:
        """Say that a part has nothing here that corresponds to it."""
        self.notes.append(Note(kind="not_mapped", source=source, message=message))

    def problem(self, path: str, message: str) -> None:
        """Say why the source is refused."""
        self.problems.append({"path": path, "message": message})


class Fields:
    """One object of the source: what nobody takes from it is reported as not mapped, so that nothing gets lost."""

    def __init__(self, data: Any, at: str, notes: Notes) -> None:
        """Take the object at a pointer; anything else is a problem and counts as an empty object."""
        self.at = at
        self.notes = notes
        if not isinstance(data, Mapping):
            notes.problem(at, f"an object is expected here, not {_shown(data)}")
            data = {}
        self._left: dict[str, Any] = dict(cast("Mapping[str, Any]", data))

    def __contains__(self, name: str) -> bool:
        """Tell whether a field is given and nobody has taken it yet."""
        return self._left.get(name) is not None

    def where(self, *parts: str | int) -> str:
        """Return the pointer of a place below the object."""
        return self.at + pointer(*parts)

    def any(self, name: str) -> Any:
        """Take a field as it is; None where it is not given."""
        return self._left.pop(name, None)

    def text(self, name: str, *, needed: bool = False) -> str:
        """Take a text; "" where it is not given."""
        return self._of(name, str, "a text", needed) or ""

    def flag(self, name: str) -> bool | None:
        """Take a truth value; None where it is not given."""
        return self._of(name, bool, "true or false", False)

    def number(self, name: str) -> int | None:
        """Take a positive integer or 0; None where it is not given."""
        value = self.any(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.notes.problem(self.where(name), f"an integer of at least 0 is expected here, not {_shown(value)}")
            return None
        return value

    def items(self, name: str, *, needed: bool = False) -> list[Any]:
        """Take a list; [] where it is not given."""
        return self._of(name, list, "a list", needed) or []

    def texts(self, name: str) -> list[str]:
        """Take a list of texts; [] where it is not given."""
        found = self.items(name)
        for index, one in enumerate(found):
            if not isinstance(one, str):
                self.notes.problem(self.where(name, index), f"a text is expected here, not {_shown(one)}")
        return [one for one in found if isinstance(one, str)]

    def object(self, name: str, *, needed: bool = False) -> dict[str, Any]:
        """Take an object; {} where it is not given."""
        return self._of(name, dict, "an object", needed) or {}

    def leave(self, name: str, message: str) -> None:
        """Take a field for which there is nothing here, and say what to do instead."""
        if name in self:
            self.notes.lost(self.where(name), message)
        self.any(name)

    def close(self) -> None:
        """Report what nobody has taken."""
        for name in list(self._left):
            self.leave(name, f"{name!r} has nothing here that corresponds to it and was left out")

    def _of(self, name: str, kind: type, words: str, needed: bool) -> Any:
        value = self.any(name)
        if value is None:
            if needed:
                self.notes.problem(self.where(name), f"{name!r} is missing; it is {words}")
            return None
        if not isinstance(value, kind):
            self.notes.problem(self.where(name), f"{words} is expected here, not {_shown(value)}")
            return None
        return value


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{type(value).__name__} {value!r}"[:80]
