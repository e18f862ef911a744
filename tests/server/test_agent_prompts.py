"""The loop's own prompts are interactions: a tenant replaces them, and a run keeps the words it began with."""

import pytest

from engine.agent.prompts import CLOSING, NAMES, NUDGE, SYSTEM
from engine.runs import Run
from engine.values import Budget, Principal
from tests.server.agent_house import AgentHouse, Held, call, calling

pytestmark = pytest.mark.anyio

LEARN = calling(call("learn_desk"))
ADD = calling(call("desk.add", {"a": 1, "b": 2}))


def owner(tenant: str) -> Principal:
    """Return somebody who may publish and start in a tenant of its own."""
    return Principal(tenant=tenant, subject="olga", roles=frozenset({"administrator"}))


async def publish(house: AgentHouse, who: Principal, name: str, words: str, head: str = "") -> None:
    """Publish a prompt."""
    await house.platform.interactions.publish_text(who, name, f"---\nname: {name}\n{head}---\n{words}\n")


async def recorded(house: AgentHouse, run: Run, name: str) -> str:
    """Return which version of a prompt a run has recorded."""
    (plan,) = await house.events(run, "agent.plan")
    prompts = plan.data["prompts"]
    assert isinstance(prompts, dict)
    assert set(prompts) == set(NAMES)
    prompt = prompts[name]
    assert isinstance(prompt, dict)
    return str(prompt["interaction"])


async def test_a_tenant_replaces_a_prompt_by_publishing_an_interaction_of_its_name(house: AgentHouse) -> None:
    olga, other = owner("bakers"), owner("butchers")
    await publish(house, olga, SYSTEM, "You bake.")
    await publish(house, olga, SYSTEM, "You bake bread.")
    talk = house.talk("done")
    run = await house.finished(await house.start(olga, talk, instructions="Rye only."))
    assert talk.requests[0].messages[0].text == "You bake bread.\n\nRye only."
    assert await recorded(house, run, SYSTEM) == f"{SYSTEM}@2"
    assert await recorded(house, run, NUDGE) == f"{NUDGE}@built-in"
    run = await house.finished(await house.start(other, house.talk("done")))
    assert await recorded(house, run, SYSTEM) == f"{SYSTEM}@built-in"


async def test_a_run_keeps_the_words_it_began_with_while_others_are_published(house: AgentHouse) -> None:
    olga = owner("joiners")
    await publish(house, olga, CLOSING, "Put down the plane.")
    held = Held(LEARN)
    talk = house.talk(held, "done")
    run = await house.start(olga, talk, budget=Budget(turns=2))
    await held.reached()
    await publish(house, olga, CLOSING, "Put down the saw.")
    held.released.set()
    run = await house.finished(run)
    assert talk.requests[-1].messages[-1].text == "Put down the plane."
    assert await recorded(house, run, CLOSING) == f"{CLOSING}@1"


async def test_what_an_agent_is_told_that_goes_in_a_circle_is_an_interaction_too(house: AgentHouse) -> None:
    olga = owner("masons")
    await publish(house, olga, NUDGE, "Lay another stone.")
    talk = house.talk(LEARN, ADD, ADD, ADD, "done")
    run = await house.finished(await house.start(olga, talk))
    assert run.status == "completed", run.error
    assert "Lay another stone." in [message.text for message in talk.requests[-1].messages]


async def test_a_prompt_that_needs_parameters_fails_the_start_and_says_which_it_is(house: AgentHouse) -> None:
    olga = owner("weavers")
    head = "input:\n  schema:\n    type: object\n    properties: {who: {type: string}}\n    required: [who]\n"
    await publish(house, olga, SYSTEM, "You weave for {{who}}.", head)
    talk = house.talk("never")
    run = await house.finished(await house.start(olga, talk))
    assert run.status == "failed"
    assert run.error is not None
    assert f"the interaction {SYSTEM}@1 takes the place of a prompt of the agent loop" in run.error
    assert talk.requests == []
