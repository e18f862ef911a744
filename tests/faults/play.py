"""Inside the server: models and tools that answer as a scenario has it, so that any definition can be run for real.

The settings of a house name this module among `models.scripts`. A play is a file; without one everything works as it
does elsewhere. Tools of the examples that have effects take effect, unless the scenario has them fail; other tools
answer with the scenario's result. The model of interactions and agents is `scripted/played`. What was given to whom
stands in a file beside the play, so that whoever asks again, after a crash too, is given the same.
"""

import functools
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from engine.ports import InteractionCall, ToolInvocation, ToolOutcome
from engine.process.definition import Fixture, NodeBase, ProcessDefinition, Scenario
from engine.transcript import ModelRequest
from engine.values import Value, digest
from providers.scripted import ScriptedReply, answer, calls, register_script
from server.activities import process
from server.activities.scripts import Scripts
from tests.faults.traps import PLAY

PLAYED = "played"
REAL = (
    "accounts_payable.enter",
    "accounts_payable.pay",
    "back_office.enter",
    "back_office.notify",
    "back_office.withdraw",
)
"""The tools of the examples that have effects: they are called."""

_step: ContextVar[str] = ContextVar("step", default="")


class Play(Value):
    """A scenario: what each node gives, which keys the agents among them write, and the scripts that are not run."""

    fixtures: dict[str, Fixture | tuple[Fixture, ...]]
    agents: dict[str, tuple[str, ...]]
    scripts: tuple[str, ...] = ()


def play_of(definition: ProcessDefinition, scenario: Scenario, *, scripts: bool = False) -> Play:
    """Return what the server has to know of a scenario; with `scripts` it gives what they give as well."""
    nodes = all_nodes(definition.nodes)
    given = tuple(name for name, node in nodes if node.type == "script" and name in scenario.fixtures and scripts)
    agents = {node_id: tuple(node.writes) for node_id, node in nodes if node.type == "agent"}
    return Play(fixtures=scenario.fixtures, agents=agents, scripts=given)


def all_nodes(nodes: Mapping[str, Any]) -> list[tuple[str, NodeBase]]:
    """Return the nodes of a graph and those inside them, with their ids."""
    found: list[tuple[str, NodeBase]] = []
    for node_id, node in nodes.items():
        found.append((node_id, node))
        for nested in node.bodies():
            found += all_nodes(nested.body.nodes)
    return found


def set_play(file: Path, play: Play) -> None:
    """Have the server play a scenario from its beginning."""
    _given(file).unlink(missing_ok=True)
    file.write_text(play.model_dump_json())


def register() -> None:
    """Make the model known and put the scenario in front of the activities."""
    register_script(PLAYED, played)
    for owner, name, inner in wrapped():
        setattr(owner, name, inner)


def wrapped() -> list[tuple[Any, str, Callable[..., Awaitable[Any]]]]:
    """Return the ways to a model, a tool and the sandbox, with the scenario in front of them: owner, name, way."""
    interact, call = getattr(process, "_interact"), getattr(process, "_call")  # noqa: B009 - inside the module by design
    sandbox = Scripts.sandbox

    @functools.wraps(interact)
    async def interacting(parts: Any, asked: InteractionCall) -> Any:
        _step.set(asked.key)
        fixture = _take(_node_of(asked.key), asked.key)
        _fail(fixture)
        return await interact(parts, asked)

    @functools.wraps(call)
    async def calling(parts: Any, asked: ToolInvocation) -> Any:
        fixture = _take(asked.node, asked.key)
        _fail(fixture)
        if fixture is None or asked.tool in REAL:
            return await call(parts, asked)
        return ToolOutcome(outcome="ok", value=fixture.result)

    @functools.wraps(sandbox)
    async def opening(scripts: Scripts) -> Any:
        return _PlayedSandbox(await sandbox(scripts))

    return [(process, "_interact", interacting), (process, "_call", calling), (Scripts, "sandbox", opening)]


class _PlayedSandbox:
    """Runs scripts, but for those whose results the scenario gives."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.check = inner.check

    async def run(self, code: str, given: dict[str, JsonValue], *, name: str, seed: str, **more: Any) -> Any:
        play = _play()
        if play is None or name not in play.scripts:
            return await self._inner.run(code, given, name=name, seed=seed, **more)
        fixture = _take(name, seed)
        _fail(fixture)
        return SimpleNamespace(value=fixture.result if fixture else None, printed="")


def played(request: ModelRequest) -> ScriptedReply:
    """Answer as the scenario has it; an agent learns a skill first, if it is offered one."""
    play = _play()
    assert play is not None, "nothing is played"
    wanted = sorted(set((request.output_schema or {}).get("properties", {})) - {"_next"})
    agent = next((node_id for node_id, writes in play.agents.items() if sorted(writes) == wanted), None)
    if agent is None or _step.get():
        fixture = _take(_node_of(_step.get()), _step.get())
        assert fixture is not None, f"the scenario has nothing for {_step.get()}"
        return answer(fixture.result)
    lesson = next((tool.name for tool in request.tools if tool.name.startswith("learn_")), None)
    if lesson and request.tool_choice != "none" and all(message.role != "assistant" for message in request.messages):
        return calls((lesson, {}))
    fixture = _take(agent, digest(request.messages[0].text + request.messages[1].text))
    assert fixture is not None, f"the scenario has nothing for {agent}"
    return answer(fixture.result) if fixture.error is None else ScriptedReply(text="I don't know.")


def _node_of(key: str) -> str:
    """Return the node of a step: `step/4.each[2]/1.read` is of `read`."""
    return key.rpartition("/")[2].partition(".")[2]


def _fail(fixture: Fixture | None) -> None:
    if fixture is not None and fixture.error is not None:
        raise ApplicationError("the scenario has it so", type=fixture.error, non_retryable=True)


def _play() -> Play | None:
    file = os.environ.get(PLAY)
    if file is None or not Path(file).exists():
        return None
    return Play.model_validate_json(Path(file).read_text())


def _take(node_id: str, key: str) -> Fixture | None:
    """Return what a node gives to whoever asks by `key`: of several fixtures the next, the last one again and again."""
    play = _play()
    given = play.fixtures.get(node_id) if play is not None else None
    if given is None or isinstance(given, Fixture):
        return given
    return given[min(_number(node_id, key), len(given) - 1)]


def _number(node_id: str, key: str) -> int:
    file = _given(Path(os.environ[PLAY]))
    known: dict[str, JsonValue] = json.loads(file.read_text()) if file.exists() else {}
    keys = known.setdefault(node_id, [])
    assert isinstance(keys, list)
    if key not in keys:
        keys.append(key)
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps(known))
        beside.replace(file)
    return keys.index(key)


def _given(file: Path) -> Path:
    return file.with_name(f"{file.stem}-given.json")
