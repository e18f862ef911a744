"""What a request says, wire by wire, in words that don't depend on who wrote it: the ground on which two are compared.

Only what the wires bind is read (calls and answers, reasoning, reveals, who says what); the order of fields, defaults
and whatever else no provider compares is not.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from engine.transcript import Message
from tests.providers.wires import Json

USE_TOOL = "use_tool"
FAILED = "It is dark there."
"""What the answer of the call says that failed; a wire without a mark for that says it in the text."""


@dataclass(frozen=True)
class Said:
    """One thing that a request says.

    Attributes:
        kind: what it is; `reasoning` is one piece of it, as shown, signed or encrypted.
        text: what is said; of a reveal, how it is written.
        call_id, name, given: of a call; the id of an answer as well, the name of a revealed tool as well.
        mark: how an answer says that its call failed; how a call names a learned tool.
    """

    kind: Literal["text", "call", "answer", "reasoning", "reveal"]
    role: str
    text: str = ""
    call_id: str = ""
    name: str = ""
    given: str = ""
    mark: str = ""


def _call(call_id: str, name: str, given: Json) -> Said:
    mark = "by its name"
    if name == USE_TOOL:
        name, given, mark = given["tool"].replace(".", "__"), given["arguments"], "through use_tool"
    return Said("call", "assistant", call_id=call_id, name=name, given=json.dumps(given, sort_keys=True), mark=mark)


def _answer(call_id: str, text: str, mark: str) -> Said:
    in_text = "in its text, as JSON" if text.startswith("{") else "in its text, in words"
    return Said("answer", "tool", text, call_id, mark=mark or in_text if FAILED in text else "")


def _reasoning(*pieces: str) -> Iterator[Said]:
    for piece in pieces:
        if piece:
            yield Said("reasoning", "assistant", piece)


def read_anthropic(role: str, block: Json) -> Iterator[Said]:
    """Read one block of a turn."""
    kind = block["type"]
    if kind == "text":
        yield Said("text", role, block["text"])
    elif kind == "thinking":
        yield from _reasoning(block["thinking"], block["signature"])
    elif kind == "redacted_thinking":
        yield from _reasoning(block["data"])
    elif kind == "tool_use":
        yield _call(block["id"], block["name"], block["input"])
    elif kind == "tool_result":
        inside: list[Json] = block.get("content", [])
        text = "".join(one["text"] for one in inside if one["type"] == "text")
        yield _answer(block["tool_use_id"], text, "by is_error" if block.get("is_error") else "")
        for one in inside:
            if one["type"] == "tool_reference":
                yield Said("reveal", role, "a reference in the answer", name=one["tool_name"])
    elif kind == "tool_addition":
        yield Said("reveal", role, "a reference in a system turn behind the answer", name=block["tool"]["name"])


def read_openai(role: str, item: Json) -> Iterator[Said]:
    """Read one item; a message without a type is the short form."""
    kind = item.get("type", "message")
    if kind == "message":
        content = item["content"] if isinstance(item["content"], list) else [{"text": item["content"]}]
        for block in content:
            if "text" in block:
                yield Said("text", item["role"], block["text"])
    elif kind == "reasoning":
        yield from _reasoning(item["id"], *(one["text"] for one in item["summary"]), item["encrypted_content"])
    elif kind == "function_call":
        yield _call(item["call_id"], item["name"], json.loads(item["arguments"]))
    elif kind == "function_call_output":
        yield _answer(item["call_id"], item["output"], "")
    elif kind == "additional_tools":
        for tool in item["tools"]:
            yield Said("reveal", role, "an appended additional_tools item", name=tool["name"])


def read_gemini(role: str, part: Json) -> Iterator[Said]:
    """Read one part; a signature is a piece of reasoning wherever it stands."""
    if "functionCall" in part:
        call = part["functionCall"]
        yield _call(call["id"], call["name"], call["args"])
    elif "functionResponse" in part:
        answer = part["functionResponse"]
        text = "".join(answer["response"].values())
        yield _answer(answer["id"], text, "by the key error" if "error" in answer["response"] else "")
    elif part.get("thought"):
        yield from _reasoning(part["text"])
    elif part.get("text"):
        yield Said("text", role, part["text"])
    yield from _reasoning(part.get("thoughtSignature", ""))


def read_chat(role: str, message: Json) -> Iterator[Said]:
    """Read one message."""
    content: Any = message.get("content")
    yield from _reasoning(message.get("reasoning_content", ""))
    if role == "tool":
        yield _answer(message["tool_call_id"], content, "")
        return
    for block in content if isinstance(content, list) else [{"text": content}]:
        if block.get("text"):
            yield Said("text", role, block["text"])
    for call in message.get("tool_calls") or []:
        yield _call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))


READ: dict[str, Callable[[str, Json], Iterator[Said]]] = {
    "anthropic": read_anthropic,
    "openai": read_openai,
    "gemini": read_gemini,
    "chat": read_chat,
}
"""How a block, an item, a part or a message of each wire is read."""


def entries(wire: str, body: Json) -> list[tuple[str, Json]]:
    """Return the blocks of a request in order, each with the role that says it."""
    if wire == "anthropic":
        turns = [("system", body["system"]), *((turn["role"], turn["content"]) for turn in body["messages"])]
    elif wire == "gemini":
        contents = [body["systemInstruction"] | {"role": "system"}, *body["contents"]]
        turns = [("assistant" if one["role"] == "model" else one["role"], one["parts"]) for one in contents]
    else:
        turns = [(one.get("role", ""), [one]) for one in body["input" if wire == "openai" else "messages"]]
    return [(role, block) for role, blocks in turns for block in blocks]


def read(wire: str, body: Json) -> list[Said]:
    """Return everything that the request says."""
    return [said for role, block in entries(wire, body) for said in READ[wire](role, block)]


def reasoning(wire: str, turns: list[Message]) -> list[str]:
    """Return every piece of reasoning of turns that this wire has made, in order."""
    blocks: list[Any] = [block for turn in turns if turn.native for block in turn.native.blocks]
    return [said.text for block in blocks for said in READ[wire]("assistant", block) if said.kind == "reasoning"]


def declared(wire: str, body: Json) -> list[str]:
    """Return the names of the declared tools, in order."""
    tools: list[Json] = body["tools"]
    if wire == "gemini":
        tools = [one for tool in tools for one in tool["functionDeclarations"]]
    return [(tool["function"] if wire == "chat" else tool)["name"] for tool in tools]


def objects(value: Any) -> Iterator[Json]:
    """Yield every object inside a JSON value."""
    if isinstance(value, dict):
        yield value
    inside: list[Any] = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for one in inside:
        yield from objects(one)
