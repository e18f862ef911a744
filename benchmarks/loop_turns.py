"""What a turn of the loop costs early and late: ours, the same in memory, and peers, each with an instant model.

A turn is a call of the tool and its answer of 1,000 characters; it is timed from one call of the tool to the next.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bare import Steps
from benchmarks.figures import Row, Sample, gaps_ms, mark, take_marks
from benchmarks.floor_history import history_size
from benchmarks.floor_house import RESULT_CHARS, House
from benchmarks.loop_bare import QUEUE, BareRun
from engine.errors import Unavailable
from engine.ports import AgentTask
from engine.runs import StartedWorkflow, StartRun
from engine.transcript import Message, ModelRequest, Route, ToolResult, ToolSpec, system, user
from providers.scripted import Scripted, ScriptedReply, calls, register_script

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / ".tools" / "peers" / "pydantic-ai-temporal" / "bin" / "python"
LINE_BYTES = 2**24
PEERS = ("same", "empty", "pydantic-ai")
NEAR = 10
"""So many turns around a turn stand for it."""

ROUTE = Route(provider="scripted", model="floor")
TOOL = ToolSpec(name="probe.look", description="Answer with a text.", input_schema={"type": "object"})


_worked: list[float] = []
"""The CPU seconds of this process at each call of the model."""


@dataclass(frozen=True)
class Taken:
    """One run of one side: milliseconds of each turn, CPU milliseconds, bytes and events of history, each per turn.

    `worked` are the CPU milliseconds of this process from each model call to the next; none where the model is
    elsewhere. `failed`: why it ended early.
    """

    ms: Sequence[float]
    cpu_ms: float
    size: float = 0.0
    events: float = 0.0
    failed: str = ""
    worked: Sequence[float] = ()


Hold = Callable[[int], Awaitable[Taken]]
"""Holds a conversation of so many turns."""


@dataclass
class Side:
    """What one side has taken, run by run."""

    name: str
    hold: Hold
    taken: list[Taken] = field(default_factory=list[Taken])

    def near(self, turn: int, name: str = "ms") -> Sample | None:
        """Return what turns around `turn` took, or None where the side did not come so far."""
        each: list[Sequence[float]] = [getattr(taken, name) for taken in self.taken]
        found = [one for values in each for one in values[max(0, turn - NEAR) : turn + NEAR]]
        return Sample(found) if all(len(values) >= turn - NEAR // 2 for values in each) else None

    def each(self, name: str) -> Sample:
        """Return a value of every run."""
        return Sample([getattr(one, name) for one in self.taken])


def model(request: ModelRequest) -> ScriptedReply | str:
    """Call the tool, each time with another argument, as often as the task says; then answer."""
    _worked.append(time.process_time())
    made = sum(message.role == "assistant" for message in request.messages)
    asked = next(message.text for message in request.messages if message.role == "user")
    return calls((TOOL.name, {"number": made, "size": RESULT_CHARS})) if made < int(asked) else "done"


def _begin() -> None:
    take_marks()
    _worked.clear()


async def in_memory(turns: int) -> Taken:
    """Hold the conversation without anything that lasts: the same model and tool, and a list."""
    _begin()
    began = time.process_time()
    provider, messages = Scripted(), [system("You look at what you are told to."), user(str(turns))]
    while True:
        request = ModelRequest(route=ROUTE, messages=tuple(messages), tools=(TOOL,), cache_key="memory")
        message = (await provider.generate(request)).message
        messages.append(message)
        if not message.tool_calls:
            break
        (call,) = message.tool_calls
        mark()
        text = f"{call.arguments['number']:>{RESULT_CHARS}}"
        messages.append(Message(role="tool", parts=(ToolResult(call_id=call.id, name=call.name, text=text),)))
    spent = (time.process_time() - began) * 1000 / turns
    return Taken(gaps_ms(take_marks()), spent, worked=gaps_ms(_worked))


def ours(house: House) -> Hold:
    """Return our side: an agent run as every caller starts it."""

    async def hold(turns: int) -> Taken:
        _begin()
        cpu = house.cpu()
        run = await house.talk(turns)
        cpu = house.cpu() - cpu
        return await _taken(house, run.ref.workflow_id, turns, cpu)

    return hold


def same_activities(house: House) -> Hold:
    """Return a bare workflow that orders our own activities."""

    async def hold(turns: int) -> Taken:
        _begin()
        cpu, client = house.cpu(), house.platform.client
        task = AgentTask(task=f"{turns}", skills=(), tools=("probe.look",), model=str(ROUTE), approval="full")
        order = StartRun(kind="agent", definition="floor", version="1", input=task.model_dump(mode="json"))
        run, _ = await house.platform.runs.create(house.principal, order)
        started = StartedWorkflow(run=run.ref, principal=house.principal)
        bare = BareRun(started=started, prefix=house.platform.settings.temporal.task_queue_prefix)
        handle = await client.start_workflow("BareLoop", bare, id=run.ref.workflow_id, task_queue=QUEUE)
        await handle.result()
        cpu = house.cpu() - cpu
        return await _taken(house, handle.id, turns, cpu)

    return hold


def empty_activities(house: House) -> Hold:
    """Return a bare workflow with two activities a turn that do nothing: what two durable steps cost at least."""

    async def hold(turns: int) -> Taken:
        _begin()
        cpu, (peer, *_) = house.cpu(), house.peers
        handle = await peer.run("BareSteps", Steps(kinds=("model", "tools") * turns))
        cpu = house.cpu() - cpu
        return await _taken(house, handle.id, turns, cpu)

    return hold


async def _taken(house: House, workflow_id: str, turns: int, cpu: float) -> Taken:
    worked = gaps_ms(_worked)
    size, events = await history_size(house.platform.client, workflow_id)
    return Taken(gaps_ms(take_marks()), cpu * 1000 / turns, size / turns, events / turns, worked=worked)


@asynccontextmanager
async def pydantic_ai(house: House, most: int) -> AsyncGenerator[Side | None]:
    """Give pydantic-ai on the same Temporal, in a process of its own; None where it isn't installed.

    It carries its messages by value, so it holds `most` turns at the most.
    """
    if not PEER.exists():
        print("pydantic-ai is left out: deploy/peers.sh --bench installs it")
        yield None
        return
    running = house.temporal.running
    process = await asyncio.create_subprocess_exec(
        *(str(PEER), "-c", "from benchmarks.loop_pydantic_ai import main; main()"),
        *(running.address, running.namespace),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        limit=LINE_BYTES,
    )

    async def hold(turns: int) -> Taken:
        turns = min(turns, most)
        cpu = house.cpu() - time.process_time()
        told = await _ask(process, {"turns": turns})
        cpu = (house.cpu() - time.process_time() - cpu) * 1000 + told["cpu_ms"]
        return Taken(told["ms"], cpu / turns, told["bytes"] / turns, told["events"] / turns, told["failed"])

    try:
        yield Side(f"pydantic-ai on Temporal, at most {most} turns", hold)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def _ask(process: asyncio.subprocess.Process, what: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")
    answer = await process.stdout.readline()
    if not answer:
        raise Unavailable("the peer ended before its loop did; its reason stands above")
    return json.loads(answer)


async def measure_turns(house: House, turns: int, peer_turns: int, rounds: int, peers: Sequence[str]) -> list[Row]:
    """Return the rows of a turn early and late, the overhead of a turn, its CPU and its history.

    `peers`: those of `PEERS` that are measured beside ours and the loop in memory.
    """
    register_script(ROUTE.model, model)
    sides = [Side("ours", ours(house)), Side("in memory", in_memory)]
    if "same" in peers:
        sides.append(Side("bare workflow, same activities", same_activities(house)))
    if "empty" in peers:
        sides.append(Side("bare workflow, 2 empty activities", empty_activities(house)))
    async with AsyncExitStack() as stack:
        if "pydantic-ai" in peers:
            peer = await stack.enter_async_context(pydantic_ai(house, peer_turns))
            sides += [peer] if peer is not None else []
        for number in range(rounds + 1):
            for side in sides:
                # The first time around is for warming up.
                taken = await side.hold(turns if number else NEAR)
                side.taken += [taken] if number else []
                if taken.failed:
                    print(f"{side.name} ended after {len(taken.ms)} turns: {taken.failed}")
    return _rows(sides, turns)


def _rows(sides: Sequence[Side], turns: int) -> list[Row]:
    mine, memory, *others = sides
    rows: list[Row] = []
    looked = sorted({10, min(100, turns), turns})
    for turn in looked:
        took, quick = mine.near(turn), memory.near(turn)
        assert took is not None
        assert quick is not None
        rows += [Row(f"turn {turn:,}", "ms", took, side.name, side.near(turn)) for side in sides[1:]]
        over = Sample([one - quick.p50 for one in took.values])
        rows.append(Row(f"overhead of turn {turn:,} above memory", "ms", over, ""))
    for turn in looked:
        worked = mine.near(turn, "worked")
        assert worked is not None
        beside = (memory, *(side for side in others if side.taken[0].worked))
        name = f"CPU of turn {turn:,}, this process"
        rows += [Row(name, "CPU ms", worked, side.name, side.near(turn, "worked")) for side in beside]
        if turn != looked[0]:
            rows.append(Row(name, "CPU ms", worked, f"ours, turn {looked[0]}", mine.near(looked[0], "worked")))
    spent = mine.each("cpu_ms")
    rows += [Row("CPU of a turn, all processes", "CPU ms", spent, side.name, side.each("cpu_ms")) for side in sides[1:]]
    for name, unit in (("size", "bytes"), ("events", "events")):
        rows += [Row("history of a turn", unit, mine.each(name), side.name, side.each(name)) for side in others]
    return rows
