"""Writing a definition, or a part of one, as YAML that `document` reads back as the same values."""

import json
from collections.abc import Mapping
from typing import Any, cast

import yaml
from yaml.nodes import ScalarNode

WIDTH = 100
"""How long a value may be to stand in one line."""

STEP = 2
LONG_KEY = 60
_WORDS = frozenset({"true", "false", "null", "~", ""})


class _Writer(yaml.SafeDumper):
    """Writes what `read_document` reads back as the same value, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> ScalarNode:
    odd = any(not letter.isprintable() for letter in value)
    plain = value not in _WORDS and value[0] not in "-+.0123456789" and not odd
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


def _number(dumper: yaml.SafeDumper, value: float) -> ScalarNode:
    said = repr(value)
    # Without a point the emitter would not take it for a number and would add a tag.
    said = said if "." in said else said.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", said)


_Writer.add_representer(str, _text)
_Writer.add_representer(float, _number)


def written(definition: Mapping[str, Any]) -> str:
    """Return a definition as YAML of its own: a value that fits in a line stands in one."""
    return "".join(f"{as_key(key)}:{as_value(value, 0)}\n" for key, value in definition.items()) or "{}\n"


def in_flow(value: Any) -> str:
    """Return a value in one line."""
    # The emitter closes a scalar on its own with a line of three dots.
    made = yaml.dump(value, Dumper=_Writer, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return made.removesuffix("...\n").rstrip("\n")


def as_key(key: str) -> str:
    """Return a key as it stands before its colon."""
    # The emitter gives such a key a line of its own, which can't stand before our colon.
    own_line = not key or len(key) > LONG_KEY or not key.isprintable()
    return _quoted(key) if own_line else in_flow({key: 0})[1:-4]


def _quoted(text: str) -> str:
    said = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in said)


def as_value(value: Any, indent: int, *, line: bool = False) -> str:
    """Return what stands behind the colon of a key that is indented by `indent`; `line`: in one line if it fits."""
    if not isinstance(value, (dict, list)) or not value:
        return " " + _scalar(value, indent)
    if line or indent > STEP or not isinstance(value, dict):
        flow = in_flow(value)
        if len(flow) + indent <= WIDTH and "\n" not in flow:
            return " " + flow
    if isinstance(value, dict):
        return "".join(
            f"\n{' ' * (indent + STEP)}{as_key(key)}:{as_value(one, indent + STEP)}"
            for key, one in cast("dict[str, Any]", value).items()
        )
    return "".join(f"\n{' ' * (indent + STEP)}-{as_item(one, indent + STEP)}" for one in cast("list[Any]", value))


def as_item(value: Any, indent: int) -> str:
    """Return what stands behind the dash of an item whose dash is indented by `indent`."""
    if not isinstance(value, (dict, list)) or not value:
        return " " + _scalar(value, indent)
    line = in_flow(value)
    if len(line) + indent <= WIDTH and "\n" not in line:
        return " " + line
    block = as_value(value, indent) if isinstance(value, dict) else as_value([*cast("list[Any]", value)], indent)
    return " " + block.lstrip("\n").lstrip(" ") if block.startswith("\n") else block


def _scalar(value: Any, indent: int) -> str:
    if isinstance(value, str) and _in_lines(value):
        lines = value.removesuffix("\n").split("\n")
        body = "\n".join(f"{' ' * (indent + STEP)}{line}" if line else "" for line in lines)
        return f"|{'' if value.endswith(chr(10)) else '-'}\n{body}"
    return in_flow(value)


def _in_lines(text: str) -> bool:
    """Tell whether a text reads the same as lines below its key."""
    strange = any(not letter.isprintable() and letter != "\n" for letter in text)
    return "\n" in text and text[0] not in " \n" and not text.endswith("\n\n") and not strange
