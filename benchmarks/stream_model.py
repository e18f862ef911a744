"""A model on loopback that says the time: it streams Chat Completions, and each token is the moment it was sent.

`python -m benchmarks.stream_model` is a process of its own; its first line is its port, and each later one
`aborted SECONDS` for a call whose client left before its end. Moments are seconds of the system's monotonic clock,
which all processes of a machine share. How much is said stands in the last message of the user: `300 tokens at 50/s`.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

from server.long_lived import run

ASKED = re.compile(r"(\d+) tokens at (\d+)/s")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Return one event of the stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "cmpl_1", "model": "clock", "choices": [choice]}).encode() + b"\n\n"


BEFORE, AFTER = chunk({"content": "TOKEN"}).split(b"TOKEN")
"""What stands around a token: the model has the processors of the machine in common with what is measured."""


def wanted(body: bytes) -> tuple[int, float]:
    """Return how many tokens a request asks for, and how many a second."""
    found = ASKED.findall(body.decode())
    return (int(found[-1][0]), float(found[-1][1])) if found else (1, 50.0)


async def say(writing: asyncio.StreamWriter, tokens: int, rate: float) -> None:
    """Stream the tokens at their times, whether or not the one before was late."""
    began = asyncio.get_running_loop().time()
    for number in range(tokens):
        await asyncio.sleep(max(0.0, began + number / rate - asyncio.get_running_loop().time()))
        writing.write(b"%b%.6f %b" % (BEFORE, time.monotonic(), AFTER))
        await writing.drain()
    writing.write(chunk({}, "stop"))
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    writing.write(b"data: " + json.dumps({"id": "cmpl_1", "choices": [], "usage": usage}).encode() + b"\n\n")
    writing.write(b"data: [DONE]\n\n")
    await writing.drain()


async def answer(
    reading: asyncio.StreamReader, writing: asyncio.StreamWriter, aborted: Callable[[float], None]
) -> None:
    """Answer one request, and say so if its client leaves before the end."""
    head = await reading.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    body = await reading.readexactly(int(length[1]) if length else 0)
    writing.write(HEAD)
    saying = asyncio.ensure_future(say(writing, *wanted(body)))
    leaving = asyncio.ensure_future(reading.read())
    try:
        await asyncio.wait((saying, leaving), return_when=asyncio.FIRST_COMPLETED)
        # Whichever is noticed first: that nothing more will be asked, or that nothing can be said.
        if not saying.done() or saying.exception() is not None:
            aborted(time.monotonic())
    finally:
        saying.cancel()
        leaving.cancel()
        await asyncio.gather(saying, leaving, return_exceptions=True)
        writing.close()


async def serve(listening: Callable[[int], None], aborted: Callable[[float], None]) -> None:
    """Serve on a free port until cancelled."""

    async def handle(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await answer(reading, writing, aborted)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=512)
    listening(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    run(serve(lambda port: print(port, flush=True), lambda moment: print(f"aborted {moment:.6f}", flush=True)))
