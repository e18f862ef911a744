"""Writing a definition as YAML that this engine reads as the same values."""

import json
import re
from typing import Any

import yaml

LONG = 100
_PLAIN = re.compile(r"[A-Za-z_][^\n]*")


class _Writer(yaml.SafeDumper):
    """Quotes what begins with a digit or a sign: numbers are not the same in YAML 1.1, by which it would decide."""


def _text(writer: _Writer, text: str) -> Any:
    quoted = None if _PLAIN.fullmatch(text) else '"'
    return writer.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text or len(text) > LONG else quoted
    )


_Writer.add_representer(str, _text)


def as_yaml(value: Any) -> str:
    """Return a JSON value as YAML: keys in their order, small collections on one line, nothing shared by anchors."""
    plain = json.loads(json.dumps(value))
    return yaml.dump(plain, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
