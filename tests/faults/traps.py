"""Traps inside the server: places at which it kills itself, the n-th time they are reached after one was set.

The settings of a fault house name this module among `models.scripts`, so that `register()` runs in the server before
its parts are made. A trap is a file; whoever springs it removes it first, so that it is sprung once.
"""

import functools
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from temporalio.client import Client

from engine.runs import Change
from engine.transcript import ModelRequest
from providers.scripted import Scripted, ScriptedReply, answer, register_script
from server.store.effects import SqlEffects
from server.store.runs import SqlRunStore

TRAP = "FAULTS_TRAP"
GATE = "FAULTS_GATE"
LEDGER = "FAULTS_LEDGER"
PLAY = "FAULTS_PLAY"
GATED = "gated"

PLACES: tuple[tuple[type[Any], str, str], ...] = (
    (Client, "start_workflow", "start"),
    (SqlRunStore, "apply", "change"),
    (SqlEffects, "begin", "intent"),
    (SqlEffects, "finish", "outcome"),
    (Scripted, "generate", "model"),
)
"""What is trapped before and after: owner, method, and the place's name in a trap.

A change of a run is also a place by the last word of its key, as in `answered:after`: committed, not acknowledged.
"""


def register() -> None:
    """Put the traps around the places, and make the model known that answers when its gate is opened."""
    for owner, name, place in PLACES:
        setattr(owner, name, _trapped(getattr(owner, name), place))
    register_script(GATED, _gated)


def set_trap(file: Path, place: str, number: int = 1) -> None:
    """Have the server die the `number`-th time that `place` is reached, such as `change:after`."""
    # In one go: the server looks at it at any moment.
    whole = file.with_suffix(".new")
    whole.write_text(json.dumps({"place": place, "number": number}))
    whole.replace(file)


def spring(place: str) -> None:
    """Die here, if a trap is set for this time."""
    file = Path(os.environ[TRAP])
    try:
        trap = json.loads(file.read_text())
    except FileNotFoundError:
        return
    if trap["place"] != place:
        return
    if trap["number"] > 1:
        set_trap(file, place, trap["number"] - 1)
        return
    file.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def _trapped(inner: Callable[..., Awaitable[Any]], place: str) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(inner)
    async def outer(*args: Any, **kwargs: Any) -> Any:
        spring(f"{place}:before")
        result = await inner(*args, **kwargs)
        spring(f"{place}:after")
        for change in args:
            if isinstance(change, Change):
                spring(f"{change.key.rpartition('/')[2]}:after")
        return result

    return outer


async def _gated(request: ModelRequest) -> ScriptedReply:
    while not Path(os.environ[GATE]).exists():
        await anyio.sleep(0.05)
    return answer({"said": "the gate is open"})
