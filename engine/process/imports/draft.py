"""A definition of ours in the making: its nodes, its context, and what they need."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.process.imports.names import Paths, Values, unique
from engine.process.imports.report import Fields, Needs, Notes

Named = tuple[str, dict[str, Any]]
"""A node of ours with its id."""

UNANSWERED = "unanswered"
_BAD = re.compile(r"[^A-Za-z0-9._/:@-]")


@dataclass(frozen=True)
class Script:
    """Code that comes with a source: its files by name, the one that is run, and what it has to be run with."""

    language: str
    entrypoint: str
    files: dict[str, Any]
    packages: list[str]


@dataclass
class Draft:
    """What is known while a source is gone through.

    `names` says what tools, interactions, skills and processes of the source are called here; `ids` what each of its
    nodes is called. `deadline` holds for every question, since a source has none.
    """

    notes: Notes
    names: Mapping[str, str]
    deadline: str
    keys: dict[str, str] = field(default_factory=lambda: {})
    schema: dict[str, Any] = field(default_factory=lambda: {})
    initial: dict[str, Any] = field(default_factory=lambda: {})
    words: dict[str, Any] = field(default_factory=lambda: {})
    """Further words of the context's schema: definitions that its keys refer to."""
    own: set[str] = field(default_factory=lambda: set())
    """Keys that only the import uses; no start gives them."""
    local: list[str] = field(default_factory=lambda: [])
    """The item of the repetition that is gone through."""
    ids: dict[str, str] = field(default_factory=lambda: {})
    taken: set[str] = field(default_factory=lambda: set())
    ends: dict[str, str] = field(default_factory=lambda: {})
    scripts: dict[str, Script] = field(default_factory=lambda: {})
    run: set[str] = field(default_factory=lambda: set())
    """The scripts that some node runs."""
    inline: list[tuple[str, Any, str]] = field(default_factory=lambda: [])
    """Definitions that stand inside the source: the name they get, they themselves, and where they stand."""
    processes: set[str] = field(default_factory=lambda: set())
    wanted: dict[str, set[str]] = field(default_factory=lambda: {})

    @property
    def paths(self) -> Paths:
        """Paths of the context as they are here."""
        return Paths(self.keys)

    @property
    def values(self) -> Values:
        """Values of the source as expressions."""
        return Values(self.paths)

    def need(self, kind: str, name: str) -> str:
        """Return what something outside is called here, and write down that it has to exist."""
        here = _BAD.sub("_", self.names.get(name, name))[:128].lstrip("._/:@-") or "unnamed"
        self.wanted.setdefault(kind, set()).add(here)
        return here

    def needs(self) -> Needs:
        """Return all that has to exist."""
        return Needs(**{kind: tuple(sorted(names)) for kind, names in self.wanted.items()})

    def node_id(self, wanted: str) -> str:
        """Return a free id and keep it."""
        found = unique(wanted, self.taken)
        self.taken.add(found)
        return found

    def key(self, source: str, at: str) -> str:
        """Return the key of the context that a name of the source is here; one that stands nowhere is added."""
        root = source.partition(".")[0]
        if root not in self.keys:
            self.keys[root] = unique(root, self.schema, dashes=False)
            self.schema[self.keys[root]] = {}
            self.notes.approximated(
                at, f"/context/schema/properties/{self.keys[root]}", f"{root!r} was not in the context's schema; added"
            )
        return self.keys[root]

    def own_key(self, wanted: str, schema: dict[str, Any]) -> str:
        """Return a key of the context that only the import uses."""
        found = unique(wanted, self.schema, dashes=False)
        self.schema[found] = schema
        self.own.add(found)
        return found

    def end(self, outcome: str) -> str:
        """Return the id of the end that the import adds for an outcome that the source does not have."""
        if outcome not in self.ends:
            self.ends[outcome] = self.node_id(outcome)
        return self.ends[outcome]

    def writes(self, fields: Fields) -> list[str]:
        """Take the declared writes as keys of the context."""
        found: list[str] = []
        for index, name in enumerate(fields.texts("writes")):
            at = fields.where("writes", index)
            key = self.key(name.removeprefix("context.") if "context" not in self.keys else name, at)
            if "." in name.removeprefix("context."):
                self.notes.approximated(
                    at, "", f"{name!r} is written here as a whole, as {key!r}: declared writes are keys"
                )
            if key not in found:
                found.append(key)
        return found
