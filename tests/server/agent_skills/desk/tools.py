"""Tools for tests of agents: each one behaves in one way; effects are lines of a ledger file that the call names."""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Annotated

from pydantic import Field

from skills.services import ToolContext
from skills.tool import tool

LOOK_S = 0.02
WORDS = [
    "river",
    "stone",
    "window",
    "bridge",
    "garden",
    "letter",
    "market",
    "winter",
    "candle",
    "harbour",
    "forest",
    "engine",
    "silver",
    "meadow",
]

_flags: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
_ticks: defaultdict[str, int] = defaultdict(int)


@tool()
async def add(ctx: ToolContext, a: int, b: Annotated[int, Field(ge=0)]) -> int:
    """Add two numbers."""
    return a + b


@tool(timeout_s=10)
async def wait_for(ctx: ToolContext, flag: str) -> str:
    """Return when another call has raised the flag."""
    await _flags[flag].wait()
    return f"seen {flag}"


@tool()
async def raise_flag(ctx: ToolContext, flag: str) -> str:
    """Raise a flag."""
    _flags[flag].set()
    return f"raised {flag}"


@tool()
async def tick(ctx: ToolContext, clock: str) -> int:
    """Return one more at every call: what a polling tool sees."""
    _ticks[clock] += 1
    return _ticks[clock]


@tool()
async def page(ctx: ToolContext, number: int, size: int = 5_000) -> str:
    """Return a page of text that is different for each number."""
    return f"page {number} ".ljust(size, "x")


@tool()
async def chapter(ctx: ToolContext, number: int, words: int = 400, fact: str = "") -> str:
    """Return a chapter of plain words; the fact stands in the middle of it."""
    half = [f"{WORDS[(number * 7 + at) % len(WORDS)]}" for at in range(words // 2)]
    return f"Chapter {number}. {' '.join(half)}. {fact} {' '.join(reversed(half))}."


@tool()
async def fail(ctx: ToolContext) -> str:
    """Fail in a way nobody expected."""
    raise RuntimeError("the drawer is stuck")


@tool(timeout_s=0.3)
async def hang(ctx: ToolContext) -> str:
    """Never return."""
    await asyncio.Event().wait()
    return ""


@tool(timeout_s=60)
async def hang_long(ctx: ToolContext, ledger: str) -> str:
    """Never return, and note in the ledger that it was told to end."""
    _write(ledger, "begun")
    try:
        await asyncio.Event().wait()
    finally:
        _write(ledger, "cancelled")
    return ""


@tool(effect="side_effecting")
async def note(ctx: ToolContext, ledger: str, text: str) -> str:
    """Write a line at every call."""
    _write(ledger, text)
    return f"noted {text}"


@tool(effect="always_ask")
async def erase(ctx: ToolContext, ledger: str) -> str:
    """Empty the ledger."""
    Path(ledger).write_text("")
    return "erased"


@tool(effect="side_effecting", timeout_s=60)
async def pay_blind(ctx: ToolContext, ledger: str, gate: str) -> str:
    """Pay at every call, then wait until the gate is open."""
    _write(ledger, f"blind {ctx.key}")
    await _opened(gate)
    return "paid"


@tool(effect="side_effecting", honours_key=True, timeout_s=60)
async def pay_keyed(ctx: ToolContext, ledger: str, gate: str) -> str:
    """Pay once for each key, then wait until the gate is open."""
    line = f"keyed {ctx.key}"
    if line not in Path(ledger).read_text().splitlines():
        _write(ledger, line)
    await _opened(gate)
    return "paid"


async def _opened(gate: str) -> None:
    while not Path(gate).exists():
        await asyncio.sleep(LOOK_S)


def _write(ledger: str, line: str) -> None:
    with Path(ledger).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
