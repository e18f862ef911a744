"""Changes of a context as JSON Patch: what the audit keeps, and how a context is had back from it.

Source: RFC 6902, the operations add, replace and remove.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

from pydantic import JsonValue

from engine.errors import Invalid
from engine.process.findings import pointer

Patch = list[JsonValue]


def writes_patch(before: Mapping[str, JsonValue], written: Mapping[str, JsonValue]) -> Patch:
    """Return the patch that lays `written` over `before`: `replace` where a key was there, else `add`."""
    return [
        {"op": "replace" if name in before else "add", "path": pointer(name), "value": value}
        for name, value in written.items()
    ]


def difference(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> Patch:
    """Return the patch that leads from one context to another, key by key; empty where they are equal."""
    gone: Patch = [{"op": "remove", "path": pointer(name)} for name in before if name not in after]
    changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
    return gone + writes_patch(before, changed)


def apply_patch(document: Mapping[str, JsonValue], patch: Sequence[JsonValue]) -> dict[str, JsonValue]:
    """Return the document with the patch applied; the one given stays as it is.

    Raises:
        Invalid: an operation is none of add, replace and remove, or names a place that is not there.
    """
    result = deepcopy(dict(document))
    for operation in patch:
        _apply(result, operation)
    return result


def _apply(document: dict[str, JsonValue], operation: JsonValue) -> None:
    if not isinstance(operation, dict) or operation.get("op") not in ("add", "replace", "remove"):
        raise Invalid(f"{operation!r} is no operation of a patch; use add, replace or remove")
    path = str(operation.get("path", ""))
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if not parts:
        raise Invalid("a patch can't change the whole context; name its keys")
    place: Any = document
    for part in parts[:-1]:
        place = _step(place, part, path)
    op, value = operation["op"], deepcopy(operation.get("value"))
    if isinstance(place, list):
        _change_list(cast("list[JsonValue]", place), parts[-1], str(op), value, path)
        return
    if not isinstance(place, dict) or (op != "add" and parts[-1] not in place):
        raise Invalid(f"there is nothing at {path} to {op}", path=path)
    if op == "remove":
        del place[parts[-1]]
    else:
        place[parts[-1]] = value


def _step(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        found = cast("list[JsonValue]", place)
        if part.isdigit() and int(part) < len(found):
            return found[int(part)]
    elif isinstance(place, dict) and part in place:
        return cast("dict[str, JsonValue]", place)[part]
    raise Invalid(f"there is nothing at {path}", path=path)


def _change_list(place: list[JsonValue], part: str, op: str, value: JsonValue, path: str) -> None:
    if op == "add" and part == "-":
        place.append(value)
        return
    last = len(place) if op == "add" else len(place) - 1
    if not part.isdigit() or int(part) > last:
        raise Invalid(f"there is nothing at {path} to {op}", path=path)
    if op == "add":
        place.insert(int(part), value)
    elif op == "replace":
        place[int(part)] = value
    else:
        del place[int(part)]
