"""The text of a definition after an edit by machine: what was not edited stays as it was written, comments too.

The text is taken apart with the places of its values; only the values that differ are written anew. Whether the result
says what it should is read back; where it does not, as with an edit of what an anchor is shared for, the whole text is
written anew.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.errors import Problem
from engine.process.document import check_json, read_document
from engine.process.writing import STEP, as_item, as_key, as_value, in_flow, written

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALIAS = re.compile(r"\s*:?\s*(\*[^\s,\]}]+)")


def edited(text: str, definition: Mapping[str, Any]) -> str:
    """Return `text` changed so that it reads as `definition`; the same text if it does already.

    Numbers are the same as JavaScript has them: an edit in a browser changes none that it did not touch.

    Raises:
        Invalid: the definition holds what is not JSON.
        Exhausted: it is too large.
    """
    check_json(definition)
    try:
        old = read_document(text)
    except Problem:
        return written(definition)
    if same(old, definition):
        return text
    if not isinstance(old, dict):
        return written(definition)
    if text.lstrip().startswith("{"):
        return json.dumps(definition, indent=STEP, ensure_ascii=False) + "\n"
    try:
        changed = _Edit(text).apply(cast("dict[str, Any]", old), definition)
        kept = same(read_document(changed), definition)
    except (Problem, ValueError, yaml.YAMLError):
        return written(definition)
    return changed if kept else written(definition)


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; whole numbers and others are compared as JavaScript has them."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, (bool, str)) or isinstance(other, (bool, str)) or one is None or other is None:
        return type(one) is type(other) and one == other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        try:
            return float(one) == float(other)
        except OverflowError:
            return one == other
    return False


class _Edit:
    """One edit of one text: which pieces of it are replaced by what."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pieces: list[tuple[int, int, str]] = []

    def apply(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        """Return the text with `new` in the place of `old`."""
        root = yaml.compose(self._text, Loader=_LOADER)
        if not isinstance(root, MappingNode) or root.flow_style:
            return written(new)
        self._mapping(root, old, new)
        made = self._text
        for start, end, put in sorted(self._pieces, reverse=True):
            made = made[:start] + put + made[end:]
        return made if made.endswith("\n") else made + "\n"

    def _change(self, before: int, node: Node, old: Any, new: Any, indent: int, *, item: bool) -> None:
        """Change the value of a key or an item; `before` is where its key or dash ends, `indent` where that begins."""
        if same(old, new):
            return
        alias = self._alias(before, node)
        if alias is None and isinstance(node, MappingNode) and not node.flow_style and _both(old, new, dict):
            self._mapping(node, old, new)
        elif alias is None and isinstance(node, SequenceNode) and not node.flow_style and _both(old, new, list):
            self._sequence(node, old, new)
        elif alias is not None or not self._within(node, old, new):
            put = as_item(new, indent) if item else as_value(new, indent, line=_in_line(node))
            colon = before if item else self._text.index(":", before) + 1
            self._pieces.append((colon, alias[1] if alias else self._end(before, node), put))

    def _within(self, node: Node, old: Any, new: Any) -> bool:
        """Change what differs inside a value in one line; where more than values differ, change nothing of it."""
        if not _in_line(node):
            return False
        pieces: list[tuple[int, int, str]] = []
        pending: list[tuple[Node, Any, Any]] = [(node, old, new)]
        while pending:
            here, was, now = pending.pop()
            if same(was, now):
                continue
            if here.start_mark.index < node.start_mark.index:
                return False  # an alias: its value stands elsewhere
            if isinstance(here, MappingNode) and isinstance(now, dict) and was.keys() == now.keys():
                pending += [(value, was[str(key.value)], now[str(key.value)]) for key, value in here.value]
            elif isinstance(here, SequenceNode) and isinstance(now, list) and len(was) == len(cast("list[Any]", now)):
                pending += zip(here.value, was, cast("list[Any]", now), strict=True)
            elif isinstance(here, ScalarNode) and here.start_mark.index < here.end_mark.index:
                pieces.append((here.start_mark.index, here.end_mark.index, in_flow([now])[1:-1]))
            else:
                return False
        self._pieces += pieces
        return True

    def _mapping(self, node: MappingNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        pairs = {str(key.value): (key, value) for key, value in node.value}
        indent = node.start_mark.column
        renamed = _renamed(old, new)
        before: tuple[Node, Node] | None = None
        for name in new:
            was = renamed.get(name, name)
            if was not in pairs:
                self._insert(node, before, indent, f"{as_key(name)}:{as_value(new[name], indent)}")
                continue
            key, value = before = pairs[was]
            if was != name:
                self._pieces.append((key.start_mark.index, key.end_mark.index, as_key(name)))
            self._change(key.end_mark.index, value, old[was], new[name], indent, item=False)
        for name, (key, value) in pairs.items():
            if name not in new and name not in renamed.values():
                self._pieces.append((self._line(key.start_mark.index), self._line_end(self._whole_end(key, value)), ""))

    def _insert(self, node: MappingNode, before: tuple[Node, Node] | None, indent: int, entry: str) -> None:
        """Put an entry behind the pair `before`, or at the beginning of a mapping."""
        if before is None:
            start = node.value[0][0].start_mark.index
            self._pieces.append((start, start, f"{entry}\n{' ' * indent}"))
            return
        end = self._whole_end(*before)
        behind = self._line_end(end)
        gap = "\n" if self._spaced(node, before) else ""
        broken = "" if self._text[:behind].endswith("\n") else "\n"
        self._pieces.append((behind, behind, f"{broken}{gap}{' ' * indent}{entry}\n"))

    def _spaced(self, node: MappingNode, before: tuple[Node, Node]) -> bool:
        """Tell whether an empty line stands above the pair, between it and the one above."""
        at = next(index for index, (key, _) in enumerate(node.value) if key is before[0])
        if at == 0:
            return False
        above = self._whole_end(*node.value[at - 1])
        return "\n\n" in self._text[above : before[0].start_mark.index]

    def _sequence(self, node: SequenceNode, old: Sequence[Any], new: Sequence[Any]) -> None:
        """Change items in their places; of another number, those between a common start and a common end."""
        indent, nodes = node.start_mark.column, node.value
        dashes = [self._text.rindex("-", 0, item.start_mark.index) for item in nodes]
        if len(old) == len(new):
            for dash, item, was, now in zip(dashes, nodes, old, new, strict=True):
                self._change(dash + 1, item, was, now, indent, item=True)
            return
        if not new:
            self._pieces.append((node.start_mark.index, self._end(node.start_mark.index, node), "[]"))
            return
        shorter = min(len(old), len(new))
        first = next((n for n in range(shorter) if not same(old[n], new[n])), shorter)
        last = next((n for n in range(shorter - first) if not same(old[-1 - n], new[-1 - n])), shorter - first)
        for index in range(first, len(old) - last):
            end = self._line_end(self._end(dashes[index] + 1, nodes[index]))
            self._pieces.append((self._line(dashes[index]), end, ""))
        made = "".join(f"{' ' * indent}-{as_item(one, indent)}\n" for one in new[first : len(new) - last])
        at = self._line(dashes[first]) if first < len(nodes) else self._line_end(self._end(dashes[-1] + 1, nodes[-1]))
        broken = "" if not at or self._text[:at].endswith("\n") else "\n"
        if made:
            self._pieces.append((at, at, broken + made))

    def _alias(self, before: int, node: Node) -> tuple[int, int] | None:
        """Return the place of an alias: its value stands elsewhere, above it."""
        if node.start_mark.index >= before:
            return None
        found = _ALIAS.match(self._text, before)
        return found.span(1) if found else (before, before)

    def _whole_end(self, key: Node, value: Node) -> int:
        return self._end(key.end_mark.index, value)

    def _end(self, before: int, node: Node) -> int:
        """Return where a value ends: of a block with its last line, without the empty lines and comments below it."""
        alias = self._alias(before, node)
        if alias:
            return alias[1]
        if isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style and node.value:
            last = node.value[-1]
            if isinstance(last, tuple):
                return self._whole_end(*last)
            return self._end(self._text.rindex("-", 0, last.start_mark.index) + 1, last)
        end = node.end_mark.index
        block = isinstance(node, ScalarNode) and node.style in ("|", ">")
        return node.start_mark.index + len(self._text[node.start_mark.index : end].rstrip()) if block else end

    def _line(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1


def _in_line(node: Node) -> bool:
    return isinstance(node, (MappingNode, SequenceNode)) and bool(node.flow_style)


def _both(one: Any, other: Any, kind: type) -> bool:
    return isinstance(one, kind) and isinstance(other, kind) and bool(one) and bool(other)


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return the new name of a single entry that has another name in the same place, with its old one."""
    gone, came = [name for name in old if name not in new], [name for name in new if name not in old]
    if len(gone) != 1 or len(came) != 1 or len(old) != len(new):
        return {}
    at = list(old).index(gone[0])
    return {came[0]: gone[0]} if list(new)[at] == came[0] else {}
