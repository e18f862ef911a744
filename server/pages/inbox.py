"""What waits for a person, with a form made from the task's own schema, and reading what was filled in."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from pydantic import JsonValue

from engine.errors import Invalid
from engine.runs import Task
from server.json_types import single_type
from server.pages.layout import facts, moment, page
from server.pages.markup import Html, element, joined
from skills.tasks import progress

VALUE = "value."
"""Leads the names of the fields that make up the answer's values."""

LONG_TEXT = 200


def inbox_page(tasks: Sequence[Task], *, user: str) -> str:
    """Return the open tasks, oldest first."""
    cards = [task_card(task) for task in tasks]
    return page("Inbox", *(cards or [element("p", "Nothing waits for you.")]), user=user)


def task_page(task: Task, *, user: str, problem: str | None = None, filled: Mapping[str, str] | None = None) -> str:
    """Return one task, with what was wrong about an answer and what had been filled in."""
    alert = element("p", problem, role="alert") if problem else None
    return page(task.title, alert, task_card(task, filled=filled), user=user)


def task_card(task: Task, *, back: str = "/inbox", filled: Mapping[str, str] | None = None) -> Html:
    """Return a task as a card, with its form while it is open; `back` is where an answer leads."""
    parts: list[Html] = [element("h2", element("a", task.title, href=f"/inbox/{quote(task.task_id)}"))]
    if task.description:
        parts.append(element("p", task.description, class_="description"))
    parts.append(
        facts(
            [
                ("Kind", task.kind),
                ("Run", element("a", task.run_id, href=f"/runs/{quote(task.run_id)}")),
                ("Since", moment(task.created_at)),
                ("Until", moment(task.deadline)),
                ("For", task.seat.in_words()),
                ("Agreement", progress(task)),
                ("Claimed by", task.claimed_by),
                ("Answered by", task.answered_by),
            ]
        )
    )
    if task.context:
        context = json.dumps(task.context, indent=2, ensure_ascii=False)
        parts.append(element("details", element("summary", "Context"), element("pre", context)))
    if task.status == "open":
        parts.append(_form(task, back, filled or {}))
    elif task.answer is not None:
        parts.append(element("pre", json.dumps(task.answer.model_dump(mode="json"), indent=2, ensure_ascii=False)))
    return element("section", *parts, class_="task")


def _form(task: Task, back: str, filled: Mapping[str, str]) -> Html:
    schema = task.form or {}
    required = cast("list[str]", schema.get("required", []))
    fields = [
        _field(name, cast("dict[str, Any]", node), name in required, filled.get(VALUE + name))
        for name, node in cast("dict[str, Any]", schema.get("properties", {})).items()
    ]
    comment = element("textarea", filled.get("comment", ""), name="comment", rows=2)
    decisions = [element("button", name, name="decision", value=name) for name in task.decisions]
    return element(
        "form",
        *fields,
        element("label", "Comment", comment),
        element("input", type="hidden", name="back", value=back),
        element("p", *(decisions or [element("button", "Answer")])),
        method="post",
        action=f"/inbox/{quote(task.task_id)}",
    )


def _field(name: str, node: dict[str, Any], required: bool, filled: str | None) -> Html:
    label = str(node.get("title") or name)
    hint = element("small", str(node["description"])) if node.get("description") else None
    default = node.get("default")
    text = filled if filled is not None else _written(default)
    key = VALUE + name
    kind = single_type(node)
    if "enum" in node:
        options = [
            element("option", str(value), value=json.dumps(value), selected=json.dumps(value) == text)
            for value in cast("list[Any]", node["enum"])
        ]
        empty = [] if required else [element("option", "", value="")]
        control = element("select", *empty, *options, name=key, required=required)
    elif kind == "boolean":
        control = element("input", type="checkbox", name=key, value="true", checked=text == "true")
    elif kind in ("number", "integer"):
        step = "1" if kind == "integer" else "any"
        control = element("input", type="number", name=key, value=text, step=step, required=required)
    elif kind == "string" and node.get("maxLength", LONG_TEXT + 1) <= LONG_TEXT:
        control = element("input", type="text", name=key, value=text, required=required)
    else:
        control = element("textarea", text, name=key, rows=4, required=required)
        if kind != "string":
            hint = joined(hint, element("small", "JSON"))
    return element("label", label, control, hint)


def _written(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_values(schema: Mapping[str, Any] | None, filled: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the values of a form as JSON of the schema's types; a field left empty is left out.

    Raises:
        Invalid: a field can't be read as its type; the message names it. Whether the values fit the schema is
            checked by whoever takes the answer.
    """
    properties = cast("dict[str, dict[str, Any]]", (schema or {}).get("properties", {}))
    values: dict[str, JsonValue] = {}
    for name, node in properties.items():
        text = filled.get(VALUE + name, "")
        if single_type(node) == "boolean" and "enum" not in node:
            values[name] = text == "true"
        elif text != "":
            values[name] = _value(name, node, text)
    return values


def _value(name: str, node: Mapping[str, Any], text: str) -> JsonValue:
    if single_type(node) == "string" and "enum" not in node:
        return text.replace("\r\n", "\n")
    try:
        return cast(JsonValue, json.loads(text))
    except ValueError:
        wanted = single_type(node) or "JSON"
        raise Invalid(f"{name}: {text[:80]!r} is not {wanted}; correct it and send again", field=name) from None
