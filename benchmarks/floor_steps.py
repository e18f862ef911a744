"""What a start, a step, a decision and a turn cost: ours and bare workflows in turn, so that both meet one load."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from benchmarks.bare import Step, Steps
from benchmarks.figures import Row, Sample, gaps_ms, take_marks
from benchmarks.floor_house import WAIT_S, House, Peer
from engine.ports import TaskAnswer
from engine.values import Empty

WARM_UP = 2
PARK_S = 0.05
"""How long a decision waits until the workflow that asked for it has surely come to rest."""

EMPTY = """
format: 1
process: empty
start: done
nodes:
  done: {type: end, outcome: done}
"""
DECISION = """
format: 1
process: decision
start: ask
nodes:
  ask:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Go on?"}
    decisions: [approve, reject]
    deadline: P1D
    on_timeout: {to: done}
    next: [{to: act}]
  act: {type: tool, tool: probe.look, input: {number: 1}, next: [{to: done}]}
  done: {type: end, outcome: done}
"""


def chain(nodes: int) -> str:
    """Return a process of so many tool nodes, one after the other."""
    lines = [
        f"  n{number}: {{type: tool, tool: probe.look, input: {{number: {number}}}, next: [{{to: n{number + 1}}}]}}"
        for number in range(nodes)
    ]
    end = f"  n{nodes}: {{type: end, outcome: done}}"
    return "\n".join(["format: 1", "process: chain", "start: n0", "nodes:", *lines, end])


@dataclass
class Side:
    """What was measured on one side: milliseconds, and CPU milliseconds per step."""

    name: str
    run: Callable[[], Awaitable[Sequence[float]]]
    values: list[float] = field(default_factory=lambda: [])
    cpu: list[float] = field(default_factory=lambda: [])


async def _measure(house: House, sides: Sequence[Side], rounds: int, steps: int = 1) -> None:
    """Run every side in turn, `rounds` times and a few times more to warm up."""
    for number in range(-WARM_UP, rounds):
        for side in sides:
            take_marks()
            before = house.cpu()
            values = await side.run()
            cpu = (house.cpu() - before) * 1000 / steps
            if number >= 0:
                side.values += values
                side.cpu.append(cpu)


def _rows(measure: str, sides: Sequence[Side], *, cpu: bool = False) -> list[Row]:
    ours, peers = sides[0], sides[1:]
    rows = [Row(measure, "ms", Sample(ours.values), peer.name, Sample(peer.values)) for peer in peers]
    if cpu:
        spent = Sample(ours.cpu)
        rows += [Row(f"{measure}, CPU", "CPU ms", spent, peer.name, Sample(peer.cpu)) for peer in peers]
    return rows


async def measure_start(house: House, rounds: int) -> list[Row]:
    """Start to result: a process that ends at once, against a workflow with one activity."""
    await house.publish("empty", EMPTY)

    async def ours() -> list[float]:
        began = time.perf_counter()
        run = await house.start("process", "empty")
        while not run.finished:
            run = await house.changed(run)
        return [(time.perf_counter() - began) * 1000]

    def bare(peer: Peer, kinds: tuple[str, ...]) -> Callable[[], Awaitable[list[float]]]:
        async def run() -> list[float]:
            began = time.perf_counter()
            await peer.run("BareSteps", Steps(kinds=kinds))
            return [(time.perf_counter() - began) * 1000]

        return run

    sides = [Side("ours", ours)]
    sides += [Side(f"{peer.name}: 1 activity", bare(peer, ("engine",))) for peer in house.peers]
    sides.append(Side(f"{house.peers[0].name}: 5 activities", bare(house.peers[0], ("engine",) * 5)))
    await _measure(house, sides, rounds)
    return _rows("start to result", sides, cpu=True)


async def measure_nodes(house: House, rounds: int, nodes: int) -> list[Row]:
    """From one tool node to the next, against one activity each, and against two as ours has them."""
    await house.publish("chain", chain(nodes))

    async def ours() -> list[float]:
        await house.run("process", "chain")
        return gaps_ms(take_marks())

    def bare(peer: Peer, each: tuple[str, ...]) -> Callable[[], Awaitable[list[float]]]:
        async def run() -> list[float]:
            await peer.run("BareSteps", Steps(kinds=each * nodes))
            return gaps_ms(take_marks())

        return run

    sides = [Side("ours", ours)]
    sides += [Side(f"{peer.name}: 1 activity", bare(peer, ("tools",))) for peer in house.peers]
    sides.append(Side(f"{house.peers[0].name}: 2 activities", bare(house.peers[0], ("tools", "engine"))))
    await _measure(house, sides, rounds, nodes)
    return _rows("process node", sides, cpu=True)


async def measure_decision(house: House, rounds: int) -> list[Row]:
    """From a decision to the call of the next tool, against a signal and an update to a workflow that waits."""
    await house.publish("decision", DECISION)

    async def ours() -> list[float]:
        run = await house.start("process", "decision")
        while not (tasks := await house.platform.runs.tasks(house.principal, run_id=run.run_id)):
            run = await house.changed(run)
        await anyio.sleep(PARK_S)
        task_id = tasks[0].task_id
        answer = TaskAnswer(task_id=task_id, by=house.principal, decision="approve")
        began = time.perf_counter()
        await house.platform.control.answer(house.principal, task_id, answer)
        await house.platform.control.result(run)
        return [(take_marks()[0] - began) * 1000]

    def bare(peer: Peer, how: str) -> Callable[[], Awaitable[list[float]]]:
        async def run() -> list[float]:
            handle = await peer.start("BareDecision", Empty())
            await _activity_done(peer, handle.id)
            await anyio.sleep(PARK_S)
            began = time.perf_counter()
            if how == "signal":
                await handle.signal("decide", Step(number=1))
            else:
                await handle.execute_update("answer", Step(number=1))
            await handle.result()
            return [(take_marks()[0] - began) * 1000]

        return run

    sides = [Side("ours", ours)]
    sides += [Side(f"{peer.name}: {how}", bare(peer, how)) for peer in house.peers for how in ("update", "signal")]
    await _measure(house, sides, rounds)
    return _rows("decision to effect", sides)


async def _activity_done(peer: Peer, workflow_id: str) -> None:
    """Return when a workflow has had its first activity and the workflow task after it (10 events)."""
    handle = peer.client.get_workflow_handle(workflow_id)
    with anyio.fail_after(WAIT_S):
        while (await handle.describe()).history_length < 10:  # noqa: ASYNC110 - the event is in another process
            await anyio.sleep(0.01)


async def measure_turns(house: House, rounds: int, turns: int) -> list[Row]:
    """From one tool call of an agent to the next: a scripted model turn and a tool, against two activities."""

    async def ours() -> list[float]:
        await house.talk(turns)
        return gaps_ms(take_marks())

    def bare(peer: Peer) -> Callable[[], Awaitable[list[float]]]:
        async def run() -> list[float]:
            await peer.run("BareSteps", Steps(kinds=("model", "tools") * turns))
            return gaps_ms(take_marks())

        return run

    sides = [Side("ours", ours), *(Side(f"{peer.name}: 2 activities", bare(peer)) for peer in house.peers)]
    await _measure(house, sides, rounds, turns)
    return _rows("agent turn", sides, cpu=True)
