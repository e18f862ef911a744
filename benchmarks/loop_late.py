"""What the activities of one turn cost this process at a short transcript and at a long one, with an instant model.

`python benchmarks/loop_late.py [--json FILE] [--messages N …] [--chars N] [--turns N] [--profile]`; prints a table. A
turn is the model's activity and that of its one call, each as the worker runs it; the log before them is written at
once. Milliseconds are CPU of this process with all its threads, so other load on the machine tells little. Nothing is
asserted. `--profile`: print what the turns at the longest transcript spent their time in.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from temporalio.testing import ActivityEnvironment

from benchmarks.figures import Report, Row, Sample, run
from benchmarks.floor_house import SKILLS
from engine.agent.log import TURN, assistant_key, finished_key, message_event, result_key
from engine.ports import AgentTask, AgentToolCalls, TurnMade, TurnOrder
from engine.runs import Change, EventDraft, Run, StartedWorkflow, StartRun
from engine.transcript import Message, ModelRequest, Route, ToolResult, user
from engine.values import Principal
from providers.scripted import Scripted, ScriptedReply, calls, register_script
from server.data_folder import open_data_folder
from server.platform import Platform, open_platform
from server.settings import Settings, TemporalSettings
from server.temporal_child import EmbeddedTemporal

ROUTE = Route(provider="scripted", model="late")
WARM = 3
"""So many turns are made before those that count."""

PER_TURN = 2
"""How many messages a turn adds: its own, and the one with the results."""


PRINCIPAL = Principal(tenant="local", subject="late")


@dataclass(frozen=True)
class Took:
    """CPU milliseconds of each turn: the model's activity, the tools', and of these what the instant model itself takes
    with its request; and of the first turn that a process makes of a run."""

    model: Sequence[float]
    tools: Sequence[float]
    itself: Sequence[float]
    first: float


_asked: list[ModelRequest] = []
"""The requests of the turn that was made last."""


def _answer(size: int, request: ModelRequest) -> ScriptedReply:
    _asked.append(request)
    return _asks(size)


def _asks(size: int) -> ScriptedReply:
    return calls(("probe.look", {"number": 1, "size": size}))


async def _history(turns: int, chars: int) -> list[EventDraft]:
    """Return the events of so many turns as the activities write them, each result of `chars` characters."""
    said = await Scripted([_asks(chars)]).generate(ModelRequest(route=ROUTE, messages=(user("look"),)))
    summary = said.model_dump(mode="json", exclude={"message"})
    drafts: list[EventDraft] = []
    for turn in range(1, turns + 1):
        (call,) = said.message.tool_calls
        result = ToolResult(call_id=call.id, name=call.name, text=f"{turn:>{chars}}")
        drafts += [
            message_event(assistant_key(turn), said.message),
            EventDraft(
                key=finished_key(turn), type=TURN, data={"turn": turn, "seen": len(drafts) + 3, "reply": summary}
            ),
            message_event(result_key(turn, call.id), Message(role="tool", parts=(result,))),
        ]
    return drafts


async def _begun(house: Platform, activities: dict[str, Any], turns: int, chars: int) -> tuple[Run, Route]:
    task = AgentTask(task="look", skills=(), tools=("probe.look",), model=str(ROUTE), approval="full")
    order = StartRun(kind="agent", definition="late", version="1", input=task.model_dump(mode="json"))
    made, _ = await house.runs.create(PRINCIPAL, order)
    started = StartedWorkflow(run=made.ref, principal=PRINCIPAL)
    plan = await ActivityEnvironment().run(activities["plan_agent"], started)
    if turns:
        events = tuple(await _history(turns, chars))
        await house.runs.apply(Change(run=made.ref, key="history", events=events))
    return made, plan.route


async def _take(house: Platform, messages: int, chars: int, turns: int, profile: cProfile.Profile | None) -> Took:
    """Make turns behind a transcript of so many messages, with activities that have read nothing yet."""
    activities: dict[str, Any] = {one.__name__: one for one in house.activities()}
    environment = ActivityEnvironment()
    before = max(0, messages // PER_TURN - 1)
    made, route = await _begun(house, activities, before, chars)
    model, tools, itself = list[float](), list[float](), list[float]()
    instant = Scripted()
    for turn in range(before + 1, before + WARM + turns + 1):
        counted = turn > before + WARM
        with profile if profile is not None and counted else nullcontext():
            moments = [time.process_time()]
            order = TurnOrder(run=made.ref, principal=PRINCIPAL, turn=turn, route=route)
            said: TurnMade = await environment.run(activities["model_turn"], order)
            moments.append(time.process_time())
            wanted = AgentToolCalls(run=made.ref, principal=PRINCIPAL, turn=turn, calls=said.calls)
            await environment.run(activities["agent_tools"], wanted)
            moments.append(time.process_time())
        model.append((moments[1] - moments[0]) * 1000)
        tools.append((moments[2] - moments[1]) * 1000)
        began = time.process_time()
        await instant.generate(_asked[-1])
        itself.append((time.process_time() - began) * 1000)
        _asked.clear()
    return Took(model[WARM:], tools[WARM:], itself[WARM:], model[0])


@asynccontextmanager
async def _open(options: argparse.Namespace, root: Path) -> AsyncGenerator[Platform]:
    """Give a house without workers: the activities are called from here."""
    folder = open_data_folder(root)
    temporal = TemporalSettings(durability=options.durability)
    settings = Settings(data=root, skills=(str(SKILLS),), temporal=temporal)
    async with EmbeddedTemporal(temporal, folder), open_platform(settings, folder) as house:
        yield house


async def measure(options: argparse.Namespace, root: Path) -> Report:
    """Return a row for each length: the turn, its two activities, and the first turn of a process."""
    report = Report()
    register_script(ROUTE.model, partial(_answer, options.chars))
    profile = cProfile.Profile() if options.profile else None
    async with _open(options, root) as house:
        await _take(house, 0, options.chars, WARM, None)
        longest, short = max(options.messages), None
        for messages in sorted(options.messages):
            took = await _take(house, messages, options.chars, options.turns, profile if messages == longest else None)
            short = short or took
            report.add(_rows(messages, took, min(options.messages), short))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    return report


def _rows(messages: int, took: Took, least: int, short: Took) -> list[Row]:
    def parts(one: Took) -> dict[str, Sequence[float]]:
        whole = [model + tools for model, tools in zip(one.model, one.tools, strict=True)]
        return {
            "turn": whole,
            "its model activity": one.model,
            "its tools activity": one.tools,
            "the instant model itself": one.itself,
            "first turn of a process": [one.first],
        }

    beside = parts(short)
    return [
        Row(f"{name} at {messages:,} messages", "CPU ms", Sample(values), f"at {least}", Sample(beside[name]))
        for name, values in parts(took).items()
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--messages", type=int, nargs="+", default=[20, 500, 2_000], help="lengths of the transcript")
    parser.add_argument("--chars", type=int, default=3_000, help="length of each result")
    parser.add_argument("--turns", type=int, default=25, help="how many turns are measured at each length")
    parser.add_argument("--profile", action="store_true", help="print where the longest spends its time")
    parser.add_argument("--durability", choices=("full", "normal"), default="full", help="of the embedded Temporal")
    return parser.parse_args()


def main() -> None:
    run("late", arguments(), measure)


if __name__ == "__main__":
    main()
