"""Nodes of the source that do one thing: tool, interaction, agent, script, process."""

import ast
from typing import Any, cast

from engine.process.imports.draft import Draft, Named, Script
from engine.process.imports.names import unique
from engine.process.imports.report import Fields
from engine.process.verify_data import template_paths

SET_CONTEXT = "set_context"
DEFAULT_AGENT = "sys:ProcessAgentNode"


def common(draft: Draft, fields: Fields) -> dict[str, Any]:
    """Take the fields that all nodes have, apart from writes and transitions."""
    told = fields.text("human_description")
    written = fields.text("description")
    node: dict[str, Any] = {}
    title = fields.text("title")
    if title:
        node["title"] = draft.paths.template(title)[:200]
    about = "\n\n".join(text for text in (told, written) if text)
    if about:
        node["about"] = about[:4000]
    for name, text, length in (("title", title, 200), ("description", about, 4000)):
        if len(text) > length:
            draft.notes.approximated(fields.where(name), "", f"cut to {length} characters")
    retries = fields.number("max_retries")
    if retries is not None:
        node["retry"] = {"max_attempts": min(retries + 1, 100)}
        if retries > 99:
            draft.notes.approximated(fields.where("max_retries"), "", "a node is tried at most 100 times")
    if fields.flag("skippable"):
        at = fields.where("skippable")
        draft.notes.approximated(
            at, "", "no field of the node: an operator may skip any node, with values for its writes"
        )
    fields.leave(
        "metadata", "lanes, phases and other metadata have no place here; the drawing lays the graph out itself"
    )
    return node


def arguments(draft: Draft, fields: Fields, node_id: str) -> tuple[dict[str, Any], list[Named]]:
    """Take the input as expressions, and return the script before the node for what only code can build."""
    given = fields.object("input")
    values = draft.values
    expressions: dict[str, Any] = {}
    built: dict[str, Any] = {}
    for name, value in given.items():
        for tag in values.unreadable(value):
            draft.notes.lost(fields.where("input", name), f"{{{{{tag}}}}} is no path of the context; it stays a text")
        found = values.expression(value)
        if found is None:
            built[name] = value
        else:
            expressions[name] = found
    if not built:
        return expressions, []
    key = draft.own_key(f"{node_id}_input", {"type": "object"})
    before = draft.node_id(f"{node_id}_input")
    variables: dict[str, Any] = {}
    code = f"{{{key!r}: {values.code(built, variables)}}}"
    expressions |= {name: {"var": f"{key}.{name}"} for name in built}
    draft.notes.approximated(
        fields.where("input"),
        f"/nodes/{before}",
        f"values inside {', '.join(built)} are put together by a script before it",
    )
    return expressions, [(before, {"type": "script", "input": variables, "code": code, "writes": [key]})]


def model(draft: Draft, fields: Fields) -> None:
    """Take the model, whose id means nothing to the routes here."""
    fields.leave(
        "model", "the id of a model is no route here; name one of the settings by `model`, or leave the default"
    )


def result_schema(draft: Draft, fields: Fields) -> None:
    """Take the schema of the result, which here is always that of the writes."""
    fields.leave(
        "result_schema", "a result here has the schema that the context has for the node's writes; state it there"
    )


def seen(draft: Draft, fields: Fields) -> bool:
    """Take whether the node sees the whole context."""
    return fields.flag("inherit_context") is not False


def by_hand(draft: Draft, node: dict[str, Any], node_id: str, writes: list[str], what: str) -> dict[str, Any]:
    """Return a question to operators in the place of a node that can't be taken over."""
    key = draft.own_key(f"{node_id}_by_hand", {"type": "object"})
    if "retry" in node:
        draft.notes.lost("", f"{node_id}: people are not retried")
    form = {"type": "object", "properties": {name: draft.schema[name] for name in writes}, "required": writes}
    return {
        **{name: value for name, value in node.items() if name != "retry"},
        "type": "supervisor",
        "seat": {"roles": ["operator"]},
        "ask": {"title": f"{node_id}: {what}", "form": {**form, "additionalProperties": False}},
        "decisions": ["done"],
        "deadline": draft.deadline,
        "on_timeout": {"to": draft.end("unanswered")},
        "writes": [key, *writes],
    }


def tool(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a tool: a call, a fixed change of the context, or both."""
    node = common(draft, fields)
    name = fields.text("tool")
    writes = draft.writes(fields)
    config = Fields(fields.object("config"), fields.where("config"), draft.notes)
    update = config.object("context_update")
    config.close()
    if name == SET_CONTEXT:
        given = Fields(fields.object("input"), fields.where("input"), draft.notes)
        update = given.object("updates", needed=True) | update
        given.close()
    if not name and not update:
        draft.notes.problem(fields.where("tool"), "'tool' is missing, and config.context_update changes nothing either")
    if name and name != SET_CONTEXT:
        called, steps = _call(draft, fields, node_id, node, name)
        called["writes"] = [] if update else writes
        steps.append((node_id, called))
        return [*steps, (draft.node_id(f"{node_id}_update"), update_of(draft, fields, update))] if update else steps
    return [(node_id, {**node, **update_of(draft, fields, update)})]


def _call(
    draft: Draft, fields: Fields, node_id: str, node: dict[str, Any], name: str
) -> tuple[dict[str, Any], list[Named]]:
    expressions, before = arguments(draft, fields, node_id)
    here = draft.need("tools", name)
    note = "the tool has to exist here under this name: write it, connect its server, or give its name here by names"
    draft.notes.approximated(fields.where("tool"), f"/nodes/{node_id}/tool", f"{here}: {note}")
    return {**node, "type": "tool", "tool": here, "input": expressions}, before


def update_of(draft: Draft, fields: Fields, update: dict[str, Any]) -> dict[str, Any]:
    """Return the script that changes the context as the source says it: keys, or dotted paths inside of them."""
    variables: dict[str, Any] = {}
    lines: list[str] = []
    result: dict[str, str] = {}
    for path, value in update.items():
        root, *inner = path.removeprefix("context.").split(".")
        key = draft.key(root, fields.where("config", "context_update", path))
        code = draft.values.code(value, variables)
        if not inner:
            result[key] = code
            continue
        if key not in result:
            variables[f"old_{key}"] = {"var": [key, None]}
            lines.append(f"new_{key} = {{**(old_{key} or {{}})}}")
        result[key] = f"new_{key}"
        lines += _inside(f"new_{key}", inner, code)
    shown = ", ".join(f"{key!r}: {code}" for key, code in result.items())
    code = "\n".join([*lines, f"{{{shown}}}"])
    draft.notes.approximated(fields.at, "", "a fixed change of the context is a script here; it costs no model call")
    return {"type": "script", "input": variables, "code": code, "writes": list(result)}


def _inside(name: str, path: list[str], code: str) -> list[str]:
    lines: list[str] = []
    for part in path[:-1]:
        lines.append(f"{name}[{part!r}] = {{**({name}.get({part!r}) or {{}})}}")
        name = f"{name}[{part!r}]"
    return [*lines, f"{name}[{path[-1]!r}] = {code}"]


def interaction(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a call of an interaction."""
    node = common(draft, fields)
    name = fields.text("interaction", needed=True)
    expressions, before = arguments(draft, fields, node_id)
    if seen(draft, fields) and not expressions:
        expressions = {key: {"var": [key, None]} for key in (*draft.keys.values(), *draft.local)}
        draft.notes.approximated(
            fields.at, f"/nodes/{node_id}/input", "it got the whole context; every key is handed over by name"
        )
    model(draft, fields)
    result_schema(draft, fields)
    here = draft.need("interactions", name)
    note = "the interaction has to be published here under this name, with the keys of writes as its result"
    draft.notes.approximated(fields.where("interaction"), f"/nodes/{node_id}/interaction", f"{here}: {note}")
    called = {**node, "type": "interaction", "interaction": here, "input": expressions, "writes": draft.writes(fields)}
    return [*before, (node_id, called)]


def agent(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a bounded agent."""
    node = common(draft, fields)
    expressions, before = arguments(draft, fields, node_id)
    instructions = _instructions(draft, fields, node_id)
    made: dict[str, Any] = {**node, "type": "agent", "instructions": instructions, "input": expressions}
    for theirs, ours, kind in (
        ("initial_skills", "skills", "skills"),
        ("tools", "tools", "tools"),
        ("excluded_tools", "exclude_tools", ""),
    ):
        names = fields.texts(theirs)
        if names:
            made[ours] = [draft.need(kind, name) if kind else draft.names.get(name, name) for name in names]
    if not seen(draft, fields):
        named = {path[0] for path, _ in template_paths(instructions)}
        made["reads"] = [key for key in draft.keys.values() if key in named and key not in draft.local]
    phases = _phases(draft, fields, node_id)
    if phases:
        made["policy"] = phases
        allowed = [*made.get("tools", []), *(name for phase in phases for name in phase["tools"])]
        made["tools"] = list(dict.fromkeys(allowed))
    model(draft, fields)
    result_schema(draft, fields)
    Fields(fields.object("config"), fields.where("config"), draft.notes).close()
    note = "an agent here has the skills and tools that are named and no others; give it a budget"
    draft.notes.approximated(fields.at, f"/nodes/{node_id}", note)
    return [*before, (node_id, {**made, "writes": draft.writes(fields)})]


def _instructions(draft: Draft, fields: Fields, node_id: str) -> str:
    prompt = fields.text("prompt")
    name = fields.text("interaction")
    if name and name != DEFAULT_AGENT:
        at = fields.where("interaction")
        draft.notes.lost(at, f"an agent here has instructions, not an interaction; put the words of {name!r} into them")
    if not prompt:
        draft.notes.lost(fields.at, "it has no prompt; its instructions name the node only and have to be written")
        prompt = f"Do the work of the node {node_id}."
    if "_next_node" in prompt:
        draft.notes.approximated(fields.where("prompt"), f"/nodes/{node_id}/instructions", "_next_node is _next here")
        prompt = prompt.replace("_next_node", "_next")
    return draft.paths.template(prompt)


def _phases(draft: Draft, fields: Fields, node_id: str) -> list[dict[str, Any]]:
    """Take the ordered phases of tools; all that goes beyond tools and a count is reported."""
    policy = Fields(fields.object("agent_policy"), fields.where("agent_policy"), draft.notes)
    found: list[dict[str, Any]] = []
    for index, one in enumerate(policy.items("phases")):
        phase = Fields(one, policy.where("phases", index), draft.notes)
        tools = [draft.need("tools", name) for name in phase.texts("tools")]
        least = phase.number("min_successes")
        if tools:
            found.append({"tools": tools, "min_calls": 1 if least is None else least})
            note = "here a phase counts calls, not successes"
            draft.notes.approximated(phase.at, f"/nodes/{node_id}/policy/{len(found) - 1}", note)
        else:
            draft.notes.lost(phase.at, "a phase without tools orders nothing and was left out")
        phase.close()
    policy.close()
    return found


def script(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map sandboxed code: Python of one file that ends with its result is taken over, all else is asked of people."""
    node = common(draft, fields)
    name = fields.text("script", needed=True)
    found = draft.scripts.get(name)
    draft.run.add(name)
    if name and found is None:
        draft.notes.problem(fields.where("script"), f"there is no script {name!r} in /resources/scripts")
    expressions, before = arguments(draft, fields, node_id)
    seconds = fields.number("timeout")
    writes = draft.writes(fields)
    code, why = _code(found, writes) if found is not None else ("", "there is no code")
    if not code:
        draft.notes.lost(fields.at, f"{why}; until it is written anew, operators are asked to do the step by hand")
        return [(node_id, by_hand(draft, node, node_id, writes, f"do the step of the script {name!r} by hand"))]
    if seconds is not None:
        node["timeout"] = f"PT{min(max(seconds, 1), 60)}S"
        if seconds > 60:
            draft.notes.approximated(
                fields.where("timeout"), f"/nodes/{node_id}/timeout", "a script here has at most 60 s"
            )
    note = "the names of the input are its variables here, and its last value is the result; see that it reads them so"
    draft.notes.approximated(fields.where("script"), f"/nodes/{node_id}/code", note)
    unnamed = [one for one in expressions if not one.isidentifier()]
    for one in unnamed:
        draft.notes.lost(fields.where("input", one), f"{one!r} is no name of a variable and was left out")
    given = {one: value for one, value in expressions.items() if one not in unnamed}
    return [*before, (node_id, {**node, "type": "script", "input": given, "code": code, "writes": writes})]


def _code(script: Script, writes: list[str]) -> tuple[str, str]:
    """Return the code of a script, or "" and why it can't be run here."""
    code = script.files.get(script.entrypoint)
    if script.language != "python":
        return "", f"{script.language or 'code without a language'} is not run here"
    if script.packages or len(script.files) != 1 or not isinstance(code, str):
        return "", "only Python of one file without packages is run here"
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", "it is not Python"
    if writes and not (body and isinstance(body[-1], ast.Expr)):
        return "", "its last line is not its result"
    return code, ""


def process(draft: Draft, fields: Fields, node_id: str) -> list[Named]:
    """Map a child process; a definition that stands inside becomes one of its own."""
    node = common(draft, fields)
    expressions, before = arguments(draft, fields, node_id)
    name, version = fields.text("process"), fields.number("process_version")
    inner = fields.any("process_definition")
    if inner is not None:
        own = cast("dict[str, Any]", inner).get("process") if isinstance(inner, dict) else None
        name = unique(str(own or f"{node_id}_child").lower(), draft.processes)
        draft.processes.add(name)
        draft.inline.append((name, inner, fields.where("process_definition")))
        note = f"a definition inside a definition is one of its own here: publish {name!r} first"
        draft.notes.approximated(fields.where("process_definition"), f"/nodes/{node_id}/process", note)
    elif name:
        name = draft.need("processes", name)
        draft.notes.approximated(
            fields.where("process"), f"/nodes/{node_id}/process", f"{name}: has to be published here"
        )
    else:
        draft.notes.problem(fields.at, "a process node names a process, or has a process_definition")
    if fields.text("run_type") == "supervised":
        at = fields.where("run_type")
        draft.notes.lost(
            at, "a model does not steer a run here; give the child `supervision`, with an agent in its seat"
        )
    writes = draft.writes(fields)
    address = f"{name}@{version}" if version else name
    made: dict[str, Any] = {**node, "type": "process", "process": address, "input": expressions, "writes": writes}
    returns = _returns(draft, fields, writes)
    return [*before, (node_id, {**made, "returns": returns} if returns else made)]


def _returns(draft: Draft, fields: Fields, writes: list[str]) -> dict[str, Any]:
    """Take what comes back. A child's context is its output here, as every end that is imported gives it."""
    given = Fields(fields.object("returns"), fields.where("returns"), draft.notes)
    path, names = given.text("from"), given.texts("context")
    given.close()
    if path.startswith("context."):
        inside = "output." + path.removeprefix("context.")
        return {key: {"var": inside if len(writes) == 1 else f"{inside}.{key}"} for key in writes}
    if path and path != "context":
        draft.notes.lost(
            fields.where("returns", "from"), f"{path!r} is no part of a child's context; nothing else comes back"
        )
    for name in names:
        if draft.keys.get(name, name) not in writes:
            draft.notes.lost(fields.where("returns", "context"), f"{name!r} is not among the node's writes")
    return {key: {"var": f"output.{key}"} for key in writes}
