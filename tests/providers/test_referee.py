"""The referee itself: it accepts a good request of each wire, and refuses it after any of these changes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.providers import referee_anthropic, referee_chat, referee_gemini, referee_openai
from tests.providers.referee_rules import Exchange, Foul, Json, Turn

Mutation = Callable[[Json], Any]
MARK = {"cache_control": {"type": "ephemeral"}}
INLINE = {"anthropic-beta": referee_anthropic.INLINE_TOOLS}


def drop(place: list[Any], index: int) -> None:
    del place[index]


# --- Anthropic Messages ---

MESSAGES_SAID = [*referee_anthropic.think(1), *referee_anthropic.call("toolu_1", "learn", {})]
MESSAGES_ASKED: Json = {
    "model": "m",
    "stream": True,
    "system": [{"type": "text", "text": "Be brief.", **MARK}],
    "tools": [{"name": "learn"}, {"name": "rain", "defer_loading": True}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Rain?"}]}],
}
MESSAGES_PAST = [Exchange(MESSAGES_ASKED, Turn(MESSAGES_SAID, "tool_use"), "reply_1")]
LATE = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "late"}}}
MESSAGES_GOOD: Json = {
    **MESSAGES_ASKED,
    "diagnostics": {"previous_message_id": "reply_1"},
    "messages": [
        *MESSAGES_ASKED["messages"],
        {"role": "assistant", "content": MESSAGES_SAID},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "tool_reference", "tool_name": "rain"}],
                },
                {"type": "text", "text": "Go on.", **MARK},
            ],
        },
        {"role": "system", "content": [LATE]},
    ],
}


def results(body: Json) -> list[Json]:
    return body["messages"][2]["content"]


MESSAGES_FOULS: dict[str, tuple[str, Mutation]] = {
    "reasoning is missing": ("missing or changed", lambda body: drop(body["messages"][1]["content"], 0)),
    "redacted reasoning is missing": ("missing or changed", lambda body: drop(body["messages"][1]["content"], 1)),
    "a signature is changed": (
        "missing or changed",
        lambda body: body["messages"][1]["content"][0].update(signature="x"),
    ),
    "blocks change places": ("missing or changed", lambda body: body["messages"][1]["content"].reverse()),
    "the system is another": ("different conversation", lambda body: body["system"][0].update(text="Be long.")),
    "a shown tool is new": ("different conversation", lambda body: body["tools"].append({"name": "new"})),
    "an old message is edited": (
        "different conversation",
        lambda body: body["messages"][0]["content"][0].update(text="Snow?"),
    ),
    "a reference resolves to nothing": ("unresolved", lambda body: drop(body["tools"], 1)),
    "a reference beside text": (
        "beside other",
        lambda body: results(body)[0]["content"].append({"type": "text", "text": "x"}),
    ),
    "a call has no answer": ("don't match", lambda body: drop(results(body), 0)),
    "a call is answered twice": ("don't match", lambda body: results(body).insert(0, results(body)[0])),
    "text stands before the answer": ("results come first", lambda body: results(body).reverse()),
    "five cache markers": ("5 cache_control", lambda body: results(body)[1].update(many=[MARK] * 3)),
    "a deferred tool is marked": ("deferred marked", lambda body: body["tools"][1].update(MARK)),
    "every tool is deferred": ("must not be deferred", lambda body: body["tools"][0].update(defer_loading=True)),
    "a tool stands twice": ("declared twice", lambda body: body["tools"].append({"name": "learn"})),
    "an addition without its beta": ("needs the beta", lambda body: body.update(beta="")),
    "an addition of a known tool": (
        "defined twice",
        lambda body: body["messages"][3].update(content=[LATE, LATE]),
    ),
    "a user turn after a system entry": (
        "ends the user's turn",
        lambda body: body["messages"].append({"role": "user", "content": [{"type": "text", "text": "x"}]}),
    ),
    "two user turns": ("alternate", lambda body: body["messages"].insert(0, body["messages"][0])),
    "an empty text": ("empty text", lambda body: results(body)[1].update(text="")),
    "a message of somebody else": ("no message", lambda body: body["diagnostics"].update(previous_message_id="x")),
    "a loop without thinking thinks on": (
        "begin with thinking",
        lambda body: (
            body.update(thinking={"type": "enabled"}),
            body["messages"].extend(
                [
                    {"role": "assistant", "content": referee_anthropic.call("toolu_2", "learn", {})},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2"}]},
                ]
            ),
        ),
    ),
    "it is not streamed": ("streamed", lambda body: body.update(stream=False)),
}

# --- OpenAI Responses ---

RESPONSES_SAID = [*referee_openai.think(1), *referee_openai.call("call_1", "learn", {})]
RESPONSES_ASKED: Json = {
    "model": "m",
    "stream": True,
    "store": False,
    "tools": [{"type": "function", "name": "learn"}],
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Rain?"}]}],
}
RESPONSES_PAST = [Exchange(RESPONSES_ASKED, Turn(RESPONSES_SAID), "reply_1")]
RESPONSES_GOOD: Json = {
    **RESPONSES_ASKED,
    "prompt_cache_options": {"comparison_response_id": "reply_1"},
    "input": [
        *RESPONSES_ASKED["input"],
        *RESPONSES_SAID,
        {"type": "function_call_output", "call_id": "call_1", "output": "ok"},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "rain"}]},
    ],
}
RESPONSES_FOULS: dict[str, tuple[str, Mutation]] = {
    "reasoning is missing": ("missing or changed", lambda body: drop(body["input"], 1)),
    "reasoning is changed": ("missing or changed", lambda body: body["input"][1].update(encrypted_content="x")),
    "the phase is dropped": ("phase", lambda body: body["input"][2].pop("phase")),
    "a call is missing": ("missing or changed", lambda body: drop(body["input"], 3)),
    "a call has no answer": ("no answer", lambda body: body["input"].__delitem__(slice(4, None))),
    "a call is answered twice": ("no open call", lambda body: body["input"].append(body["input"][4])),
    "a message before the answer": ("open before", lambda body: body["input"].insert(4, body["input"][0])),
    "a tool is new in the list": ("different conversation", lambda body: body["tools"].append({"name": "new"})),
    "an old message is edited": ("different conversation", lambda body: body["input"][0].update(content=[])),
    "a tool is added twice": ("declared twice", lambda body: body["input"].append(body["input"][5])),
    "a user adds tools": ("only a developer", lambda body: body["input"][5].update(role="user")),
    "a response of somebody else": (
        "no response",
        lambda body: body["prompt_cache_options"].update(comparison_response_id="x"),
    ),
    "it is stored": ("store", lambda body: body.update(store=True)),
    "reasoning of somebody else": (
        "not mine",
        lambda body: body["input"].append({**referee_openai.think(2)[0]}),
    ),
}

# --- Gemini ---

GEMINI_SAID = [*referee_gemini.think(1), *referee_gemini.call("c1", "learn", {})]
GEMINI_ASKED: Json = {
    "contents": [{"role": "user", "parts": [{"text": "Rain?"}]}],
    "tools": [{"functionDeclarations": [{"name": "learn"}]}],
}
GEMINI_PAST = [Exchange(GEMINI_ASKED, Turn(GEMINI_SAID), "reply_1")]
GEMINI_GOOD: Json = {
    **GEMINI_ASKED,
    "contents": [
        *GEMINI_ASKED["contents"],
        {"role": "model", "parts": GEMINI_SAID},
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "learn", "response": {"output": "ok"}}}]},
    ],
}


def model_parts(body: Json) -> list[Json]:
    return body["contents"][1]["parts"]


def merge(body: Json) -> None:
    """Join the signed empty part with the thought before it."""
    thought, empty = model_parts(body)[:2]
    model_parts(body)[:2] = [{**thought, "thoughtSignature": empty["thoughtSignature"]}]


GEMINI_FOULS: dict[str, tuple[str, Mutation]] = {
    "a signature is missing": ("signature is missing", lambda body: model_parts(body)[2].pop("thoughtSignature")),
    "an empty signed part is dropped": ("signature is missing", lambda body: drop(model_parts(body), 1)),
    "signed parts are merged": ("missing or changed", merge),
    "a call is changed": (
        "missing or changed",
        lambda body: model_parts(body)[2]["functionCall"].update(args={"a": 1}),
    ),
    "a call has no response": ("without a response", lambda body: drop(body["contents"], 2)),
    "a call is answered twice": (
        "don't match",
        lambda body: body["contents"][2]["parts"].append(body["contents"][2]["parts"][0]),
    ),
    "a response has another name": (
        "don't match",
        lambda body: body["contents"][2]["parts"][0]["functionResponse"].update(name="x"),
    ),
    "two user contents": ("alternate", lambda body: body["contents"].append(body["contents"][2])),
    "a function stands twice": (
        "declared twice",
        lambda body: body["tools"][0]["functionDeclarations"].append({"name": "learn"}),
    ),
    "a foreign call has no signature": (
        "no thought signature",
        lambda body: body["contents"].extend(
            [
                {"role": "model", "parts": [{"functionCall": {"name": "learn", "args": {}}}]},
                {"role": "user", "parts": [{}]},
            ]
        ),
    ),
}

# --- Chat Completions ---

CHAT_SAID = referee_chat.call("call_1", "learn", {})
CHAT_ASKED: Json = {
    "model": "m",
    "stream": True,
    "messages": [{"role": "user", "content": "Rain?"}],
    "tools": [{"type": "function", "function": {"name": "learn"}}],
}
CHAT_PAST = [Exchange(CHAT_ASKED, Turn(CHAT_SAID), "reply_1")]
CHAT_GOOD: Json = {
    **CHAT_ASKED,
    "messages": [
        *CHAT_ASKED["messages"],
        {"role": "assistant", "tool_calls": CHAT_SAID},
        {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
    ],
}
CHAT_FOULS: dict[str, tuple[str, Mutation]] = {
    "a turn is missing": ("missing or changed", lambda body: body["messages"].__delitem__(slice(1, None))),
    "a call is changed": (
        "missing or changed",
        lambda body: body["messages"][1]["tool_calls"][0]["function"].update(arguments="{ }"),
    ),
    "a call has no answer": ("no answer", lambda body: drop(body["messages"], 2)),
    "a call is answered twice": ("no open call", lambda body: body["messages"].append(body["messages"][2])),
    "a message before the answer": ("open before", lambda body: body["messages"].insert(2, body["messages"][0])),
    "a function stands twice": ("declared twice", lambda body: body["tools"].append(body["tools"][0])),
    "a name the wire doesn't take": ("doesn't take", lambda body: body["tools"][0]["function"].update(name="a.b")),
    "a role of another wire": ("role", lambda body: body["messages"][0].update(role="model")),
}

WIRES = {
    "anthropic": (referee_anthropic.judge, MESSAGES_GOOD, MESSAGES_PAST, MESSAGES_FOULS),
    "openai": (referee_openai.judge, RESPONSES_GOOD, RESPONSES_PAST, RESPONSES_FOULS),
    "gemini": (referee_gemini.judge, GEMINI_GOOD, GEMINI_PAST, GEMINI_FOULS),
    "chat": (referee_chat.judge, CHAT_GOOD, CHAT_PAST, CHAT_FOULS),
}


@pytest.mark.parametrize("wire", WIRES)
def test_a_good_request_is_accepted(wire: str):
    judge, good, past, _ = WIRES[wire]
    judge(copy.deepcopy(good), INLINE, past)


FOULS = [pytest.param(wire, foul, id=f"{wire}: {foul}") for wire, (*_, fouls) in WIRES.items() for foul in fouls]


@pytest.mark.parametrize(("wire", "foul"), FOULS)
def test_a_changed_request_is_refused(wire: str, foul: str):
    judge, good, past, fouls = WIRES[wire]
    message, mutate = fouls[foul]
    body = copy.deepcopy(good)
    mutate(body)
    headers = {} if "beta" in body else INLINE
    with pytest.raises(Foul, match=message):
        judge(body, headers, past)
