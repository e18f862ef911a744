"""A task of a run as a form in the client, and the form's content as the answer to the task.

Clients show flat forms of plain values. A task whose own form is richer is answered on its page instead, where the
client can open one.
"""

from collections.abc import Mapping
from typing import Any, cast

import mcp_types as types
from pydantic import JsonValue

from engine.ports import TaskAnswer
from engine.runs import Task
from engine.values import Principal

PLAIN = frozenset({"string", "number", "integer", "boolean"})
MAX_MESSAGE = 4_000


def ask(task: Task, able: types.ElicitationCapability | None, url: str) -> types.ElicitRequest | None:
    """Return the request that asks for a task's answer in the client; None when this client can't ask it.

    `able`: what the client says it can show; one that names neither way shows forms. `url`: the page of the task.
    """
    if able is None:
        return None
    schema = _schema(task)
    if schema is not None and (able.form is not None or able.url is None):
        form = types.ElicitRequestFormParams(message=_message(task), requested_schema=schema)
        return types.ElicitRequest(params=form)
    if able.url is not None:
        page = types.ElicitRequestURLParams(message=_message(task), url=url)
        return types.ElicitRequest(params=page)
    return None


def read(task: Task, content: Mapping[str, Any], by: Principal) -> TaskAnswer:
    """Return the answer that a filled form means; it is checked where answers are taken."""
    decision, comment = _own_names(task)
    values = {name: cast(JsonValue, value) for name, value in content.items() if name not in (decision, comment)}
    said = content.get(decision)
    return TaskAnswer(
        task_id=task.task_id,
        by=by,
        decision=None if said is None else str(said),
        values=values,
        comment=str(content.get(comment) or ""),
    )


def _message(task: Task) -> str:
    said = f"{task.title}\n\n{task.description}".strip()
    return said if len(said) <= MAX_MESSAGE else said[: MAX_MESSAGE - 1] + "…"


def _own_names(task: Task) -> tuple[str, str]:
    """Return the names of our own two fields, which give way to fields of the task's form."""
    return _free("decision", _properties(task)), _free("comment", _properties(task))


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _free(f"_{name}", taken)


def _properties(task: Task) -> Mapping[str, Any]:
    return (task.form or {}).get("properties", {})


def _schema(task: Task) -> dict[str, Any] | None:
    """Return a flat form for a task; None when its own form is not flat."""
    properties = dict(_properties(task))
    if not all(_flat(node) for node in properties.values()):
        return None
    decision, comment = _own_names(task)
    required = [name for name in (task.form or {}).get("required", ()) if name in properties]
    if task.decisions:
        properties = {decision: {"type": "string", "title": "Decision", "enum": list(task.decisions)}, **properties}
        required = [decision, *required]
    properties[comment] = {"type": "string", "title": "Comment"}
    return {"type": "object", "properties": properties, "required": required}


def _flat(node: Any) -> bool:
    if not isinstance(node, Mapping):
        return False
    schema = cast("Mapping[str, Any]", node)
    if schema.get("type") == "array":
        items = schema.get("items")
        return isinstance(items, Mapping) and bool({"enum", "anyOf"} & set(cast("Mapping[str, Any]", items)))
    return schema.get("type") in PLAIN and not {"$ref", "allOf", "not", "if"} & set(schema)
