"""The skill `agents`, as a client uses it: several agents launched, watched, spoken to, ended, forked and replayed."""

from typing import Any

import anyio
import pytest

from engine.transcript import ModelRequest
from engine.values import Principal, new_id
from providers.scripted import Line
from skills.services import ToolContext
from tests.server.agent_house import PATIENCE_S, AgentHouse, Held, call, calling

pytestmark = pytest.mark.anyio


def last_said(request: ModelRequest) -> Line:
    """Say what a person said last."""
    return [message.text for message in request.messages if message.role == "user"][-1]


async def use(house: AgentHouse, who: Principal, tool: str, /, **arguments: Any) -> Any:
    """Call a tool of the skill as a client does."""
    ctx = ToolContext(principal=who, services=house.platform.services, key=new_id("call"))
    return (await house.platform.toolbox.call(ctx, f"agents.{tool}", arguments)).value


async def test_several_are_launched_once_watched_together_spoken_to_and_ended(
    house: AgentHouse, alice: Principal
) -> None:
    slow, other = Held("first"), Held("never said")
    talks = [house.talk("quick"), house.talk(slow, last_said), house.talk(other)]
    tasks = [{"task": f"Part {at}.", "model": talk.route, "skills": [], "tools": []} for at, talk in enumerate(talks)]
    first = await use(house, alice, "launch", tasks=tasks, key="three")
    assert await use(house, alice, "launch", tasks=tasks, key="three") == first
    quick, spoken, ended = first["run_ids"]
    await slow.reached()
    await other.reached()
    view: dict[str, Any] = {"ended": [], "seen": {}}
    with anyio.fail_after(PATIENCE_S):
        while not view["ended"]:
            view = await use(house, alice, "watch", run_ids=first["run_ids"], wait_s=20, seen=view["seen"])
    assert view["ended"] == [quick]
    await use(house, alice, "message", run_id=spoken, text="Say this.")
    slow.released.set()
    assert await use(house, alice, "cancel", run_ids=[quick, ended]) == {"cancelled": [ended], "over_already": [quick]}
    runs = [await house.finished(await house.platform.runs.get(alice, run_id)) for run_id in first["run_ids"]]
    assert [(run.status, run.result) for run in runs] == [
        ("completed", "quick"),
        ("completed", "Say this."),
        ("cancelled", None),
    ]


async def test_a_family_shows_the_models_and_what_each_took_itself(house: AgentHouse, alice: Principal) -> None:
    child = house.talk("from below")
    launch = calling(call("launch_subagent", {"task": "x", "name": "below", "model": child.route}))
    parent = house.talk(launch, calling(call("wait_subagents")), "done")
    run = await house.finished(await house.start(alice, parent, tools=("launch_subagent", "wait_subagents")))
    view = await use(house, alice, "family", run_id=run.run_id)
    rows = [(one["title"].partition(":")[0], one["models"], one["turns"]) for one in view["runs"]]
    assert rows == [(run.title, [parent.route], 3), ("below", [child.route], 1)]
    assert view["turns"] == run.spent.turns == 4


async def test_a_finished_run_is_forked_on_another_model_and_both_are_replayed(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await house.start(alice, house.talk("one word")))
    other = house.talk("another word")
    made = await use(house, alice, "fork", run_id=run.run_id, turn=1, model=other.route)
    new = await house.finished(await house.platform.runs.get(alice, made["run_id"]))
    assert (new.result, made["forked_from"], made["turn"]) == ("another word", run.run_id, 1)
    for one in (run, new):
        found = await use(house, alice, "replay", run_id=one.run_id)
        assert (found["same"], found["turns"], found["compared"], found["difference"]) == (True, 1, 1, None)
