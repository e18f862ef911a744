"""What a real prefix cache serves once a skill is learned, and once its tool is put into the list instead.

`deploy/peers.sh --cache`, then `python benchmarks/providers_cache.py`; prints a table. The model is llama.cpp's server
with SmolLM2, which reports how much of each prompt it had already; it can't call tools, so the call is put in its
mouth. It reads a deferred declaration like any other, from the start: what it shows is that the prompt keeps its bytes.
"""

import re
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

from benchmarks.figures import line
from engine.transcript import Message, ModelReply, ModelRequest, Route, ToolCall, ToolResult, ToolSpec, system, user
from providers.base import Provider, make_provider

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".tools" / "peers" / "llamacpp" / "bin" / "python"
SERVER = ROOT / "tests" / "peers" / "llamacpp_server.py"
WIRES = {"anthropic": "", "llamacpp": "/v1"}
"""The wires that the server speaks and the house can use, with the base path of each."""

TIMEOUT_S = 120.0
TURNS = 16
"""Turns before the skill is learned: a prompt of 3,500 tokens, for which the house names the cause of a miss itself."""

Way = Literal["learned", "listed"]


@dataclass(frozen=True)
class Served:
    """Of one wire and way: the tokens of the prompt before, and how many of the next prompt the cache served."""

    wire: str
    way: Way
    before: int
    prompt: int
    read: int
    reason: str | None

    @property
    def share(self) -> float:
        """The part of the earlier prompt that the cache served."""
        return self.read / self.before


@contextmanager
def real_model() -> Generator[str]:
    """Give the address of the model's server while the block runs."""
    command = [str(PYTHON), str(SERVER)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    output = process.stdout
    drain = threading.Thread(target=output.read, daemon=True)
    try:
        found = next(filter(None, (re.search(r"serves at (http://\S+)", said) for said in output)))
        drain.start()
        yield found.group(1)
    finally:
        process.stdin.close()
        process.wait(30)
        if drain.ident is not None:
            drain.join(10)
        output.close()


def _tool(name: str, deferred: bool = False) -> ToolSpec:
    place = {"type": "string", "description": f"the place that {name} is asked about"}
    schema = {"type": "object", "properties": {"place": place, "days": {"type": "integer"}}, "required": ["place"]}
    return ToolSpec(name=name, description=f"Report {name} of a place.", input_schema=schema, deferred=deferred)


LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
CORE = (LEARN, _tool("temperature"), _tool("wind"))
RAIN = _tool("weather.rain", deferred=True)


def _opening(wire: str, way: Way, turns: int) -> ModelRequest:
    """Return a conversation that has gone on for a while; with `learned` the tool is deferred from the start."""
    said: list[Message] = [system("You watch the weather. " + "Answer briefly and name the place. " * 8)]
    for number in range(turns):
        said.append(user(f"Report {number}: {'the wind turned and the air is colder than it was, ' * 10}what follows?"))
        if number < turns - 1:
            text = f"After report {number} {'it will stay as it is for the next hours, ' * 5}as far as can be seen."
            said.append(Message(role="assistant", parts=user(text).parts))
    return ModelRequest(
        route=Route(provider=wire, model="any-model"),
        messages=tuple(said),
        tools=(*CORE, RAIN) if way == "learned" else CORE,
        max_output_tokens=8,
        cache_key="run_1",
    )


def _after(request: ModelRequest, reply: ModelReply, way: Way) -> ModelRequest:
    """Return the next request: the skill was learned, and its tool is revealed or stands in the list from now on."""
    call = Message(role="assistant", parts=(ToolCall(id="learn_1", name=LEARN.name),))
    lesson = ToolResult(
        call_id="learn_1",
        name=LEARN.name,
        text="How rain is asked for.\n\nticket: weather@1",
        reveals=(RAIN,) if way == "learned" else (),
    )
    answered = Message(role="tool", parts=(lesson,))
    messages = (*request.messages, reply.message, user("And the rain?"), call, answered)
    tools = request.tools if way == "learned" else (*CORE, RAIN.model_copy(update={"deferred": False}))
    return request.model_copy(update={"messages": messages, "tools": tools})


async def measure(url: str, wire: str, way: Way, turns: int = TURNS) -> Served:
    """Make two turns after `turns` others and return what the cache served of the first prompt at the second."""
    provider: Provider = make_provider(wire, api_key="none", base_url=url + WIRES[wire], timeout_s=TIMEOUT_S)
    try:
        request = _opening(wire, way, turns)
        first = await provider.generate(request)
        second = await provider.generate(_after(request, first, way))
    finally:
        await provider.aclose()
    reason = second.cache.reason if second.cache is not None else None
    usage = second.usage
    return Served(wire, way, first.usage.input_total, usage.input_total, usage.cache_read, reason)


def main() -> None:
    if not PYTHON.exists():
        raise SystemExit("llama.cpp is not installed; deploy/peers.sh --cache installs it")
    print(
        line(("wire", "the tool is", "prompt before", "prompt after", "served", "of the prompt before", "cause told"))
    )
    print(line(["---"] * 7))
    ways: tuple[Way, ...] = ("learned", "listed")
    with real_model() as url:
        for wire in WIRES:
            for way in ways:
                one = anyio.run(measure, url, wire, way)
                counts = (f"{one.before:,}", f"{one.prompt:,}", f"{one.read:,}", f"{one.share:.0%}")
                print(line((wire, way, *counts, one.reason or "")), flush=True)


if __name__ == "__main__":
    main()
