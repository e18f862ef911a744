"""A budget that is used up: waiting for more where the task says so, and taking in what a person adds."""

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from engine.agent.conduct import Conduct, Stopped
from engine.agent.state import left_of
from engine.ports import Control, TurnMade
from engine.runs import EventDraft
from engine.values import Budget

VERB = "budget"
"""The control verb that is carried out here."""

BOUNDS = ("turns", "tokens", "usd", "seconds")


async def more_needed(conduct: Conduct, bound: str, made: TurnMade | None = None) -> None:
    """Wait, holding nothing, until somebody adds to the budget; `made` is the turn for which there was no room.

    Raises:
        Stopped: the run ends meanwhile, or it is not one that waits.
    """
    if conduct.plan.on_budget != "pause":
        raise Stopped("failed", made.finish.raw if made else f"the budget of {bound} is used up")
    before = conduct.budget
    key = f"budget/{workflow.uuid4()}"
    left: dict[str, JsonValue] = left_of(before, conduct.state).model_dump(mode="json")
    data: dict[str, JsonValue] = {"bound": bound, "left": left, "spent": conduct.state.spent.model_dump(mode="json")}
    await conduct.change(
        key,
        status="waiting",
        waits_for=f"budget: more {bound}",
        events=(EventDraft(key=key, type="budget.exhausted", data=data),),
        audit=conduct.audit("budget.exhausted", data, by="engine", key=key),
    )
    await workflow.wait_condition(lambda: conduct.budget != before or conduct.stop is not None)
    if conduct.stop is not None:
        raise conduct.stop
    await conduct.change(f"{key}/added", status="running", waits_for="")


def check_added(conduct: Conduct, control: Control) -> None:
    """Refuse what can't be added: the validator of the update.

    Raises:
        ApplicationError: of type `denied` or `invalid`.
    """
    if control.by.kind == "agent":
        raise _refused("what an agent may spend is decided by people; an agent can't add to a budget", "denied")
    added = control.budget
    given = [name for name in BOUNDS if added is not None and getattr(added, name) is not None]
    if not given:
        raise _refused("the verb budget needs what is added: turns, tokens, usd or seconds", "invalid")
    open_ones = [name for name in given if getattr(conduct.budget, name) is None]
    if open_ones and conduct.planned is not None:
        raise _refused(f"this run has no bound of {', '.join(open_ones)}; there is nothing to add to", "invalid")


async def add(conduct: Conduct, control: Control) -> None:
    """Add to the bounds of the budget; what waited for it goes on."""
    await workflow.wait_condition(lambda: conduct.planned is not None or conduct.ending)
    conduct.check_open()
    check_added(conduct, control)
    assert control.budget is not None
    before = conduct.budget
    # Set before anything is awaited: another addition may come in meanwhile.
    conduct.budget = Budget.model_validate(
        {name: _sum(getattr(before, name), getattr(control.budget, name)) for name in BOUNDS}
    )
    key, by = f"control/{workflow.uuid4()}", control.by.subject
    data: dict[str, JsonValue] = {
        "added": control.budget.model_dump(mode="json", exclude_none=True),
        "before": before.model_dump(mode="json", exclude_none=True),
        "by": by,
        "reason": control.reason,
    }
    await conduct.change(
        key,
        budget=conduct.budget,
        events=(EventDraft(key=key, type="budget.added", data=data),),
        audit=conduct.audit("run.budget", data, by=by, key=key),
    )


def _sum(bound: float | None, added: float | None) -> float | None:
    return None if bound is None else bound + (added or 0)


def _refused(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)
