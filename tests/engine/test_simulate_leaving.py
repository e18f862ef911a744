"""What is left while it is under way: arms that lost, items beside one that failed, calls that can be undone."""

import asyncio
from typing import Any

import pytest

from engine import stage
from engine.process.definition import parse_definition
from engine.process.simulate import Played, play

HOUR = 3600.0


def played(start: str, nodes: dict[str, Any], fixtures: dict[str, Any], **scenario: Any) -> Played:
    keys = ("made", "quick", "fast")
    definition = parse_definition(
        {
            "format": 1,
            "process": "p",
            "context": {"schema": {"type": "object", "properties": {key: {"type": "string"} for key in keys}}},
            "start": start,
            "nodes": {**nodes, "done": {"type": "end", "outcome": "done"}, "bad": {"type": "end", "outcome": "bad"}},
            "scenarios": [{"name": "s", "fixtures": fixtures, **scenario}],
        }
    )
    return play(definition, definition.scenarios[0])


def call(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool", "tool": f"desk.{name}", **fields}


def arm(name: str, **nodes: Any) -> dict[str, Any]:
    return {"name": name, "body": {"start": next(iter(nodes)), "nodes": nodes}}


def race(*arms: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "branch", "take": "every", "join": "any", "arms": list(arms), **fields}


MADE = {"made": call("make", writes=["made"], compensate="undo"), "undo": call("undo")}
TIMES = {
    "made": {"result": "late", "elapsed": "PT3H"},
    "quick": {"result": "q", "elapsed": "PT30M"},
    "fast": {"result": "f", "elapsed": "PT1H"},
}


def test_a_call_that_can_be_undone_is_seen_to_its_end_though_two_races_around_it_are_won() -> None:
    """The inner race is won after half an hour, the outer one while the inner still waits for the call."""
    inner = race(arm("quick", quick=call("quick", writes=["quick"])), arm("slow", **MADE), next=[])
    outer = race(arm("fast", fast=call("fast", writes=["fast"])), arm("inner", inner=inner), next=[{"to": "done"}])
    found = played("outer", {"outer": outer}, TIMES)
    assert (found.problems, found.outcome, found.seconds) == ((), "done", 3 * HOUR)
    assert found.context["made"] == "late"
    assert [(one.node, one.seconds / HOUR) for one in found.steps if one.node == "made"] == [("made", 3.0)]


def test_what_was_seen_to_its_end_is_undone_when_the_run_is_cancelled_meanwhile() -> None:
    outer = race(arm("quick", quick=call("quick", writes=["quick"])), arm("slow", **MADE), next=[{"to": "done"}])
    cancel = {"after": "PT1H", "by": "otto", "action": "cancel"}
    scenario = {"actors": {"otto": {"roles": ["operator"]}}, "operations": [cancel], "expect": {"status": "cancelled"}}
    found = played("outer", {"outer": outer}, {**TIMES, "undo": {"result": "undone", "elapsed": "PT1H"}}, **scenario)
    assert (found.problems, found.seconds) == ((), 4 * HOUR)
    assert (
        played("outer", {"outer": outer}, TIMES, **scenario)
        .problems[0]
        .startswith("the scenario has no fixture for undo")
    )


def test_no_item_is_begun_in_the_moment_in_which_another_has_failed() -> None:
    each = {
        "type": "foreach",
        "items": [1, 2, 3],
        "as": "item",
        "max_concurrency": 1,
        "body": {"start": "made", "nodes": MADE},
        "on_error": [{"to": "bad"}],
        "next": [{"to": "done"}],
    }
    # A second call would be seen to its end.
    calls = [{"error": "broken", "elapsed": "PT1H"}, {"result": "made", "elapsed": "PT5H"}]
    found = played("each", {"each": each}, {"made": calls})
    assert (found.problems, found.outcome, found.seconds) == ((), "bad", HOUR)


class Doing:
    """Something that takes until it is let go, and can't be torn in its middle."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.done = False

    async def do(self) -> str:
        await self.go.wait()
        self.done = True
        return "done"


@pytest.mark.anyio
@pytest.mark.parametrize("heed", [True, False])
async def test_what_is_done_to_its_end_is_done_however_often_it_is_given_up(heed: bool) -> None:
    doing = Doing()
    task = asyncio.ensure_future(stage.to_its_end(doing.do(), heed=heed))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    doing.go.set()
    (found,) = await asyncio.gather(task, return_exceptions=True)
    assert doing.done
    assert isinstance(found, asyncio.CancelledError) if heed else found == "done"


@pytest.mark.anyio
async def test_what_fails_at_its_end_fails_whoever_awaits_it_unless_that_was_given_up() -> None:
    async def fail(go: asyncio.Event) -> None:
        await go.wait()
        raise ValueError("it broke")

    for given_up, raised in ((False, ValueError), (True, asyncio.CancelledError)):
        go = asyncio.Event()
        task = asyncio.ensure_future(stage.to_its_end(fail(go)))
        await asyncio.sleep(0)
        if given_up:
            task.cancel()
        go.set()
        (found,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(found, raised)


@pytest.mark.anyio
async def test_those_who_are_cancelled_are_cancelled_once_each_and_waited_for() -> None:
    """A second cancellation of who waits must not reach them: it would cut short what they do at their end."""
    go, ended = asyncio.Event(), list[str]()

    async def leave(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go.wait()
            ended.append(name)
            raise

    tasks = [asyncio.ensure_future(leave(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(stage.cancel_all(tasks))
    for _ in range(3):
        await asyncio.sleep(0)
        ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()
    go.set()
    (found,) = await asyncio.gather(ending, return_exceptions=True)
    assert isinstance(found, asyncio.CancelledError)
    assert ended == ["a", "b"]
