"""Reading a definition's text: YAML or JSON into plain JSON values, bounded and without surprises.

Of YAML only what JSON can say is read, by the rules of YAML 1.2: `no` and `2026-01-01` are texts. Duplicate keys,
tags, anchors that expand beyond the bounds and several documents are refused.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from engine.errors import Exhausted, Invalid
from engine.process.findings import pointer

MAX_BYTES = 1024 * 1024
MAX_LEVELS = 64
MAX_VALUES = 100_000
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(source: str | bytes) -> Any:
    """Return the JSON value of a text.

    Raises Invalid, which names the line or the path, and Exhausted for more than 1 MiB, 64 levels or 100,000 values.
    """
    if isinstance(source, bytes):
        try:
            source = source.decode()
        except UnicodeDecodeError as error:
            raise Invalid(f"the text is not UTF-8: byte {error.start} is {source[error.start]:#x}") from None
    if len(source) > MAX_BYTES or len(source.encode(errors="replace")) > MAX_BYTES:
        raise Exhausted("a definition is at most 1 MiB; keep large texts as artifacts", bound=MAX_BYTES)
    try:
        value = _Builder().build(yaml.parse(source, Loader=_PARSER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 0
        raise Invalid(f"the text is neither YAML nor JSON: line {line}: {error.problem}", line=line) from None
    except yaml.YAMLError as error:
        raise Invalid(f"the text is neither YAML nor JSON: {str(error)[:200]}") from None
    check_json(value)
    return value


def check_json(value: Any) -> None:
    """Raise Invalid unless the value is JSON, and Exhausted when it is too deep or too big."""
    count = 0
    pending: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while pending:
        item, path = pending.pop()
        count += 1
        if count > MAX_VALUES:
            raise Exhausted(f"a definition has at most {MAX_VALUES} values", bound=MAX_VALUES)
        if len(path) > MAX_LEVELS:
            raise Exhausted(f"a definition is at most {MAX_LEVELS} levels deep", bound=MAX_LEVELS)
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    raise Invalid(f"{pointer(*path) or '/'}: a key is a text, not {key!r}", path=pointer(*path))
            pending.extend((item[key], (*path, key)) for key in item)
        elif isinstance(item, (list, tuple)):
            pending.extend((member, (*path, index)) for index, member in enumerate(item))
        elif isinstance(item, float) and (item != item or item in (float("inf"), float("-inf"))):
            raise Invalid(f"{pointer(*path)}: {item} is not a JSON number", path=pointer(*path))
        elif item is not None and not isinstance(item, (str, int, float)):
            raise Invalid(f"{pointer(*path)}: a {type(item).__name__} is not JSON", path=pointer(*path))


class _Builder:
    """Builds one value from the events of a YAML parser, without recursion."""

    def __init__(self) -> None:
        self.stack: list[dict[str, Any] | list[Any]] = []
        self.keys: list[str | None] = []
        self.anchors: dict[str, Any] = {}
        self.root: Any = None
        self.documents = 0
        self.count = 0

    def build(self, events: Iterator[Event]) -> Any:
        for event in events:
            self.count += 1
            if self.count > 2 * MAX_VALUES or len(self.stack) > MAX_LEVELS:
                raise Exhausted(
                    f"a definition has at most {MAX_VALUES} values and {MAX_LEVELS} levels", bound=MAX_VALUES
                )
            self._take(event)
        if not self.documents:
            raise Invalid("the text is empty; a definition has format, process, start and nodes")
        if self.documents != 1:
            raise Invalid(f"the text holds {self.documents} documents; a definition is one")
        return self.root

    def _take(self, event: Event) -> None:
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
        elif isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise Invalid(
                    f"line {_line(event)}: there is no anchor {event.anchor!r} before this", line=_line(event)
                )
            self._place(self.anchors[event.anchor], event)
        elif isinstance(event, ScalarEvent):
            value = _scalar(event)
            self._keep(event.anchor, value)
            self._place(value, event)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            if event.tag is not None:
                raise Invalid(f"line {_line(event)}: the tag {event.tag!r} is not JSON; remove it", line=_line(event))
            opened: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
            self._place(opened, event)
            self._keep(event.anchor, opened)
            self.stack.append(opened)
            self.keys.append(None)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self.stack.pop()
            self.keys.pop()

    def _keep(self, anchor: str | None, value: Any) -> None:
        if anchor is not None:
            self.anchors[anchor] = value

    def _place(self, value: Any, event: Event) -> None:
        if not self.stack:
            self.root = value
            return
        container = self.stack[-1]
        if isinstance(container, list):
            container.append(value)
            return
        key = self.keys[-1]
        if key is None:
            self.keys[-1] = _key(value, event)
            if self.keys[-1] in container:
                raise Invalid(f"line {_line(event)}: the key {value!r} is given twice", line=_line(event))
            return
        container[key] = value
        self.keys[-1] = None


def _key(value: Any, event: Event) -> str:
    if isinstance(value, str):
        return value
    if isinstance(event, ScalarEvent):
        return event.value
    raise Invalid(f"line {_line(event)}: a key is a text", line=_line(event))


def _line(event: Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark is not None else 0


def _scalar(event: ScalarEvent) -> Any:
    text: str = event.value
    if event.tag not in (None, "!"):
        raise Invalid(f"line {_line(event)}: the tag {event.tag!r} is not JSON; remove it", line=_line(event))
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "-0123456789" and len(text) <= 400:
        for kind in (int, float):
            try:
                value = kind(text)
            except ValueError:
                continue
            return value if _is_number(text) else text
    return text


def _is_number(text: str) -> bool:
    """Tell whether the text is a number as JSON writes it: no leading zero, no underscore, no bare point."""
    body = text.removeprefix("-")
    whole = body.lower().partition("e")[0].partition(".")[0]
    tail = body[len(whole) :]
    return (
        whole.isascii()
        and whole.isdigit()
        and (whole == "0" or whole[0] != "0")
        and "_" not in text
        and not tail.endswith(".")
        and not tail.lower().startswith(".e")
    )
