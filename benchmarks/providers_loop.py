"""The tool loop that every client of the benchmark holds, and how its process is told to: the standard library alone.

A client is a process of its own environment. Lines tell it what to do: `{"wire", "url"}` to begin a conversation,
`{}` to make its next turn. Each is answered with a line `{"ms", "cpu_ms"}`: how long it took, and the processor's part.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Json = dict[str, Any]

MODEL = "any-model"
MAX_TOKENS = 1024
SYSTEM = "You watch the weather. " + "Look at each place before you answer, and say how sure you are. " * 20
ASKED = "Watch the weather of every place and report at the end."
RESULT = "At this place the wind blows from the west at twelve knots, and rain is not expected before the evening. " * 8
"""What each call is answered with: about 800 characters."""

TOOLS: list[Json] = [
    {
        "name": f"look_{number}",
        "description": f"Look at a place with instrument {number}, and return what it shows there.",
        "schema": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "where to look"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    }
    for number in range(10)
]
"""The tools; the model calls the first of them at each turn."""

Turn = Callable[[], Awaitable[str]]
"""Makes a turn, appends it with the answer of its call, and returns the call's id."""

Begin = Callable[[str, str], Turn]
"""Begins a conversation: the wire and the address of its server."""


def serve(begin: Begin) -> None:
    """Do as the lines of standard input tell, until it ends; one event loop for all conversations."""
    loop = asyncio.new_event_loop()
    turn: Turn | None = None
    calls: set[str] = set()
    for line in sys.stdin:
        told: Json = json.loads(line)
        began, began_cpu = time.perf_counter(), time.process_time()
        if told or turn is None:
            turn = begin(told["wire"], told["url"])
        else:
            call_id = loop.run_until_complete(turn())
            if call_id in calls:
                raise SystemExit(f"the call {call_id} was heard twice")
            calls.add(call_id)
        taken = {"ms": time.perf_counter() - began, "cpu_ms": time.process_time() - began_cpu}
        print(json.dumps({name: value * 1000 for name, value in taken.items()}), flush=True)
