"""The transitions of the source's nodes, and the choices of its conditions."""

from typing import Any

from engine.errors import Problem
from engine.process.imports.draft import Draft
from engine.process.imports.report import Fields
from engine.process.logic import compile_rule


def ways(draft: Draft, fields: Fields, kind: str) -> list[dict[str, Any]]:
    """Take the transitions of a node, the choices of a condition first; the one without a guard stands last."""
    given: list[tuple[Any, str, str]] = []
    if kind == "condition":
        given += [(one, fields.where("branches", n), "when") for n, one in enumerate(fields.items("branches"))]
    given += [(one, fields.where("transitions", n), "guard") for n, one in enumerate(fields.items("transitions"))]
    found = [_way(draft, Fields(one, at, draft.notes), guard, kind) for one, at, guard in given]
    agents = [way for way in found if way.get("trigger") == "agent"]
    if len(agents) == 1:
        agents[0].pop("trigger")
    defaults = [way for way in found if "when" not in way and "trigger" not in way]
    if kind == "final" and found:
        draft.notes.lost(fields.where("transitions"), "nothing comes after an end")
        return []
    for way in defaults[1:]:
        draft.notes.lost(
            fields.where("transitions"), f"the way to {way['to']!r} is never taken: another one has no guard either"
        )
    if defaults and found[-1] is not defaults[0]:
        draft.notes.approximated(
            fields.where("transitions"), "", f"{defaults[0]['to']!r} has no guard, so it stands last"
        )
    return [*(way for way in found if way not in defaults), *defaults[:1]]


def _way(draft: Draft, fields: Fields, guard: str, kind: str) -> dict[str, Any]:
    target, label, trigger = fields.text("to", needed=True), fields.text("label"), fields.text("trigger")
    if target and target not in draft.ids:
        draft.notes.problem(
            fields.where("to"), f"there is no node {target!r}; it has {', '.join(list(draft.ids)[:20])}"
        )
    if trigger not in ("", "auto", "agent", "user"):
        draft.notes.problem(fields.where("trigger"), f"{trigger!r} is no trigger; it is auto, agent or user")
    if trigger == "agent" and kind != "agent":
        draft.notes.approximated(fields.where("trigger"), "", f"a {kind} has no agent that chooses; a person does")
        trigger = "user"
    rule = fields.any(guard)
    if isinstance(rule, str):
        draft.notes.problem(fields.where(guard), "a guard is JSON Logic, not a text")
        rule = None
    way: dict[str, Any] = {"to": draft.ids.get(target, target)}
    if trigger in ("agent", "user"):
        way["trigger"] = trigger
    if label:
        way["label"] = label[:200]
    if fields.flag("default") and rule is not None:
        draft.notes.approximated(fields.where("default"), "", "it has a guard too; the guard counts")
    if rule not in (None, {}, True):
        _guard(draft, fields.where(guard), way, rule)
    fields.leave("metadata", "metadata has no place here")
    fields.close()
    return way


def _guard(draft: Draft, at: str, way: dict[str, Any], rule: Any) -> None:
    translated = draft.paths.rule(rule)
    try:
        compile_rule(translated, strict=True)
    except Problem as problem:
        way["trigger"] = "user"
        draft.notes.lost(at, f"it can't be evaluated here, so a person chooses this way: {problem.message}")
        return
    way["when"] = translated
