"""Who allows a call with effects: the rule of its class and of the run's mode, a reviewing model, a person.

| class | `ask` | `auto_review` | `full` |
|---|---|---|---|
| `read_only`, `control` | runs | runs | runs |
| `side_effecting` | a person is asked | a model judges, and a person is asked if it is unsure | runs |
| `always_ask` | a person is asked | a person is asked | a person is asked |

A call that is asked for waits without holding anything. While the run is paused an answer is taken and its call waits
for the run to go on; a run that ends withdraws what it asks; where time or budget end the wait, the call is not made.
"""

from datetime import timedelta
from typing import Literal

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from engine.agent.conduct import Conduct, reason_of
from engine.agent.log import call_name
from engine.agent.state import Grant, ends_at, last_turn_by, left_of
from engine.agent.turns import MODEL_RETRY
from engine.ports import ApprovalMode, CallRef, Control, Reviewed, ReviewOrder, TaskAnswer, review_call
from engine.runs import EventDraft, Seat, TaskDraft, derived_id

VERBS = ("approval", "revoke")
"""The control verbs that are carried out here."""

REVIEW_RETRY = MODEL_RETRY
REVIEW_TIMEOUT, REVIEW_WITHIN = timedelta(minutes=2), timedelta(minutes=15)
"""What one attempt may take, and all of them with what they wait for; a person is asked where that was not enough."""


def rule_of(call: CallRef, mode: ApprovalMode, grants: tuple[Grant, ...]) -> Literal["run", "review", "ask"]:
    """Return what is to be done about a call before it is made."""
    if call.effect == "always_ask":
        return "ask"
    granted = any((one.tool, one.covers) == (call.tool, _covered(call)) for one in grants)
    if call.effect != "side_effecting" or mode == "full" or granted:
        return "run"
    return "review" if mode == "auto_review" else "ask"


async def approval(conduct: Conduct, turn: int, call: CallRef) -> str | None:
    """Return why a call may not be made, or None; one with effects waits here for its reviewer or a person."""
    rule = rule_of(call, conduct.plan.approval, conduct.state.grants)
    reviewed: Reviewed | None = None
    if rule == "review":
        async with conduct.spending:
            # While others were reviewed a person may have changed the mode, or allowed the tool.
            if rule_of(call, conduct.plan.approval, conduct.state.grants) == "review":
                reviewed = await _review(conduct, turn, call)
        # And so while this one was.
        rule = rule_of(call, conduct.plan.approval, conduct.state.grants)
    if rule == "run" or (rule == "review" and reviewed is not None and reviewed.verdict == "allow"):
        return None
    if rule == "review" and reviewed is not None and reviewed.verdict == "deny":
        return f"{call.tool} was refused by the reviewer of this run and was not run: {reviewed.reason}"
    return await _asked(conduct, turn, call, reviewed)


async def _asked(conduct: Conduct, turn: int, call: CallRef, reviewed: Reviewed | None) -> str | None:
    answer = await conduct.people.ask(_task(conduct, turn, call, reviewed))
    if answer is None:
        return f"nobody approved {call.tool} in time; it was not run"
    if answer.decision == "deny":
        why = f": {answer.comment}" if answer.comment else ""
        return f"{call.tool} was refused by {answer.by.subject} and was not run{why}"
    if answer.decision == "allow_for_run":
        await _grant(conduct, turn, call, answer)
    return None


def _task(conduct: Conduct, turn: int, call: CallRef, reviewed: Reviewed | None) -> TaskDraft:
    always = call.effect == "always_ask"
    context: dict[str, JsonValue] = {"turn": turn, "call_id": call.call_id, "tool": call.tool}
    if not always:
        context["allow_for_run"] = f"{call.tool} on {_covered(call)}"
    if reviewed is not None:
        context["review"] = reviewed.model_dump(mode="json", include={"verdict", "reason", "model"})
    return TaskDraft(
        task_id=derived_id("task", conduct.run.workflow_id, str(turn), call.call_id),
        kind="approval",
        node=f"turn {turn}",
        title=f"Allow {call.tool}?",
        description=call.target,
        decisions=("allow", "deny") if always else ("allow", "allow_for_run", "deny"),
        seat=Seat(users=(conduct.principal.subject,), roles=("approver",)),
        context=context,
        deadline=ends_at(conduct.budget, conduct.state),
    )


async def _review(conduct: Conduct, turn: int, call: CallRef) -> Reviewed:
    """Return the verdict of the reviewing model; `ask` where there is none to be had."""
    bound = last_turn_by(conduct.budget, conduct.state, workflow.now())
    if bound is not None:
        return await _unreviewed(conduct, turn, call, f"the budget of {bound} leaves no room for a review")
    route, left = conduct.plan.reviewer or conduct.plan.route, left_of(conduct.budget, conduct.state)
    order = ReviewOrder(run=conduct.run, principal=conduct.principal, turn=turn, call=call, route=route, left=left)
    try:
        reviewed = await review_call(order, timeout=REVIEW_TIMEOUT, within=REVIEW_WITHIN, retry=REVIEW_RETRY)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return await _unreviewed(conduct, turn, call, f"the reviewer failed: {reason_of(error)}")
    conduct.remember(spent=conduct.state.spent.plus(reviewed.spent))
    return reviewed


async def _unreviewed(conduct: Conduct, turn: int, call: CallRef, reason: str) -> Reviewed:
    data: dict[str, JsonValue] = {"turn": turn, "call_id": call.call_id, "tool": call.tool}
    data |= {"verdict": "ask", "reason": reason}
    key = f"{review_key(turn, call.call_id)}/none"
    await conduct.change(
        key,
        events=(EventDraft(key=key, type="approval.reviewed", data=data),),
        audit=conduct.audit("approval.reviewed", data, by="engine", key=key),
    )
    return Reviewed(verdict="ask", reason=reason)


def review_key(turn: int, call_id: str) -> str:
    """Return the key of the review of a call in the run's record."""
    return f"turn/{turn}/review/{call_name(call_id)}"


async def _grant(conduct: Conduct, turn: int, call: CallRef, answer: TaskAnswer) -> None:
    grant = Grant(
        grant_id=derived_id("grant", conduct.run.workflow_id, str(turn), call.call_id),
        tool=call.tool,
        covers=_covered(call),
        by=answer.by.subject,
    )
    conduct.remember(grants=(*conduct.state.grants, grant))
    data: dict[str, JsonValue] = grant.model_dump(mode="json")
    await conduct.change(
        grant.grant_id,
        events=(EventDraft(key=grant.grant_id, type="grant.given", data=data),),
        audit=conduct.audit("grant.given", data, by=grant.by, key=grant.grant_id),
    )


def check_verb(conduct: Conduct, control: Control) -> None:
    """Refuse a change of approvals that can't be made: the validator of the update.

    Raises:
        ApplicationError: of type `denied`, `invalid` or `not_found`.
    """
    if control.by.kind == "agent":
        raise _refused("who approves what agents do is decided by people; an agent can't change it", "denied")
    if control.action == "approval" and control.approval is None:
        raise _refused("the verb approval needs a mode: ask, auto_review or full", "invalid")
    if control.action == "revoke" and control.target not in {one.grant_id for one in conduct.state.grants}:
        there = ", ".join(f"{one.grant_id} ({one.tool})" for one in conduct.state.grants) or "none"
        raise _refused(f"this run has no grant {control.target}; it has: {there}", "not_found")


def _refused(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)


async def carry_out_verb(conduct: Conduct, control: Control) -> None:
    """Change the mode or withdraw a grant, from the next call on; what is asked already stays asked."""
    # Before its plan a run has no mode that could be changed.
    await workflow.wait_condition(lambda: conduct.planned is not None or conduct.ending)
    conduct.check_open()
    check_verb(conduct, control)
    if control.approval is not None and control.action == "approval":
        await _change_mode(conduct, control, control.approval)
    else:
        await _revoke(conduct, control)


async def _change_mode(conduct: Conduct, control: Control, mode: ApprovalMode) -> None:
    before = conduct.plan.approval
    conduct.planned = conduct.plan.model_copy(update={"approval": mode})
    await _note(conduct, control, "approval.mode", "run.approval", {"from": before, "to": mode})


async def _revoke(conduct: Conduct, control: Control) -> None:
    (grant,) = (one for one in conduct.state.grants if one.grant_id == control.target)
    conduct.remember(grants=tuple(one for one in conduct.state.grants if one != grant))
    await _note(conduct, control, "grant.revoked", "run.revoke", grant.model_dump(mode="json", exclude={"by"}))


async def _note(conduct: Conduct, control: Control, event: str, action: str, data: dict[str, JsonValue]) -> None:
    key, by = f"control/{workflow.uuid4()}", control.by.subject
    data = {**data, "by": by, "reason": control.reason}
    await conduct.change(
        key,
        events=(EventDraft(key=key, type=event, data=data),),
        audit=conduct.audit(action, data, by=by, key=key),
    )


def _covered(call: CallRef) -> str:
    return call.covers or call.target
