"""Budgets of agents are hard: bounded before each call, and at their end closed, or waiting for a person to add."""

import pytest

from engine.errors import Denied, Exhausted, Invalid
from engine.ports import Control, Left
from engine.routes import Route
from engine.runs import Run
from engine.transcript import ModelRequest, user
from engine.values import Budget, Principal
from providers.scripted import Line, ScriptedReply
from server.activities.agent_spending import within
from tests.server.agent_house import AgentHouse, call, calling, check_log

pytestmark = pytest.mark.anyio

LEARN = calling(call("learn_desk"))


def pages(request: ModelRequest) -> Line:
    """Read on until there are no tools any more, or eight answers are there."""
    read = sum(message.role == "tool" for message in request.messages)
    if request.tool_choice == "none" or read >= 8:
        return f"read {read}"
    return calling(call("desk.chapter", {"number": read}, call_id=f"c{read}")) if read else LEARN


async def add(house: AgentHouse, run: Run, budget: Budget, who: Principal | None = None) -> Run:
    """Add to the budget of a run."""
    control = Control(action="budget", by=who or run.principal, budget=budget, reason="worth it")
    return await house.platform.control.control(who or run.principal, run.run_id, control)


async def short(house: AgentHouse, run: Run, bound: str) -> Run:
    """Wait until a run waits for more of a bound."""
    return await house.until(run, lambda now: now.waits_for == f"budget: more {bound}")


async def test_a_run_that_is_to_pause_waits_for_more_and_goes_on_where_it_was(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(pages)
    run = await house.start(alice, talk, budget=Budget(turns=4), on_budget="pause")
    run = await short(house, run, "turns")
    assert (run.status, run.spent.turns) == ("waiting", 3)
    await add(house, run, Budget(turns=2))
    run = await short(house, await house.until(run, lambda now: now.spent.turns == 5), "turns")
    await add(house, run, Budget(turns=10))
    run = await house.finished(run)
    assert (run.status, run.result, run.spent.turns) == ("completed", "read 8", 9), run.error
    assert run.budget == Budget(turns=16)
    assert {request.tool_choice for request in talk.requests} == {"auto"}
    events = await house.events(run)
    check_log(events)
    assert [event.data["added"] for event in events if event.type == "budget.added"] == [{"turns": 2}, {"turns": 10}]
    audit = [(one.action, one.actor) for one in await house.platform.runs.audit(alice, run.run_id)]
    assert audit.count(("run.budget", "alice")) == 2
    assert audit.count(("budget.exhausted", "engine")) == 2


async def test_a_run_that_waits_for_a_budget_can_be_stopped(house: AgentHouse, alice: Principal) -> None:
    run = await house.start(alice, house.talk(pages), budget=Budget(turns=2), on_budget="pause")
    await short(house, run, "turns")
    await house.control(run, "stop", "enough")
    run = await house.finished(run)
    assert (run.status, run.error) == ("cancelled", "stop by alice: enough")


async def test_a_budget_may_be_added_to_before_it_is_used_up(house: AgentHouse, alice: Principal) -> None:
    held: list[bool] = []

    async def line(request: ModelRequest) -> Line:
        if not held:
            held.append(True)
            (run,) = [one for one in await house.platform.runs.unsettled(["running"]) if one.budget.turns == 3]
            await add(house, run, Budget(turns=20))
        return pages(request)

    run = await house.finished(await house.start(alice, house.talk(line), budget=Budget(turns=3)))
    assert (run.status, run.result, run.spent.turns) == ("completed", "read 8", 9), run.error


async def test_only_people_with_the_role_add_and_only_to_bounds_that_are_there(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.start(alice, house.talk(pages), budget=Budget(turns=2), on_budget="pause")
    run = await short(house, run, "turns")
    viewer = Principal(tenant=alice.tenant, subject="vera", roles=frozenset({"viewer"}))
    agent = alice.model_copy(update={"kind": "agent"})
    for who in (viewer, agent):
        with pytest.raises(Denied):
            await add(house, run, Budget(turns=5), who)
    with pytest.raises(Invalid, match="no bound of tokens"):
        await add(house, run, Budget(tokens=5))
    with pytest.raises(Invalid, match="needs what is added"):
        await add(house, run, Budget())
    assert (await house.platform.runs.load(run.ref)).budget == Budget(turns=2)
    await house.control(run, "stop")


@pytest.mark.parametrize("tokens", [18_000, 25_000, 40_000])
async def test_a_budget_of_tokens_is_never_exceeded_however_long_the_model_would_talk(
    house: AgentHouse, alice: Principal, tokens: int
) -> None:
    def talks(request: ModelRequest) -> Line:
        said = "word " * request.max_output_tokens
        return ScriptedReply(
            text=said[: 3 * request.max_output_tokens], tool_calls=() if _closed(request) else LEARN.tool_calls
        )

    run = await house.start(alice, house.talk(talks), budget=Budget(tokens=tokens))
    run = await house.finished(run)
    assert 0 < run.spent.input_tokens + run.spent.output_tokens <= tokens


def _closed(request: ModelRequest) -> bool:
    return request.tool_choice == "none"


async def test_a_call_that_does_not_fit_into_the_budget_is_not_made(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk("never")
    run = await house.finished(await house.start(alice, talk, budget=Budget(tokens=300)))
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith("the budget of tokens is used up: 300 tokens are left, and the next call reads about")
    assert talk.requests == []


async def test_in_dollars_the_answer_is_bounded_by_its_price_and_an_unpriced_candidate_by_a_limit(
    house: AgentHouse,
) -> None:
    request = ModelRequest(
        route=Route(provider="openai", model="gpt-4o", fallbacks=(Route(provider="openai", model="no-such-model"),)),
        messages=(user("hello " * 1_000),),
        max_output_tokens=8_192,
    )
    rich = within(house.platform.models, request, Left(usd=10.0))
    assert rich.max_output_tokens == 8_192
    poor = within(house.platform.models, request, Left(usd=0.02))
    reads = house.platform.models.estimate(request)
    # 2.50 and 10.00 dollars for a million tokens of input and output.
    assert reads * 2.5e-6 + poor.max_output_tokens * 10e-6 <= 0.02
    assert 500 < poor.max_output_tokens < 8_192
    assert [one.limits.max_usd_call for one in poor.route.candidates] == [0.02, 0.02]
    with pytest.raises(Exhausted, match="the budget of usd is used up"):
        within(house.platform.models, request, Left(usd=0.004))
