"""A strict server for both wires: it refuses with 400 what the real ones refuse, and remembers what it has said.

Its rules come from the SDKs' docstrings and the providers' documentation: own turns come back unchanged, each call is
answered once, references resolve, `phase` is kept. It checks one conversation; a test sees every body in `bodies`.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Self, cast

Json = dict[str, Any]


class Foul(Exception):
    """A rule is broken; the text is the answer's message."""


@dataclass
class Turn:
    """What the model says next: blocks or items, and how it ends. `raw` replaces the whole HTTP answer."""

    content: list[Json] = field(default_factory=list[Json])
    stop: str = "end_turn"
    usage: Json | None = None
    extra: Json = field(default_factory=dict[str, Any])
    raw: tuple[int, dict[str, str], bytes] | None = None


class Referee:
    """Serves `/v1/messages` and `/v1/responses` on loopback until the `with` block ends."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.said: list[list[Json]] = []
        referee = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                referee.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, headers, answer = referee.answer(self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def base_url(self, provider: str) -> str:
        """Return where the SDK of `provider` finds this server."""
        root = f"http://127.0.0.1:{self._server.server_address[1]}"
        return root if provider == "anthropic" else f"{root}/v1"

    def will_say(self, *turns: Turn) -> None:
        """Queue the next turns."""
        self.turns.extend(turns)

    def answer(self, path: str, body: Json) -> tuple[int, dict[str, str], bytes]:
        """Judge one request and return status, headers and body of the answer."""
        self.bodies.append(body)
        judge, speak = WIRES[path]
        try:
            if body.get("stream") is not True:
                raise Foul("every call is streamed")
            judge(body, self.said)
        except Foul as foul:
            error = {"error": {"type": "invalid_request_error", "message": str(foul)}}
            return 400, {"content-type": "application/json"}, json.dumps(error).encode()
        turn = self.turns.pop(0)
        if turn.raw is not None:
            return turn.raw
        self.said.append(turn.content)
        headers = {"content-type": "text/event-stream", "request-id": "req_1", "x-request-id": "req_1"}
        return 200, {**headers, "x-ratelimit-remaining-requests": "7"}, b"".join(map(event, speak(turn, body)))


def event(data: Json) -> bytes:
    """Return one server-sent event."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def check(holds: object, foul: str) -> None:
    """Raise the foul unless `holds`."""
    if not holds:
        raise Foul(foul)


def own_turns_unchanged(said: list[list[Json]], present: list[list[Json]]) -> None:
    """Every turn with something bound in it comes back, in order and equal in every field."""
    for turn in said:
        check(turn in present, f"a turn of mine is missing or changed: {json.dumps(turn)[:200]}")


# --- Anthropic Messages ---


def judge_messages(body: Json, said: list[list[Json]]) -> None:
    """Check one Messages request."""
    tools: dict[str, Json] = {tool["name"]: tool for tool in body.get("tools", [])}
    check(not tools or any(not tool.get("defer_loading") for tool in tools.values()), "one tool must not be deferred")
    marks = json.dumps(body).count('"cache_control"')
    check(marks <= 4, f"{marks} cache_control markers")
    check(not any("cache_control" in tool and tool.get("defer_loading") for tool in tools.values()), "deferred marked")
    turns: list[Json] = body["messages"]
    check(turns[0]["role"] == "user", "the first turn is the user's")
    check(all(a["role"] != b["role"] for a, b in pairwise(turns)), "the turns alternate")
    own_turns_unchanged(said, [turn["content"] for turn in turns if turn["role"] == "assistant"])
    signed = {block["signature"] for turn in said for block in turn if block["type"] == "thinking"}
    unanswered: list[str] = []
    for turn in turns:
        blocks: list[Json] = turn["content"]
        check(blocks, "an empty turn")
        results = [block for block in blocks if block["type"] == "tool_result"]
        check(blocks[: len(results)] == results, "results come first in a turn")
        check(sorted(block["tool_use_id"] for block in results) == sorted(unanswered), "calls and answers don't match")
        unanswered = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            check(block["type"] != "text" or block["text"], "an empty text block")
            check(block["type"] != "thinking" or block["signature"] in signed, "thinking that I never signed")
        for result in results:
            _judge_references(result, tools)
    check(not unanswered, "a call without an answer")


def _judge_references(result: Json, tools: dict[str, Json]) -> None:
    content: list[Json] = result.get("content", [])
    references = [block for block in content if block["type"] == "tool_reference"]
    check(not references or len(references) == len(content), "a reference beside other blocks")
    for block in references:
        check(tools.get(block["tool_name"], {}).get("defer_loading"), f"unresolved tool_reference {block['tool_name']}")


def speak_messages(turn: Turn, body: Json) -> Iterator[Json]:
    """Stream the turn as Messages events."""
    usage = turn.usage or {"input_tokens": 10, "output_tokens": 5}
    start = {"id": f"msg_{len(body['messages'])}", "type": "message", "role": "assistant", "content": []}
    yield {"type": "message_start", "message": {**start, "model": body["model"], "usage": usage, **turn.extra}}
    for index, block in enumerate(turn.content):
        opening, deltas = _opening(block)
        yield {"type": "content_block_start", "index": index, "content_block": opening}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": turn.stop, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def _opening(block: Json) -> tuple[Json, list[Json]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in halves(block["text"])]
    if block["type"] == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in halves(block["thinking"])]
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*thoughts, signature]
    if block["type"] == "tool_use":
        text = json.dumps(block["input"])
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in halves(text)]
    return block, []


def halves(text: str) -> list[str]:
    """Cut the text in two."""
    return [text[: len(text) // 2], text[len(text) // 2 :]]


# --- OpenAI Responses ---


def judge_responses(body: Json, said: list[list[Json]]) -> None:
    """Check one Responses request."""
    check(body.get("store") is False, "store must be false: nothing is kept here")
    items: list[Json] = body["input"]
    present = [json.dumps(item, sort_keys=True) for item in items]
    for turn in said:
        for item in turn:
            check(json.dumps(item, sort_keys=True) in present, f"an item of mine is missing or changed: {item}")
    known = [item for turn in said for item in turn]
    callable_now = {tool["name"] for tool in body.get("tools", [])}
    unanswered: set[str] = set()
    for item in items:
        kind = item["type"]
        check(kind != "reasoning" or item in known, "reasoning that is not mine")
        if kind == "function_call":
            check(item["name"] in callable_now, f"{item['name']} is called before it is declared")
            unanswered.add(item["call_id"])
        elif kind == "function_call_output":
            check(item["call_id"] in unanswered, f"no open call {item['call_id']}")
            unanswered.remove(item["call_id"])
        elif kind == "additional_tools":
            check(item["role"] == "developer", "only a developer adds tools")
            callable_now |= {tool["name"] for tool in item["tools"]}
        else:
            check(kind == "reasoning" or not unanswered, f"calls {unanswered} are open before the next turn")
    check(not unanswered, f"calls {unanswered} have no answer")


def speak_responses(turn: Turn, body: Json) -> Iterator[Json]:
    """Stream the turn as Responses events; `stop` is the status, or the reason of an incomplete response."""
    response: Json = {"id": f"resp_{len(body['input'])}", "model": body["model"], "status": "in_progress"}
    yield {"type": "response.created", "response": response}
    for index, item in enumerate(turn.content):
        yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
        for kind, text in _texts(item):
            for piece in halves(text):
                yield {"type": f"response.{kind}.delta", "output_index": index, "delta": piece}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    if turn.stop == "failed":
        yield {"type": "response.failed", "response": {**response, "status": "failed", **turn.extra}}
        return
    complete = turn.stop in ("end_turn", "completed")
    response["status"] = "completed" if complete else "incomplete"
    response["incomplete_details"] = None if complete else {"reason": turn.stop}
    response["usage"] = turn.usage or {"input_tokens": 10, "output_tokens": 5}
    yield {"type": f"response.{response['status']}", "response": {**response, "output": turn.content, **turn.extra}}


def _begun(item: Json) -> Json:
    unfinished = {"arguments": "", "encrypted_content": "incomplete", "content": [], "status": "in_progress"}
    return {**item, **{name: value for name, value in unfinished.items() if name in item}}


def _texts(item: Json) -> Iterator[tuple[str, str]]:
    if item["type"] == "message":
        yield from (("output_text", content["text"]) for content in item["content"])
    elif item["type"] == "reasoning":
        yield from (("reasoning_summary_text", entry["text"]) for entry in item["summary"])
    elif item["type"] == "function_call":
        yield "function_call_arguments", item["arguments"]


Judge = Callable[[Json, list[list[Json]]], None]
Speak = Callable[[Turn, Json], Iterator[Json]]
WIRES: dict[str, tuple[Judge, Speak]] = {
    "/v1/messages": (judge_messages, speak_messages),
    "/v1/responses": (judge_responses, speak_responses),
}


def blocks_of(said: object) -> list[Json]:
    """Return native blocks as plain objects."""
    return [cast(Json, block) for block in cast(list[Any], said)]
