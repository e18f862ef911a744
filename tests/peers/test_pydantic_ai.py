"""An independent implementation writes the same conversation for each wire; what it writes otherwise is argued.

`deploy/peers.sh` installs pydantic-ai; without it the comparison is skipped. The arguments are the table in
docs/providers.md: a difference that is not in it fails here, and so does a row that no longer holds.
"""

import base64
import json
import subprocess
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.transcript import ModelRequest
from providers.base import make_provider
from providers.errors import InvalidRequest
from tests.peers.facts import facts
from tests.peers.reading import objects
from tests.peers.transcripts import SKY, conversation, opening, speaker
from tests.providers.plain_server import Answer, Asked, PlainServer, plain_server
from tests.providers.wires import BY_NAME, Json, Wire

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools" / "peers" / "pydantic-ai" / "bin" / "python"
PEER = Path(__file__).parent / "pydantic_ai_peer.py"
PAGE = ROOT / "docs" / "providers.md"
CASES = [("anthropic", "openai"), ("openai", "anthropic"), ("gemini", "openai"), ("chat", "anthropic")]
"""The wire that writes, and the one that has spoken in between."""

Row = tuple[str, str, str, str]


@dataclass
class Peer:
    """The process of pydantic-ai."""

    process: "subprocess.Popen[str]"
    version: str = ""

    def send(self, wire: Wire, server: PlainServer, request: ModelRequest) -> None:
        """Have it send `request` to `server`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        media = {"sky": base64.b64encode(SKY).decode()}
        told = {"wire": wire.name, "base_url": server.url + wire.referee, "media": media}
        self.process.stdin.write(json.dumps({**told, "request": request.model_dump(mode="json")}) + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        assert said, "pydantic-ai ended; its reason stands above"
        self.version = json.loads(said)["version"]


@pytest.fixture(scope="module")
def peer() -> Generator[Peer]:
    if not PYTHON.exists():
        pytest.skip("pydantic-ai is not installed; deploy/peers.sh installs it")
    process = subprocess.Popen([PYTHON, PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Peer(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


def refuse(asked: Asked) -> Answer:
    return 400, {"error": {"message": "kept", "type": "invalid_request_error"}}


async def load_sky(ref: str) -> bytes:
    return SKY


async def send_ours(wire: Wire, server: PlainServer, request: ModelRequest) -> None:
    provider = make_provider(speaker(wire), api_key="k", base_url=server.url + wire.referee, load_media=load_sky)
    with suppress(InvalidRequest):
        await provider.generate(request)
    await provider.aclose()


async def ours(wire: Wire, other: Wire) -> tuple[Json, Json]:
    """Return the first body of the conversation and the one to compare, as we write them."""
    with plain_server(refuse) as server, anyio.fail_after(120):
        await send_ours(wire, server, opening(wire))
        await send_ours(wire, server, conversation(wire, other))
    first, body = (asked.json for asked in server.asked)
    return first, body


def theirs(peer: Peer, wire: Wire, other: Wire) -> tuple[Json, Json]:
    """Return the same two as pydantic-ai writes them."""
    with plain_server(refuse) as server:
        peer.send(wire, server, opening(wire))
        peer.send(wire, server, conversation(wire, other))
    first, body = (asked.json for asked in server.asked)
    return first, body


def differences(wire: Wire, mine: dict[str, str], other: dict[str, str]) -> set[Row]:
    return {(wire.name, name, mine[name], other[name]) for name in mine if mine[name] != other[name]}


def argued(wire: Wire) -> set[Row]:
    """Return the differences that the page argues."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return {(row[0], row[1], row[2], row[3]) for row in rows if row[0] == wire.name and len(row) == 5 and row[4]}


@pytest.mark.parametrize(("name", "between"), CASES)
async def test_pydantic_ai_writes_the_same_facts_but_for_what_is_argued(peer: Peer, name: str, between: str):
    wire, other = BY_NAME[name], BY_NAME[between]
    request = conversation(wire, other)
    mine = facts(wire, other, request, *await ours(wire, other))
    its = facts(wire, other, request, *theirs(peer, wire, other))
    assert differences(wire, mine, its) == argued(wire)
    assert f"pydantic-ai {peer.version}" in PAGE.read_text(encoding="utf-8")


ANSWERED = (
    'learn_weather {}: 1; look {"at": "a"}: 1; look {"at": "b"}: 1; '
    'weather__rain {"city": "Rome"}: 1; weather__rain {"city": "Oslo"}: 1'
)


@pytest.mark.parametrize(("name", "between"), CASES)
async def test_what_no_argument_excuses_holds(name: str, between: str):
    wire, other = BY_NAME[name], BY_NAME[between]
    mine = facts(wire, other, conversation(wire, other), *await ours(wire, other))
    assert mine["calls, and the answers of each before the next turn"] == ANSWERED
    assert mine["reasoning of its own turns"] == "all of it, in order"
    assert mine["reasoning of the other provider"] == "none"
    assert mine["declared list after learning"] == "unchanged"


async def test_a_call_of_a_learned_tool_that_another_provider_made_has_the_namespace_that_openai_wants():
    """Found by the comparison: OpenAI declares a tool of the conversation in a namespace of its own name."""
    wire = BY_NAME["openai"]
    _, body = await ours(wire, BY_NAME["anthropic"])
    calls = [item for item in body["input"] if item["type"] == "function_call"]
    spaces = [(call["name"], call.get("namespace")) for call in calls]
    learned = ("weather__rain", "weather__rain")
    assert spaces == [("learn_weather", None), ("look", None), ("look", None), learned, learned]


def without_an_answer(body: Json) -> None:
    (turn,) = (turn for turn in body["messages"] if turn["content"][0].get("tool_use_id") == "look_a")
    del turn["content"][0]


def without_a_signature(body: Json) -> None:
    next(one for one in objects(body) if "signature" in one)["signature"] = ""


def without_the_reveal(body: Json) -> None:
    next(one for one in objects(body) if one.get("type") == "tool_reference")["tool_name"] = "another"


def with_another_breakpoint(body: Json) -> None:
    body["messages"][0]["content"][0]["cache_control"] = {"type": "ephemeral"}


def with_words_of_its_own(body: Json) -> None:
    body["messages"][0]["content"].append({"type": "text", "text": "Think step by step."})


@pytest.mark.parametrize(
    ("spoil", "noticed"),
    [
        (without_an_answer, "calls, and the answers of each before the next turn"),
        (without_a_signature, "reasoning of its own turns"),
        (without_the_reveal, "how a learned tool is shown"),
        (with_another_breakpoint, "cache breakpoints"),
        (with_words_of_its_own, "words beyond the transcript"),
    ],
)
async def test_a_request_that_was_spoilt_differs_in_one_fact(spoil: Callable[[Any], None], noticed: str):
    wire, other = BY_NAME["anthropic"], BY_NAME["openai"]
    request = conversation(wire, other)
    first, body = await ours(wire, other)
    before = facts(wire, other, request, first, body)
    spoil(body)
    changed = differences(wire, before, facts(wire, other, request, first, body))
    assert [name for _, name, _, _ in changed] == [noticed]
