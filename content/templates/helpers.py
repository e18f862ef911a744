"""The helpers of the language, those of prompts, and the shape that further ones have."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from content.templates.expressions import MISSING, Missing
from content.templates.nodes import Span
from content.templates.pieces import Fragment, HistoryMark, MediaMark, RoleMark, SectionMark
from content.templates.values import as_json, empty, identical, member, text, truthy
from engine.errors import Invalid

ROLES_FROM_VALUES = frozenset({"user", "model"})
"""The roles that a value may choose; any other must be written in the template."""

_ROLE = re.compile(r"[a-z]{1,32}")


def _no_body(*_: Any, **__: Any) -> Fragment:
    return Fragment()


@dataclass(slots=True)
class Invocation:
    """One call of a helper: its arguments, the context, the `@` variables, and how to render the block's bodies.

    `body(context, data={…}, params=[…])` and `otherwise()` return a `Fragment`; outside of a block both are empty.
    `constant` is whether every argument without a key is written in the template as it stands.
    """

    name: str
    args: tuple[Any, ...]
    hash: dict[str, Any]
    context: Any
    data: Mapping[str, Any]
    span: Span
    constant: bool
    body: Callable[..., Fragment] = _no_body
    otherwise: Callable[[], Fragment] = _no_body

    def one(self) -> Any:
        """Return the only argument; any other number is `Invalid`."""
        if len(self.args) != 1:
            raise self.span.invalid(f"`{self.name}` takes exactly one argument, not {len(self.args)}.")
        return self.args[0]

    def two(self) -> tuple[Any, Any]:
        """Return the two arguments; any other number is `Invalid`."""
        if len(self.args) != 2:
            raise self.span.invalid(f"`{self.name}` takes exactly two arguments, not {len(self.args)}.")
        return self.args[0], self.args[1]


Helper = Callable[[Invocation], Any]
"""A helper returns a JSON value, which is escaped where escaping is on, or a `Fragment`, which never is."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A block helper that only decides whether the body or the `else` is rendered."""

    test: Callable[[Invocation], bool]


@dataclass(frozen=True, slots=True)
class Each:
    """`#each`: the body once per item of a list or entry of an object."""

    subject: Callable[[Invocation], Any]


@dataclass(frozen=True, slots=True)
class With:
    """`#with`: the body on another context; its subject is `MISSING` where there is none."""

    subject: Callable[[Invocation], Any]


def _if(call: Invocation) -> bool:
    value = call.one()
    return truthy(value) or (truthy(call.hash.get("includeZero")) and not empty(value) and value != [])


def _unless(call: Invocation) -> bool:
    return not _if(call)


def _with(call: Invocation) -> Any:
    value = call.one()
    return MISSING if empty(value) else value


def _lookup(call: Invocation) -> Any:
    value, key = call.two()
    return member(value, text(key)) if truthy(value) else value


def _log(_: Invocation) -> None:
    return None


def _json(call: Invocation) -> str:
    indent = call.hash.get("indent")
    if indent is not None and (isinstance(indent, bool) or not isinstance(indent, int | str)):
        raise call.span.invalid("`json` takes `indent` as a number of spaces or as text.")
    return as_json(call.one(), indent)


def _role(call: Invocation) -> RoleMark:
    name = call.one() if call.args else None
    if not isinstance(name, str) or not _ROLE.fullmatch(name):
        raise call.span.invalid(
            '`role` takes the name of a role in lower-case letters, as in `{{role "system"}}`; '
            "a parameter of that name is `{{this.role}}`."
        )
    if not call.constant and name not in ROLES_FROM_VALUES:
        raise call.span.invalid(
            f"a value may choose the roles {' and '.join(sorted(ROLES_FROM_VALUES))} only, not `{name}`; "
            "write any other role into the template.",
            role=name,
        )
    return RoleMark(name, {key: text(value) for key, value in call.hash.items()} or None)


def _history(call: Invocation) -> HistoryMark:
    if call.args or call.hash:
        raise call.span.invalid("`history` takes no arguments.")
    return HistoryMark()


def _media(call: Invocation) -> MediaMark:
    url, content_type = call.hash.get("url"), call.hash.get("contentType")
    if call.args or not isinstance(url, str) or not url:
        raise call.span.invalid("`media` takes `url=` as text, and `contentType=` where the address does not tell it.")
    if content_type is not None and not isinstance(content_type, str | Missing):
        raise call.span.invalid("`media` takes `contentType=` as text.")
    return MediaMark(url, content_type if isinstance(content_type, str) and content_type else None)


def _section(call: Invocation) -> SectionMark:
    name = call.one()
    if not isinstance(name, str) or not name:
        raise call.span.invalid('`section` takes the name of a section, as in `{{section "examples"}}`.')
    return SectionMark(name)


BUILT_IN: Mapping[str, Helper | Condition | Each | With] = {
    "if": Condition(_if),
    "unless": Condition(_unless),
    "each": Each(Invocation.one),
    "with": With(_with),
    "lookup": _lookup,
    "log": _log,
}

PROMPT_HELPERS: Mapping[str, Helper | Condition | Each | With] = {
    "role": _role,
    "history": _history,
    "media": _media,
    "section": _section,
    "json": _json,
    "ifEquals": Condition(lambda call: identical(*call.two())),
    "unlessEquals": Condition(lambda call: not identical(*call.two())),
}

REPEATABLE: frozenset[Any] = frozenset({_lookup, _log, _role, _history, _media, _section, _json})
"""Helpers whose result depends on their arguments alone; what a history holds is not part of its mark."""


def checked_helpers(helpers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `helpers` unless one takes the name of a helper of the language, which is `Invalid`."""
    taken = sorted(set(helpers) & set(BUILT_IN))
    if taken:
        raise Invalid(f"The helpers {', '.join(taken)} belong to the language; choose other names.", helpers=taken)
    return helpers
