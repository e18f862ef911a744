"""Another run from any turn of an agent's: its transcript up to there, its own audit, and its own model if wanted."""

from collections.abc import Sequence

from engine.agent.log import TURN
from engine.errors import Denied, Invalid, NotFound
from engine.ports import AgentTask, Control, Fork
from engine.runs import Event, EventDraft, Run, StartRun
from engine.values import Principal

NO_TURN = 0


def finished_turns(events: Sequence[Event]) -> dict[int, Event]:
    """Return the events of the turns that were made, by number."""
    return {_number(event, "turn"): event for event in events if event.type == TURN}


def made_from(events: Sequence[Event], turn: int) -> list[Event]:
    """Return the events that a turn was made from; for the turn after the last one, all there are.

    Raises:
        NotFound: there is no such turn.
    """
    turns = finished_turns(events)
    if turn in turns:
        seen = _number(turns[turn], "seen")
        return [event for event in events if event.seq <= seen]
    last = max(turns, default=NO_TURN)
    if turn != last + 1:
        raise NotFound(
            f"the run has the turns 1 to {last}; name one of them, or {last + 1} to go on after it", last=last
        )
    return list(events)


def renumbered(events: Sequence[Event], already: int) -> list[EventDraft]:
    """Return events for a log that has `already` others: `seen` means the same event there."""
    drafts: list[EventDraft] = []
    for place, event in enumerate(events):
        data = dict(event.data)
        if "seen" in data:
            data["seen"] = already + sum(one.seq <= _number(event, "seen") for one in events[:place])
        drafts.append(EventDraft(key=event.key, type=event.type, data=data))
    return drafts


def fork_start(principal: Principal, source: Run, events: Sequence[Event], control: Control) -> StartRun:
    """Return the start of the run that the verb `fork` asks for.

    Its transcript is copied as the run begins; the calls that are answered in it are not made again. Its budget is
    that of the source, whole.

    Raises:
        Denied: an agent asks for it, which would have it leave its own budget.
        Invalid: the source is no agent, no turn is named, or nothing would be left to say.
        NotFound: the run has no such turn.
    """
    if principal.kind == "agent":
        raise Denied("runs are forked by people; an agent can start a subagent instead")
    if source.kind != "agent":
        raise Invalid(f"run {source.run_id} is a {source.kind}; only agents can be forked")
    turn = _turn(control.target)
    turns = finished_turns(events)
    made_from(events, turn)
    calls = bool(turn - 1 in turns and _calls(events, turn - 1))
    if turn == max(turns, default=NO_TURN) + 1 and turn > 1 and not calls and not control.message:
        raise Invalid(
            f"turn {turn - 1} is the last answer of this run; to go on after it, say something to it: message"
        )
    fork = Fork(run_id=source.run_id, turn=turn, message=control.message)
    task = AgentTask.model_validate(source.input)
    changed = {"forked_from": fork, "model": control.model or task.model, "learned": (), "calls": ()}
    return StartRun(
        kind="agent",
        definition="agent",
        title=f"{source.title} (from turn {turn})"[:200],
        input=task.model_copy(update=changed).model_dump(mode="json"),
        budget=source.budget,
        idempotency_key=control.key or None,
    )


def _turn(target: str | None) -> int:
    if target is None or not target.isdecimal() or int(target) < 1:
        raise Invalid(f"the verb fork needs the number of the turn to make anew as its target, not {target!r}")
    return int(target)


def _calls(events: Sequence[Event], turn: int) -> bool:
    """Tell whether the turn has made calls: they are answered in the log, so the next turn has something to read."""
    key = f"turn/{turn}/tool/"
    return any(event.key.startswith(key) for event in events)


def _number(event: Event, name: str) -> int:
    value = event.data[name]
    assert isinstance(value, int)
    return value
