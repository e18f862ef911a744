"""A task of a run as a form in the client, and the form's content as the answer to the task.

Clients show flat forms of plain values. A task whose own form is richer is answered on its page instead, where the
client can open one.
"""

from collections.abc import Mapping
from typing import Any, cast

import mcp_types as types
from mcp_types.methods import SERVER_REQUESTS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import JsonValue

from engine.ports import TaskAnswer
from engine.runs import Task
from engine.values import Principal, new_id
from server.mcp.house import Call
from server.mcp.session import has_session
from skills.tasks import progress

PLAIN = frozenset({"string", "number", "integer", "boolean"})
MAX_MESSAGE = 4_000
FORMS_ONLY = "2025-06-18"
"""The first revision in which clients ask; it knows neither URLs nor lists in a form."""


def able(call: Call) -> types.ElicitationCapability | None:
    """Return the ways in which the client of this call can ask its person; None when it has none.

    Older revisions know forms alone, or nothing of the kind, and ask over a channel that not every connection has.
    """
    capabilities = call.session.client_capabilities
    found = None if capabilities is None else capabilities.elicitation
    if found is None or not has_session(call):
        return found
    if not call.session.can_send_request or ("elicitation/create", call.protocol_version) not in SERVER_REQUESTS:
        return None
    return types.ElicitationCapability() if call.protocol_version == FORMS_ONLY else found


def ask(task: Task, ways: types.ElicitationCapability | None, url: str, version: str) -> types.ElicitRequest | None:
    """Return the request that asks for a task's answer in the client; None when this client can't ask it.

    `ways`: what the client says it can show; one that names neither way shows forms. `url`: the page of the task.
    `version`: the revision that is spoken.
    """
    if ways is None:
        return None
    schema = _schema(task, lists=version != FORMS_ONLY)
    if schema is not None and (ways.form is not None or ways.url is None):
        form = types.ElicitRequestFormParams(message=_message(task), requested_schema=schema)
        return types.ElicitRequest(params=form)
    if ways.url is not None:
        # The id was required when URLs came, and is gone since.
        number = None if version in MODERN_PROTOCOL_VERSIONS else new_id("asked")
        page = types.ElicitRequestURLParams(message=_message(task), url=url, elicitation_id=number)
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
    until = f"Until {task.deadline.isoformat(timespec='minutes')}" if task.deadline is not None else ""
    said = "\n\n".join(part for part in (task.title, task.description, progress(task), until) if part)
    return said if len(said) <= MAX_MESSAGE else said[: MAX_MESSAGE - 1] + "…"


def _own_names(task: Task) -> tuple[str, str]:
    """Return the names of our own two fields, which give way to fields of the task's form."""
    return _free("decision", _properties(task)), _free("comment", _properties(task))


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _free(f"_{name}", taken)


def _properties(task: Task) -> Mapping[str, Any]:
    return (task.form or {}).get("properties", {})


def _schema(task: Task, *, lists: bool) -> dict[str, Any] | None:
    """Return a flat form for a task; None when its own form is not flat."""
    properties = dict(_properties(task))
    if not all(_flat(node, lists) for node in properties.values()):
        return None
    decision, comment = _own_names(task)
    required = [name for name in (task.form or {}).get("required", ()) if name in properties]
    if task.decisions:
        properties = {decision: {"type": "string", "title": "Decision", "enum": list(task.decisions)}, **properties}
        required = [decision, *required]
    properties[comment] = {"type": "string", "title": "Comment"}
    return {"type": "object", "properties": properties, "required": required}


def _flat(node: Any, lists: bool) -> bool:
    if not isinstance(node, Mapping):
        return False
    schema = cast("Mapping[str, Any]", node)
    if schema.get("type") == "array":
        items = schema.get("items")
        return lists and isinstance(items, Mapping) and bool({"enum", "anyOf"} & set(cast("Mapping[str, Any]", items)))
    return schema.get("type") in PLAIN and not {"$ref", "allOf", "not", "if"} & set(schema)
