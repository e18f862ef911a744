"""The YAML head of a `.prompt` file: found by its `---` lines, read as YAML 1.2 core under bounds, written back."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from content.templates.schemas import check_json
from engine.errors import Exhausted, Invalid

_LARGEST = 65_536
_DEEPEST = 32
_ODD_BREAK = re.compile("[\r\x85\u2028\u2029\ufeff]")
_BREAK = re.compile(r"\r\n|\r|\n")


class Document(NamedTuple):
    """A file in two: the text of the head with its `---` lines (empty without one), its YAML, the rest."""

    head: str
    yaml: str | None
    body: str


def split(text: str) -> Document:
    """Split `text` after its front matter.

    Before the first `---` only blank lines and lines that start with `#` may stand. Without a closing `---` there is
    no front matter, and all of it is template, as Dotprompt has it.
    """
    start: int | None = None
    position = 1 if text.startswith("\ufeff") else 0
    line_start = position
    for match in _BREAK.finditer(text, position):
        line = text[line_start : match.start()]
        if start is None:
            if _fence(line):
                start = match.end()
            elif line.strip(" \t") and not line.startswith("#"):
                break
        elif _fence(line):
            return Document(text[: match.end()], text[start:line_start], text[match.end() :])
        line_start = match.end()
    if start is not None and _fence(text[line_start:]):
        return Document(text, text[start:line_start], "")
    return Document("", None, text)


def load(source: str, place: str) -> dict[str, Any]:
    """Return the mapping in `source`, YAML 1.2 core: `yes`, `on` and dates are text.

    Raises `Invalid` with the line for anything else than plain JSON values: tags, anchors, repeated keys; and
    `Exhausted` above 64 KiB or 32 levels.
    """
    if len(source) > _LARGEST:
        message = f"{place}: the front matter has {len(source):,} characters; at most {_LARGEST:,} are allowed."
        raise Exhausted(message, bound="front_matter", limit=_LARGEST)
    try:
        value = _Loader(source).get_single_data()
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark is not None else 1
        what = problem.problem or problem.context or "it cannot be read"
        raise Invalid(f"{place}, line {line} of the front matter: {what}.", line=line) from problem
    except (yaml.YAMLError, ValueError) as problem:
        raise Invalid(f"{place}: the front matter cannot be read: {problem}.") from problem
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"{place}: the front matter must be a mapping of keys to values.")
    return value


def checked(value: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return `value` if it can be front matter: JSON values, and not too large once it is written; else a `Problem`."""
    check_json(value, f"{place}: the front matter")
    result = dict(value)
    size = len(json.dumps(result, ensure_ascii=False))
    size = size if size > _LARGEST else len(dump(result))
    if size > _LARGEST:
        message = f"{place}: the front matter has {size:,} characters; at most {_LARGEST:,} are allowed."
        raise Exhausted(message, bound="front_matter", limit=_LARGEST)
    return result


def end(text: str) -> tuple[int, int]:
    """Return the line and the column, from 1, right after `text`."""
    starts = [0, *(match.end() for match in _BREAK.finditer(text))]
    return len(starts), len(text) - starts[-1] + 1


def dump(value: dict[str, Any]) -> str:
    """Return `value` as YAML in block style, keys in their order; `load` reads the same value back."""
    return yaml.dump(
        value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=False, width=100_000
    )


def _fence(line: str) -> bool:
    return line.startswith("---") and not line[3:].strip()


class _Loader(yaml.SafeLoader):
    """SafeLoader with the resolvers of YAML 1.2 core, without anchors, repeated keys and deep nesting."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Build one node; refuses aliases and depth before any value exists."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        self._level += 1
        if self._level > _DEEPEST:
            problem = f"it is nested deeper than {_DEEPEST} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def map(self, node: Any) -> dict[str, Any]:
        """Return a mapping whose keys are the text that stands there."""
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            if key_node.value in result:
                problem = f"the key `{key_node.value}` stands here twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            result[key_node.value] = self.construct_object(value_node, deep=True)
        return result

    def number(self, node: Any) -> int | float:
        """Return an integer or a finite float."""
        text = node.value
        if re.fullmatch(r"[-+]?[0-9]+", text):
            value: int | float = int(text) if len(text) <= 40 else math.inf
        elif text[:2] in ("0o", "0x"):
            value = int(text, 8 if text[1] == "o" else 16) if len(text) <= 40 else math.inf
        else:
            value = math.inf if "inf" in text.lower() or "nan" in text.lower() else float(text)
        if not math.isfinite(value):
            problem = f"the number {text[:40]} has no place in JSON"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return value


_RESOLVERS = (
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (
        "tag:yaml.org,2002:float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
)
for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern + r"\Z"), _first)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.map)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes text of several lines as a block and shares nothing between values."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out: no anchors."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value and not value.startswith((" ", "\n")) else None
    if _ODD_BREAK.search(value):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
for _tag, _pattern, _first in _RESOLVERS:  # besides those of YAML 1.1: what either would read as no text is quoted
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern + r"\Z"), _first)
