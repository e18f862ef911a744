"""A server that answers every request with a canned streamed turn: a short text, then one call with an id of its own.

`python benchmarks/providers_server.py` prints its address and ends with its input. It reads requests to their end and
understands nothing of them but the path, so that what is measured is the client.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count

from benchmarks.providers_loop import MODEL, TOOLS, Json

TEXT = ("I will look at the ", "next place and then ", "say what I have found.")
ARGUMENTS = ('{"place": ', '"the harbour",', ' "days": 3}')
CALLED = TOOLS[0]["name"]
USAGE = (4_000, 60)


def anthropic(call_id: str) -> Iterator[Json]:
    """Speak Messages."""
    tokens = {"input_tokens": USAGE[0], "output_tokens": USAGE[1]}
    message = {"id": f"msg_{call_id}", "type": "message", "role": "assistant", "content": [], "model": MODEL}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "usage": tokens}}
    call = {"type": "tool_use", "id": call_id, "name": CALLED, "input": {}}
    parts = (("text", TEXT, {"type": "text", "text": ""}), ("partial_json", ARGUMENTS, call))
    for index, (field, pieces, block) in enumerate(parts):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        kind = "text_delta" if field == "text" else "input_json_delta"
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: piece}}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": tokens}
    yield {"type": "message_stop"}


def openai(call_id: str) -> Iterator[Json]:
    """Speak Responses."""
    numbers = count()
    content = [{"type": "output_text", "text": "".join(TEXT), "annotations": []}]
    message = {"type": "message", "id": f"msg_{call_id}", "role": "assistant", "status": "completed"}
    call = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": CALLED, "status": "completed"}
    items = [{**message, "content": content}, {**call, "arguments": "".join(ARGUMENTS)}]
    empty = [{**message, "content": []}, {**call, "arguments": ""}]
    kinds = ("response.output_text.delta", "response.function_call_arguments.delta")
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": USAGE[0], "output_tokens": USAGE[1], "total_tokens": sum(USAGE), **details}
    response = {"id": f"resp_{call_id}", "object": "response", "created_at": 1, "model": MODEL, "tools": []}
    response = {**response, "parallel_tool_calls": True, "tool_choice": "auto", "output": []}

    def event(kind: str, **fields: object) -> Json:
        return {"type": kind, "sequence_number": next(numbers), **fields}

    yield event("response.created", response={**response, "status": "in_progress"})
    for index, pieces in enumerate((TEXT, ARGUMENTS)):
        where = {"output_index": index, "item_id": items[index]["id"], "content_index": 0}
        yield event("response.output_item.added", output_index=index, item=empty[index])
        if index == 0:
            part = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.content_part.added", part=part, **where)
        for piece in pieces:
            yield event(kinds[index], delta=piece, logprobs=[], **where)
        yield event("response.output_item.done", output_index=index, item=items[index])
    yield event("response.completed", response={**response, "status": "completed", "output": items, "usage": usage})


def chat(call_id: str) -> Iterator[Json]:
    """Speak Chat Completions."""
    head = {"id": f"chatcmpl-{call_id}", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    function = {"name": CALLED, "arguments": ""}
    opening = {"index": 0, "id": call_id, "type": "function", "function": function}
    deltas: list[Json] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in TEXT)]
    deltas.append({"tool_calls": [opening]})
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in ARGUMENTS]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    usage = {"prompt_tokens": USAGE[0], "completion_tokens": USAGE[1], "total_tokens": sum(USAGE)}
    yield {**head, "choices": [], "usage": usage}


def gemini(call_id: str) -> Iterator[Json]:
    """Speak generateContent."""
    call = {"id": call_id, "name": CALLED, "args": json.loads("".join(ARGUMENTS))}
    usage = {"promptTokenCount": USAGE[0], "candidatesTokenCount": USAGE[1], "totalTokenCount": sum(USAGE)}
    head = {"modelVersion": MODEL, "responseId": f"response_{call_id}", "usageMetadata": usage}
    for part in ({"text": piece} for piece in TEXT):
        yield {**head, "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]}
    content = {"role": "model", "parts": [{"functionCall": call}]}
    yield {**head, "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}]}


SPEECH: dict[bytes, Callable[[str], Iterator[Json]]] = {
    b"/messages": anthropic,
    b"/responses": openai,
    b"/chat/completions": chat,
    b":streamGenerateContent": gemini,
}
"""Who speaks, by what the path ends with."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_numbers = count(1)


def _stream(path: bytes) -> list[bytes]:
    (speak,) = (speech for end, speech in SPEECH.items() if path.partition(b"?")[0].endswith(end))
    events = [
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n"
        for event in speak(f"call_{next(_numbers)}")
    ]
    if speak is chat:
        events.append("data: [DONE]\n\n")
    data = [event.encode() for event in events]
    return [HEAD, *(b"%x\r\n%s\r\n" % (len(event), event) for event in data), b"0\r\n\r\n"]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            lengths = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0]))
            for piece in _stream(first.split(b" ")[1]):
                writer.write(piece)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, limit=2**20)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
