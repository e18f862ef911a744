"""Names and values of a source in the form that they have here: ids, keys, paths, templates, expressions."""

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

_TAG = re.compile(r"\{\{\{?([^{}]*)\}?\}\}")
_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[\d+\])*", re.ASCII)
_INDEX = re.compile(r"\[(\d+)\]")
_SCOPED = frozenset({"map", "filter", "reduce", "all", "some", "none"})
LENGTH = 64


def unique(wanted: str, taken: Collection[str], *, dashes: bool = True) -> str:
    """Return an id near to the wanted one that is a name here and not taken: letters, digits, `_`, and dashes if so."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]" if dashes else r"[^A-Za-z0-9_]", "_", wanted)
    begins = r"[^A-Za-z]+" if dashes else r"[^A-Za-z_]+"
    base = re.sub(f"^{begins}", "", cleaned)[:LENGTH] or "unnamed"
    found, number = base, 1
    while found in taken:
        number += 1
        found = f"{base[: LENGTH - len(str(number)) - 1]}_{number}"
    return found


class Paths:
    """Paths of the source's context in the form of ours; `keys` has the keys that are named otherwise here."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Take all keys of the context as the source names them."""
        self._keys = keys

    def translate(self, path: str) -> str:
        """Return the path here: `context.rows[0].x` is `rows.0.x`."""
        dotted = _INDEX.sub(r".\1", path.strip())
        root, _, rest = dotted.partition(".")
        if root == "context" and "context" not in self._keys:
            root, _, rest = rest.partition(".")
        root = self._keys.get(root, root)
        return f"{root}.{rest}" if rest else root

    def template(self, text: str) -> str:
        """Return a template for people or models with its paths translated."""
        return _TAG.sub(self._tag, text)

    def _tag(self, match: re.Match[str]) -> str:
        whole, inner = match.group(), match.group(1).strip()
        return whole.replace(inner, self.translate(inner), 1) if _PATH.fullmatch(inner) else whole

    def rule(self, rule: Any) -> Any:
        """Return a rule of JSON Logic with the paths of its variables translated; elements of lists keep theirs."""
        if isinstance(rule, list):
            return [self.rule(one) for one in cast("list[Any]", rule)]
        if not isinstance(rule, dict) or len(cast("dict[str, Any]", rule)) != 1:
            return rule
        ((name, value),) = cast("dict[str, Any]", rule).items()
        if name == "var":
            return {name: self._variable(value)}
        if name in _SCOPED and isinstance(value, list) and value:
            first, *rest = cast("list[Any]", value)
            return {name: [self.rule(first), *rest]}
        return {name: self.rule(value)}

    def _variable(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.translate(value) if value else value
        if isinstance(value, list) and value and isinstance(value[0], str) and value[0]:
            first, *rest = cast("list[Any]", value)
            return [self.translate(first), *(self.rule(one) for one in rest)]
        return value


class Values:
    """Values of the source with `{{path}}` in their texts, as expressions or as the code of a script."""

    def __init__(self, paths: Paths) -> None:
        """Take the paths of the context."""
        self._paths = paths

    def unreadable(self, value: Any) -> list[str]:
        """Return the tags that are no paths: nothing is put in their place."""
        return [tag for tag in _tags(value) if not _PATH.fullmatch(tag)]

    def expression(self, value: Any) -> Any | None:
        """Return the value as JSON Logic, or None where only code can build it."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (dict, list)):
            return None if any(_PATH.fullmatch(tag) for tag in _tags(value)) else {"preserve": value}
        return {"preserve": None} if value is None else value

    def code(self, value: Any, variables: dict[str, Any]) -> str:
        """Return Python that builds the value; what it reads is put into `variables` as expressions."""
        if isinstance(value, dict):
            pairs = cast("dict[str, Any]", value).items()
            return "{" + ", ".join(f"{name!r}: {self.code(one, variables)}" for name, one in pairs) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self.code(one, variables) for one in cast("list[Any]", value)) + "]"
        found = self._text(value) if isinstance(value, str) else value
        if not isinstance(found, dict):
            return repr(found)
        name = f"v{len(variables) + 1}"
        variables[name] = found
        return name

    def _text(self, text: str) -> Any:
        parts: list[Any] = []
        end = 0
        for match in _TAG.finditer(text):
            path = match.group(1).strip()
            if not _PATH.fullmatch(path):
                continue
            parts += [text[end : match.start()], {"var": self._paths.translate(path)}]
            end = match.end()
        parts = [part for part in (*parts, text[end:]) if part != ""]
        if not any(isinstance(part, dict) for part in parts):
            return text
        return parts[0] if len(parts) == 1 else {"cat": parts}


def _tags(value: Any) -> list[str]:
    if isinstance(value, str):
        return [match.group(1).strip() for match in _TAG.finditer(value)]
    if isinstance(value, dict):
        return [tag for one in cast("dict[str, Any]", value).values() for tag in _tags(one)]
    return [tag for one in cast("list[Any]", value) for tag in _tags(one)] if isinstance(value, list) else []
