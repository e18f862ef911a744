"""Who may do what to an open task: pure rules over its seat, its votes and who has claimed it.

Every rule raises the `Problem` that the caller is told, and changes nothing.
"""

from collections import Counter
from collections.abc import Sequence

from pydantic import JsonValue

from engine.errors import Conflict, Denied, Invalid
from engine.ports import TaskMove
from engine.runs import Seat, Task, TaskDraft, Vote
from engine.values import Principal


def check_may_answer(draft: TaskDraft | Task, claimed_by: str | None, by: Principal) -> None:
    """Refuse whoever may not answer now.

    Raises:
        Denied: an agent, or somebody without the seat.
        Conflict: somebody else has claimed the task, or `by` has decided already.
    """
    if by.kind == "agent":
        raise Denied(f"task {draft.task_id} waits for a person; an agent can't answer it")
    _check_seat(draft, by)
    if claimed_by is not None and claimed_by != by.subject:
        raise Conflict(
            f"task {draft.task_id} is claimed by {claimed_by}; ask for its release, or an operator to reassign it",
            claimed_by=claimed_by,
        )
    mine = next((vote for vote in draft.votes if vote.by == by.subject), None)
    if mine is not None:
        said = f" ({mine.decision})" if mine.decision else ""
        raise Conflict(
            f"{by.subject} has decided already{said} at {mine.at}; {draft.quorum} different people must decide alike",
            by=by.subject,
            decision=mine.decision,
            at=mine.at,
        )


def _check_seat(draft: TaskDraft | Task, by: Principal) -> None:
    seat = draft.seat
    if seat.admits(by):
        return
    if by.subject in seat.excluded:
        reason = "is excluded (four eyes)"
    elif by.subject in seat.delegated:
        reason = "has given it to somebody else"
    else:
        reason = "does not hold the seat"
    raise Denied(f"{by.subject} {reason} of task {draft.task_id}; it is for {seat.in_words()}")


def check_move(draft: TaskDraft | Task, claimed_by: str | None, move: TaskMove) -> None:
    """Refuse a move of a task that can't be made.

    Raises:
        Denied: the mover lacks the seat or the role, or the task goes to somebody who is excluded.
        Conflict: somebody else has claimed it, or nobody has.
        Invalid: it does not say to whom, or the task can't be moved so.
    """
    by = move.by
    if by.kind == "agent":
        raise Denied(f"who sees to task {draft.task_id} is settled by people; an agent can't change it")
    if move.action == "claim":
        _check_claim(draft, claimed_by, by)
    elif move.action == "release":
        _check_release(draft, claimed_by, by)
    elif move.action == "delegate":
        check_may_answer(draft, claimed_by, by)
        if not draft.delegation:
            raise Denied(f"task {draft.task_id} can't be given to somebody else; its definition says delegation: false")
        _check_to(draft, move)
    else:
        if not by.has_role("operator"):
            raise Denied("reassigning a task takes the role operator")
        if by.subject in draft.seat.excluded:
            raise Denied(f"{by.subject} is excluded (four eyes) of task {draft.task_id} and can't say who decides it")
        _check_to(draft, move)


def _check_claim(draft: TaskDraft | Task, claimed_by: str | None, by: Principal) -> None:
    check_may_answer(draft, claimed_by, by)
    if draft.quorum > 1:
        raise Invalid(f"{draft.quorum} people decide task {draft.task_id}, so that nobody claims it; answer it")


def _check_release(draft: TaskDraft | Task, claimed_by: str | None, by: Principal) -> None:
    if claimed_by is None:
        raise Conflict(f"nobody has claimed task {draft.task_id}")
    if claimed_by != by.subject and not by.has_role("operator"):
        raise Denied(f"task {draft.task_id} is claimed by {claimed_by}; only they and operators release it")


def _check_to(draft: TaskDraft | Task, move: TaskMove) -> None:
    to = move.to
    if not (to.users or to.roles or to.groups):
        raise Invalid(f"the verb {move.action} needs to whom: a user, role or group", field="to")
    barred = [user for user in to.users if user in draft.seat.excluded]
    if barred:
        raise Denied(f"{barred[0]} is excluded (four eyes) of task {draft.task_id}; name somebody else")
    if move.action == "delegate" and move.by.subject in to.users:
        raise Invalid(f"{move.by.subject} can't give the task to themselves", field="to")
    if not reachable(draft.model_copy(update={"seat": moved_seat(draft.seat, move)})):
        raise Invalid(f"{draft.quorum} alike decisions could not be reached then; name more people", field="to")


def moved_seat(seat: Seat, move: TaskMove) -> Seat:
    """Return the seat after a move that was found possible; who is excluded stays so."""
    if move.action == "reassign":
        return Seat(users=move.to.users, roles=move.to.roles, groups=move.to.groups, excluded=seat.excluded)
    if move.action != "delegate":
        return seat
    back = set(move.to.users)
    given = tuple(one for one in seat.delegated if one not in back)
    return seat.plus(move.to).model_copy(update={"delegated": (*given, move.by.subject)})


def reachable(draft: TaskDraft | Task) -> bool:
    """Tell whether enough people can still decide alike: where roles or groups may answer, always."""
    seat = draft.seat
    if draft.quorum <= 1 or seat.roles or seat.groups:
        return True
    gone = {*seat.excluded, *seat.delegated, *(vote.by for vote in draft.votes)}
    left = len(set(seat.users) - gone)
    most = max(Counter(vote.decision for vote in draft.votes).values(), default=0)
    return most + left >= draft.quorum


def alike(votes: Sequence[Vote], decision: str | None) -> tuple[list[Vote], dict[str, JsonValue]]:
    """Return those who have decided so, and their values together: of two for one field the later."""
    found = [vote for vote in votes if vote.decision == decision]
    values: dict[str, JsonValue] = {}
    for vote in found:
        values |= vote.values
    return found, values
