"""Steering a run by hand: the forms of the verbs that somebody may use, and reading what was filled in.

What is offered follows from role, kind and status, so that nobody is led to a refusal; the refusal itself is the
engine's, which looks again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args
from urllib.parse import quote

from pydantic import ValidationError

from engine.errors import Invalid
from engine.ports import Control, ControlAction
from engine.process.definition import ProcessDefinition
from engine.process.drawing import RunState
from engine.process.rewind import standing
from engine.runs import AuditRecord, Run, Seat
from engine.values import Principal, new_id
from server.pages.markup import Html, element

MESSAGE = "message"
"""The action of the form that tells an agent something; it is no control verb."""

PLAIN = ("pause", "resume", "checkpoint", "stop", "cancel")
"""Verbs that need nothing but a reason."""

BY_HAND = ("retry", "skip", "advance")
OWN = ("pause", "resume", "stop", "cancel", "rewind", "migrate")
"""What whoever started a process may do to it; the rest takes the role operator, or the seat over the run."""

LAST_STEPS = 50

HINTS = {
    "stop": "Stop ends a process where it stands, and an agent after its turn.",
    "cancel": "Cancel ends it and undoes what can be undone.",
    "checkpoint": "Checkpoint makes the agent's transcript shorter.",
}


def verbs(viewer: Principal, run: Run, definition: ProcessDefinition | None) -> frozenset[str]:
    """Return the control verbs that somebody may use on a run as it stands."""
    operator = viewer.has_role("operator")
    own = viewer.subject == run.principal.subject and viewer.kind == "user"
    if run.finished:
        return frozenset({"retry"} if run.kind == "process" and run.status == "failed" and (own or operator) else ())
    ends = {"resume" if run.status == "paused" else "pause", "stop", "cancel"}
    if run.kind == "agent":
        return frozenset({*ends, "checkpoint", MESSAGE} if own or operator else ())
    if run.kind != "process":
        return frozenset({"cancel"} if own or operator else ())
    if operator:
        return frozenset({*ends, *BY_HAND, "set_context", "rewind", "migrate"})
    return frozenset((ends | {"rewind", "migrate"} if own else set[str]()) | _of_the_seat(viewer, run, definition))


def _of_the_seat(viewer: Principal, run: Run, definition: ProcessDefinition | None) -> set[str]:
    over = definition.supervision if definition is not None else None
    if over is None or not Seat(users=over.seat.users, roles=over.seat.roles, groups=over.seat.groups).admits(viewer):
        return set()
    may = {*over.may} & {*BY_HAND, "set_context"}
    return may | ({"resume" if run.status == "paused" else "pause"} if "pause" in over.may else set[str]())


def steering(
    viewer: Principal,
    run: Run,
    definition: ProcessDefinition | None,
    state: RunState | None,
    records: Sequence[AuditRecord],
) -> Html | None:
    """Return the forms of what the viewer may do to the run; None where that is nothing."""
    may = verbs(viewer, run, definition)
    if not may:
        return None
    forms = [_plain(run, may), _message(run, may)]
    if run.finished:
        forms = [_again(run)]
    elif definition is not None and state is not None:
        forms += [_by_hand(run, may, definition, state), _set_context(run, may), _rewind(run, may, records)]
        forms.append(_migrate(run, may))
    summary = element("summary", element("h2", "Steer it"))
    folded = element("details", summary, *(form for form in forms if form is not None), id="verbs")
    return element("section", folded, id="steering", aria_label="Steer it")


def _form(run: Run, name: str, title: str, actions: Sequence[str], *content: Html | None) -> Html:
    heading = element("h3", title) if title else None
    place = f"/runs/{quote(run.run_id)}/control"
    reason = element("label", "Reason", element("input", type="text", name="reason", maxlength=2000))
    return element("form", heading, *content, reason, _buttons(actions), method="post", action=place, id=f"form-{name}")


def _buttons(actions: Sequence[str]) -> Html:
    said = [
        element("button", action.replace("_", " ").capitalize(), name="action", value=action, title=HINTS.get(action))
        for action in actions
    ]
    return element("p", *said)


def _plain(run: Run, may: frozenset[str]) -> Html | None:
    offered = [verb for verb in PLAIN if verb in may]
    hints = " ".join(HINTS[verb] for verb in offered if verb in HINTS)
    return _form(run, "plain", "", offered, element("p", hints, class_="aside")) if offered else None


def _again(run: Run) -> Html:
    note = element("p", "Another run goes on from the node at which this one failed.", class_="aside")
    return _form(run, "again", "Go on from where it failed", ["retry"], note)


def _message(run: Run, may: frozenset[str]) -> Html | None:
    if MESSAGE not in may:
        return None
    text = element("label", "Message", element("textarea", "", name="text", rows=3, required=True))
    button = element("p", element("button", "Send", name="action", value=MESSAGE))
    place = f"/runs/{quote(run.run_id)}/control"
    return element("form", element("h3", "Tell the agent"), text, button, method="post", action=place, id="form-tell")


def _by_hand(run: Run, may: frozenset[str], definition: ProcessDefinition, state: RunState) -> Html | None:
    offered = [verb for verb in BY_HAND if verb in may]
    if not offered:
        return None
    under_way = [
        path.rpartition("/")[2] for path, said in state.states.items() if said in ("running", "waiting", "failed")
    ]
    return _form(
        run,
        "by-hand",
        "A node by hand",
        offered,
        _select("Node", "target", ["", *dict.fromkeys(under_way)], "empty: the one under way"),
        _select("Go on to", "to", ["", *definition.nodes], "for advance") if "advance" in offered else None,
        _values("what a skipped node would have written") if "skip" in offered else None,
    )


def _set_context(run: Run, may: frozenset[str]) -> Html | None:
    if "set_context" not in may:
        return None
    return _form(run, "context", "Change the context", ["set_context"], _values("the keys to set"))


def _rewind(run: Run, may: frozenset[str], records: Sequence[AuditRecord]) -> Html | None:
    steps = list(standing(records).before)[-LAST_STEPS:]
    if "rewind" not in may or not steps:
        return None
    note = element("p", "What was done since is undone where the process says how.", class_="aside")
    choice = _select("Step", "target", steps[::-1])
    return _form(run, "rewind", "Go back before a step", ["rewind"], choice, note)


def _migrate(run: Run, may: frozenset[str]) -> Html | None:
    if "migrate" not in may:
        return None
    version = element("label", "Version", element("input", type="text", name="target", required=True, maxlength=64))
    return _form(run, "migrate", "Move it to another version", ["migrate"], version)


def _select(label: str, name: str, values: Sequence[str], hint: str = "") -> Html:
    options = [element("option", value, value=value) for value in values]
    return element("label", label, element("select", *options, name=name), element("small", hint) if hint else None)


def _values(hint: str) -> Html:
    return element("label", "Values", element("textarea", "", name="values", rows=3), element("small", f"JSON: {hint}"))


def read_control(viewer: Principal, filled: Mapping[str, str]) -> Control:
    """Return the verb that a form gives.

    Raises:
        Invalid: there is no such verb, or its values are no JSON object.
    """
    action = filled.get("action", "")
    if action not in get_args(ControlAction):
        raise Invalid(f"{action[:40]!r} is no control verb; use a form of the run's page", field="action")
    try:
        return Control(
            action=cast(ControlAction, action),
            by=viewer,
            target=filled.get("target") or None,
            to=filled.get("to") or None if action == "advance" else None,
            values=_read_values(filled.get("values", ""), action),
            reason=filled.get("reason", ""),
            key=new_id("ctl"),
        )
    except ValidationError as error:
        raise Invalid(f"the form cannot be read: {error.errors()[0]['msg']}") from None


def _read_values(text: str, action: str) -> dict[str, Any] | None:
    if action not in ("skip", "set_context") or not text.strip():
        return {} if action == "skip" else None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"values: {text[:80]!r} is no JSON object; correct it and send again", field="values")
    return cast("dict[str, Any]", found)
