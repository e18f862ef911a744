"""What is done about a run that leads nowhere: telling the model, refusing tools, asking a person, stopping."""

from collections.abc import Sequence

from pydantic import JsonValue

from engine.agent.conduct import Conduct, Stopped
from engine.agent.prompts import NUDGE
from engine.agent.state import ends_at
from engine.agent.stuck import REMEMBERED, Finding, Ladder, Round, climb, finding
from engine.ports import StuckFound, StuckNoted, TaskAnswer, UserMessage, append_message, note_stuck
from engine.runs import Seat, TaskDraft, derived_id

EVIDENCE = 12
"""As many calls, the latest, are named as evidence."""

MESSAGE: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "title": "Message to the agent", "description": "what it should do instead"}
    },
}


async def note_round(conduct: Conduct, latest: Round) -> None:
    """Remember a turn, and take the next measure if the last ones lead nowhere.

    Raises:
        Stopped: the run is stuck, and nothing else is left.
    """
    rounds = (*conduct.state.rounds, latest)[-REMEMBERED:]
    found = finding(rounds)
    ladder, step = climb(conduct.state.ladder, found, latest.turn)
    conduct.remember(rounds=rounds, ladder=ladder)
    if found is None or step is None:
        return
    if step == "escalate":
        if found.rule == "barred":
            # The refused calls are how it went on; what they were refused for is what it is stuck in.
            whole = tuple(one.turn for one in rounds)
            found = found._replace(what=f"{ladder.why}, then {found.what}", turns=whole)
        await give_up(conduct, found, latest.turn, rounds)
        return
    await conduct.interruptible(note_stuck(_found(conduct, found, latest.turn, step, rounds)))
    conduct.remember(note=NUDGE)


async def give_up(conduct: Conduct, found: Finding, turn: int, rounds: Sequence[Round] = ()) -> None:
    """Ask a person whether a stuck run is to go on, where the task says so, else end it; the evidence is recorded.

    Raises:
        Stopped: nobody wants it to go on.
    """
    asks = conduct.plan.on_stuck == "ask" and conduct.plan.approval != "full"
    note = _found(conduct, found, turn, "ask" if asks else "stop", rounds)
    evidence = await conduct.interruptible(note_stuck(note))
    if not asks:
        raise Stopped("failed", f"stuck: {found.what}")
    answer = await conduct.interruptible(conduct.people.ask(_task(conduct, found, turn, evidence)))
    if answer is None:
        raise Stopped("failed", f"stuck: {found.what}; nobody said in time whether to go on")
    if answer.decision == "stop":
        why = f": {answer.comment}" if answer.comment else ""
        raise Stopped("failed", f"stuck: {found.what}; {answer.by.subject} stopped it{why}", answer.by.subject)
    await _go_on(conduct, turn, answer)


async def _go_on(conduct: Conduct, turn: int, answer: TaskAnswer) -> None:
    """Begin to count anew; what the person said is a message like every other."""
    conduct.remember(rounds=(), ladder=Ladder(), note="")
    said = str(answer.values.get("message") or answer.comment)
    if said:
        message = UserMessage(run=conduct.run, principal=answer.by, key=f"said/stuck/{turn}", text=said)
        recorded = await conduct.interruptible(append_message(message))
        conduct.remember(said=max(conduct.state.said, recorded.last_seq))


def _task(conduct: Conduct, found: Finding, turn: int, evidence: StuckNoted) -> TaskDraft:
    return TaskDraft(
        task_id=derived_id("task", conduct.run.workflow_id, str(turn), "stuck"),
        kind="question",
        node=f"turn {turn}",
        title="The agent leads nowhere. Shall it go on?",
        description=f"{found.what}\n\n{evidence.text}".strip(),
        form=MESSAGE,
        decisions=("go_on", "stop"),
        seat=Seat(users=(conduct.principal.subject,), roles=("approver",)),
        context={"turn": turn, "rule": found.rule},
        deadline=ends_at(conduct.budget, conduct.state),
    )


def _found(conduct: Conduct, found: Finding, turn: int, step: str, rounds: Sequence[Round]) -> StuckFound:
    calls = [(one.turn, call.call_id) for one in rounds if one.turn in found.turns for call in one.calls]
    return StuckFound.model_validate(
        {
            "run": conduct.run,
            "turn": turn,
            "rule": found.rule,
            "what": found.what,
            "step": step,
            "tools": found.tools,
            "turns": found.turns,
            "calls": tuple(calls[-EVIDENCE:]),
        }
    )
