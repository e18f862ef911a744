"""Nodes of the source that hold others, ask people, choose or end."""

from collections.abc import Callable
from typing import Any

from engine.process.imports import vertesia_steps as steps
from engine.process.imports.draft import UNANSWERED, Draft, Named
from engine.process.imports.names import unique
from engine.process.imports.report import Fields

FIELD_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "text": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "select": {"type": "string"},
}
OF_ITEMS = ("item", "output", "context_update")
OF_BRANCHES = ("index", "branch_id", "branch_title", "output", "context_update")


def human_task(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a task of a person: its form is the same, and what a source can't say is added - a deadline, a decision."""
    node = steps.common(draft, fields)
    task = Fields(fields.object("task", needed=True), fields.where("task"), draft.notes)
    ask: dict[str, Any] = {"title": draft.paths.template(task.text("title", needed=True)) or node_id}
    description = task.text("description")
    if description:
        ask["description"] = draft.paths.template(description)
    ask["form"] = _form(draft, task)
    seat = _seat(draft, task)
    task.close()
    writes = draft.writes(fields)
    key = draft.own_key(f"{node_id}_answer", {"type": "object"})
    at, deadline = f"/nodes/{node_id}", draft.deadline
    draft.notes.approximated(
        fields.at, f"{at}/deadline", f"a question ends here: after {deadline} the run ends as {UNANSWERED!r}"
    )
    draft.notes.approximated(
        fields.at, f"{at}/decisions", f"filling the form in is the decision 'done'; who did it is in {key!r}"
    )
    not_retried(draft, fields, node)
    made = {"seat": seat, "ask": ask, "decisions": ["done"], "deadline": deadline}
    ending = {"on_timeout": {"to": draft.end(UNANSWERED)}, "writes": [key, *writes]}
    return [(node_id, {**node, "type": "supervisor", **made, **ending})]


def not_retried(draft: Draft, fields: Fields, node: dict[str, Any]) -> None:
    """Leave the retries of a node out that does nothing that could fail."""
    if node.pop("retry", None) is not None:
        draft.notes.lost(fields.where("max_retries"), "there is nothing to retry in such a node")


def _form(draft: Draft, task: Fields) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for index, one in enumerate(task.items("fields", needed=True)):
        field = Fields(one, task.where("fields", index), draft.notes)
        name, kind = field.text("name", needed=True), field.text("type", needed=True)
        key = draft.keys.get(name, name)
        if kind and kind not in FIELD_TYPES:
            draft.notes.problem(
                field.where("type"), f"{kind!r} is no type of a field; it is one of {', '.join(FIELD_TYPES)}"
            )
        made: dict[str, Any] = dict(FIELD_TYPES.get(kind, {}))
        label, options, default = field.text("label"), field.texts("options"), field.any("default")
        made |= {"title": label} if label else {}
        made |= {"enum": options} if kind == "select" else {}
        made |= {} if default is None else {"default": default}
        if kind == "select" and not options:
            draft.notes.problem(field.where("options"), "a field to select from has options")
        if field.flag("required"):
            required.append(key)
        properties[key] = made
        field.close()
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _seat(draft: Draft, task: Fields) -> dict[str, Any]:
    at = task.where("assignee")
    assignee = task.text("assignee")
    kind, _, name = assignee.partition(":")
    if "{{" in assignee or not assignee:
        why = "who is asked can't be read from the context" if assignee else "nobody is named"
        draft.notes.approximated(at, "", f"{why}: whoever has the role approver is asked; name the seat")
        return {"roles": ["approver"]}
    if kind in ("group", "role") and name:
        return {f"{kind}s": [name]}
    draft.notes.approximated(at, "", f"{assignee!r} is taken for the name of a user here")
    return {"users": [assignee]}


Step = Callable[[Draft, Fields, str], list[Named]]

LEAVES: dict[str, Step] = {
    "tool": steps.tool,
    "interaction": steps.interaction,
    "agent": steps.agent,
    "script": steps.script,
    "process": steps.process,
}


def foreach(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a repetition: its one child is a body of one node."""
    node = steps.common(draft, fields)
    path = fields.text("foreach", needed=True).strip().removeprefix("{{").removesuffix("}}")
    given = fields.text("as") or "item"
    item = unique(given, (), dashes=False)
    item_id = fields.text("item_id")
    made: dict[str, Any] = {**node, "type": "foreach", "items": {"var": draft.paths.translate(path)}, "as": item}
    if item_id:
        made["key"] = draft.values.expression(item_id if "{{" in item_id else f"{{{{{item_id}}}}}")
    concurrency = fields.number("max_concurrency")
    if concurrency is not None:
        made["max_concurrency"] = min(max(concurrency, 1), 1000)
    if _collects_errors(draft, fields):
        made["on_error"] = "collect"
    data = fields.any("node")
    before, draft.keys = draft.keys, {**draft.keys, given: item}
    draft.local.append(item)
    inner = _child(draft, data, fields.where("node"), f"{node_id}_item")
    draft.local.pop()
    draft.keys = {**{key: name for key, name in draft.keys.items() if key != given}, **before}
    into, wanted = _collect(draft, fields, OF_ITEMS)
    if into:
        kept = [*([item] if "item" in wanted else []), *_results(draft, inner, node_id, data)]
        made["collect"] = {"into": into, "fields": list(dict.fromkeys(kept))}
        note = f"each entry of {into!r} has the keys {', '.join(kept)} here; one that failed has item and error"
        draft.notes.approximated(fields.where("collect"), f"/nodes/{node_id}/collect", note)
    _own_writes(draft, fields, [into] if into else [])
    return [(node_id, {**made, "body": _body(inner), "writes": [into] if into else []})]


def branch(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a parallel split and join: every branch is an arm; what it collects is put together by a script behind it."""
    node = steps.common(draft, fields)
    join = fields.text("join")
    if join not in ("", "all"):
        draft.notes.problem(fields.where("join"), f"{join!r} is no join; it is all")
    if _collects_errors(draft, fields):
        note = "a branch that fails here fails the node; give the nodes of its arms on_error to go on all the same"
        draft.notes.lost(fields.where("failure_policy"), note)
    arms: list[dict[str, Any]] = []
    told: list[tuple[str, str, list[str]]] = []
    names: set[str] = set()
    into, wanted = _collect(draft, fields, OF_BRANCHES)
    branches = fields.items("branches", needed=True)
    if not 1 <= len(branches) <= 100:
        draft.notes.problem(fields.where("branches"), f"a branch has 1 to 100 of them, not {len(branches)}")
    for index, one in enumerate(branches):
        given = Fields(one, fields.where("branches", index), draft.notes)
        name = given.text("id", needed=True)
        if name in names:
            draft.notes.problem(given.where("id"), f"another branch has the id {name!r}")
        names.add(name)
        arm = unique(name, {one["name"] for one in arms})
        title = given.text("title")
        given.leave("metadata", "metadata has no place here")
        data = given.any("node")
        inner = _child(draft, data, given.where("node"), f"{node_id}_{arm}")
        told.append((name, title, _results(draft, inner, f"{node_id}_{arm}", data) if into else []))
        _titled(inner, title, given.text("description"))
        arms.append({"name": arm, "body": _body(inner)})
        given.close()
    made: list[Named] = [(node_id, {**node, "type": "branch", "take": "every", "arms": arms})]
    if into:
        made.append((draft.node_id(f"{node_id}_collect"), _gathered(draft, into, told, wanted)))
        note = f"{into!r} is put together by a script behind the branch"
        draft.notes.approximated(fields.where("collect"), f"/nodes/{made[-1][0]}", note)
    _own_writes(draft, fields, [into] if into else [])
    return made


def _gathered(draft: Draft, into: str, told: list[tuple[str, str, list[str]]], wanted: list[str]) -> dict[str, Any]:
    """Return the script that makes the list of what the branches gave."""
    variables: dict[str, Any] = {}
    rows: list[str] = []
    for index, (name, title, keys) in enumerate(told):
        variables |= {key: {"var": [key, None]} for key in keys}
        output = "{" + ", ".join(f"{key!r}: {key}" for key in keys) + "}"
        if len(keys) == 1 and keys[0] in draft.own:
            output = keys[0]
        fields = {
            "index": repr(index),
            "branch_id": repr(name),
            "branch_title": repr(title),
            "output": output,
            "context_update": output,
        }
        rows.append("{" + ", ".join(f"{field!r}: {fields[field]}" for field in wanted if field in fields) + "}")
    code = f"{{{into!r}: [{', '.join(rows)}]}}"
    return {"type": "script", "input": variables, "code": code, "writes": [into]}


def _titled(inner: list[Named], title: str, about: str) -> None:
    for name, value in (("title", title[:200]), ("about", about[:4000])):
        if value:
            inner[-1][1].setdefault(name, value)


def _child(draft: Draft, data: Any, at: str, node_id: str) -> list[Named]:
    """Map the one node inside a repetition or a branch, which can neither route nor hold others."""
    fields = Fields(data, at, draft.notes)
    kind = fields.text("type", needed=True)
    own = draft.node_id(node_id)
    if kind not in LEAVES:
        if kind:
            draft.notes.problem(
                f"{at}/type", f"{kind!r} can't stand inside another node; it is one of {', '.join(LEAVES)}"
            )
        return [(own, {"type": "script", "code": "{}"})]
    made = LEAVES[kind](draft, fields, own)
    for name in ("transitions", "branches"):
        if fields.any(name):
            draft.notes.problem(fields.where(name), "a node inside another does not route; put it on the outer node")
    fields.close()
    return made


def _body(inner: list[Named]) -> dict[str, Any]:
    nodes = linked(inner)
    for _, node in inner:
        if "on_timeout" in node:
            # A transition leads to a node of the same graph; an end in a body ends the whole run all the same.
            nodes[node["on_timeout"]["to"]] = {"type": "end", "outcome": UNANSWERED}
    return {"start": inner[0][0], "nodes": nodes}


def linked(chain: list[Named], last: list[dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """Return nodes that follow each other; the last one has the transitions that are given."""
    nodes: dict[str, dict[str, Any]] = {}
    for index, (node_id, node) in enumerate(chain):
        following = [{"to": chain[index + 1][0]}] if index + 1 < len(chain) else last
        nodes[node_id] = _ordered({**node, "next": following or []})
    return nodes


def _ordered(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node without empty fields, with those first by which people know it."""
    first = {name: node[name] for name in ("type", "title", "about") if name in node}
    return {name: value for name, value in {**first, **node}.items() if name == "reads" or value not in ({}, [])}


def _results(draft: Draft, inner: list[Named], node_id: str, data: Any) -> list[str]:
    """Return what the inner node writes; one that declares nothing writes its result to a key of its own."""
    node = inner[-1][1]
    if not node.get("writes") and node["type"] != "script":
        key = draft.own_key(f"{node_id}_output", {})
        node["writes"] = [key]
        if node["type"] == "process":
            path = str((data.get("returns") or {}).get("from") or "context")
            node["returns"] = {key: {"var": "output" + path.removeprefix("context")}}
    return [key for key in node.get("writes", []) if not key.endswith("_by_hand")]


def _collect(draft: Draft, fields: Fields, kept: tuple[str, ...]) -> tuple[str, list[str]]:
    """Take what is collected: the key it goes into, "" where nothing is, and the fields of each entry."""
    given = fields.any("collect")
    if given is None:
        return "", []
    at = fields.where("collect")
    wanted: list[str] = ["index", "branch_id", "output"]
    if isinstance(given, str):
        into = given
    else:
        collect = Fields(given, at, draft.notes)
        into, mode = collect.text("into", needed=True), collect.text("mode")
        if mode not in ("", "array"):
            draft.notes.problem(collect.where("mode"), f"{mode!r} is no mode; it is array")
        wanted = collect.texts("include") or wanted
        for name in wanted:
            if name not in kept:
                draft.notes.lost(collect.where("include"), f"{name!r} is not kept of an entry; the audit has it")
        collect.close()
    if not into:
        return "", []
    key = draft.key(into, at)
    if not draft.schema[key]:
        draft.schema[key] = {"type": "array"}
    return key, wanted


def _own_writes(draft: Draft, fields: Fields, known: list[str]) -> None:
    for name in draft.writes(fields):
        if name not in known:
            draft.notes.lost(fields.where("writes"), f"{name!r}: a node that holds others writes only what it collects")


def _collects_errors(draft: Draft, fields: Fields) -> bool:
    policy = fields.text("failure_policy")
    if policy not in ("", "fail_fast", "collect_errors"):
        draft.notes.problem(
            fields.where("failure_policy"), f"{policy!r} is no policy; it is fail_fast or collect_errors"
        )
    return policy == "collect_errors"


def condition(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a choice: a node that does nothing and routes."""
    note = "a choice is a node that does nothing here and routes by its transitions"
    draft.notes.approximated(fields.at, f"/nodes/{node_id}", note)
    return [(node_id, {**steps.common(draft, fields), "type": "script", "code": "{}"})]


def final(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map an end; its outcome is its name, its output the context, which is what a parent gets."""
    node = steps.common(draft, fields)
    not_retried(draft, fields, node)
    if draft.writes(fields):
        draft.notes.lost(fields.where("writes"), "an end writes nothing")
    return [(node_id, {**node, "type": "end", "outcome": node_id, "output": {"var": ""}})]


NODES: dict[str, Step] = {
    **LEAVES,
    "human_task": human_task,
    "foreach": foreach,
    "branch": branch,
    "condition": condition,
    "final": final,
}
