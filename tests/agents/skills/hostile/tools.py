"""Tools that do what no tool should. What happened outside stands in files that the calls name."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from engine.errors import Invalid
from skills.services import ToolContext
from skills.tool import tool

LOOK_S = 0.01
_under_way = 0


@tool(timeout_s=0.2)
async def deaf(ctx: ToolContext, place: str) -> str:
    """Swallow every wish that it may end; return when the file `<place>/go` is there."""
    _note(place, "begun")
    while not Path(place, "go").exists():
        try:
            await asyncio.sleep(LOOK_S)
        except asyncio.CancelledError:
            _note(place, "told to end")
    return "the answer nobody waited for"


@tool(timeout_s=60)
async def deaf_long(ctx: ToolContext, place: str) -> str:
    """As `deaf`, with time."""
    return await deaf.function(ctx, place=place)


@tool(effect="side_effecting", timeout_s=60)
async def kill(ctx: ToolContext, place: str) -> str:
    """Have an effect and kill the process."""
    _note(place, f"paid {ctx.key}")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never said"


@tool()
async def exit_process(ctx: ToolContext) -> str:
    """End the process as scripts do."""
    sys.exit(3)


@tool()
async def interrupt(ctx: ToolContext) -> str:
    """Interrupt the process as a keyboard does."""
    raise KeyboardInterrupt


@tool()
async def pose_as_cancelled(ctx: ToolContext) -> str:
    """Claim to have been cancelled."""
    raise asyncio.CancelledError


@tool()
async def raise_odd(ctx: ToolContext) -> str:
    """Raise what is not even an Exception and can't be told."""
    raise Untold


@tool()
async def rant(ctx: ToolContext) -> str:
    """Fail with a message of five million characters, half of a character among them."""
    raise Invalid("no \ud800" + "x" * 5_000_000)


@tool()
async def break_promise(ctx: ToolContext) -> int:
    """Return a text where the schema promises a number."""
    broken: Any = "seven"
    return broken


@tool()
async def half_characters(ctx: ToolContext) -> str:
    """Return what no store takes: half of a character, and NUL."""
    return "a\ud800b\x00c"


@tool()
async def flood(ctx: ToolContext, size: int) -> str:
    """Return a text of that many characters."""
    return "x" * size


@tool()
async def count_me(ctx: ToolContext, number: int, place: str) -> str:
    """Note how many of its kind are under way."""
    return await _counted(number, place)


@tool(effect="side_effecting")
async def count_effect(ctx: ToolContext, number: int, place: str) -> str:
    """As `count_me`, with effects."""
    return await _counted(number, place)


@tool(effect="side_effecting", target="path")
async def write(ctx: ToolContext, path: str, text: str) -> str:
    """Write a line into a file."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return f"wrote {text}"


@tool(polls=True)
async def job_state(ctx: ToolContext, place: str) -> str:
    """Say how far a job is: the next line of the file `<place>/states`, the last one for ever."""
    states = Path(place, "states").read_text().split()
    seen = Path(place, "seen")
    count = len(seen.read_text()) if seen.exists() else 0
    seen.write_text("x" * (count + 1))
    return states[min(count, len(states) - 1)]


class Untold(BaseException):
    """Fails even when it is told."""

    def __str__(self) -> str:
        raise RuntimeError("not even that")


async def _counted(number: int, place: str) -> str:
    global _under_way
    _under_way += 1
    _note(place, str(_under_way))
    try:
        # A few turns of the loop: enough for every other call that may run to begin.
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.sleep(LOOK_S)
    finally:
        _under_way -= 1
    return f"number {number}"


def _note(place: str, line: str) -> None:
    with Path(place, "ledger").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
