"""Google Gemini: generateContent, and the Interactions API where a route says so; one account and one channel for both.

Source: the types of the `google-genai` SDK 3.4, which carries the bytes. Always streamed, never retried, nothing called
automatically. The events are read here and strictly: the API ends every kind of answer with `STOP` or with silence.
"""

import json
from typing import Any
from urllib.parse import quote

from engine.transcript import Delta, FinishKind, ModelReply, ModelRequest, Part, Reasoning, Text, ToolCall, Usage
from engine.values import new_id
from providers import gemini_interactions, gemini_interactions_render, gemini_render
from providers.base import DEFAULT_TIMEOUT_S, LoadMedia, OnDelta
from providers.cache import Outgoing, last_own
from providers.errors import InvalidRequest, MalformedReply, Unauthorized
from providers.gemini_render import API, PROVIDER
from providers.gemini_reply import Block, Call
from providers.gemini_transport import Channel, failure
from providers.plain import read_object
from providers.streams import Attempt, Together
from providers.wire import ToolNames, check_request

FINISHES: dict[str, FinishKind] = {
    "STOP": "done",
    "MAX_TOKENS": "length",
    "CONTINUATION": "paused",
    "TOO_MANY_TOOL_CALLS": "cut_off",
    "MALFORMED_FUNCTION_CALL": "malformed",
    "MALFORMED_RESPONSE": "malformed",
    "UNEXPECTED_TOOL_CALL": "malformed",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
    "ESCALATION": "refusal",
    "PUP_LIMITED_DISABLED": "refusal",
    "MODEL_ARMOR": "refusal",
    "LANGUAGE": "error",
    "OTHER": "error",
    "IMAGE_OTHER": "error",
    "NO_IMAGE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}
"""`finishReason` → the unified finish; a reason that is not listed finishes as `error`."""


class Gemini:
    """The Gemini wire for one account. Options of a route go into `generationConfig` as they are, apart from
    `api` (`interactions`; else generateContent), `api_version` and `effort` (the thinking level).

    The base URL may end in the API version, as in `https://host/v1beta`.
    """

    name = PROVIDER

    def __init__(
        self,
        api_key: str = "",
        base_url: str | None = None,
        load_media: LoadMedia | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if not api_key:
            raise Unauthorized("No API key is configured for gemini.", provider=PROVIDER)
        self._load_media = load_media
        self._channel = Channel(api_key, base_url, timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._channel.aclose()

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Stream one call and return its whole reply, or raise a `ProviderError`."""
        api = request.route.options.get("api", API)
        attempt, told = Attempt(PROVIDER, request.route.model), Together(on_delta)
        if api == API:
            names, body = await self._content(request)
            reader = _Reader(Call(API, request, attempt, names, _outgoing(request, body), told))
            path = f"{_path(request.route.model)}:streamGenerateContent?alt=sse"
        elif api == gemini_interactions_render.API:
            check_request(request, PROVIDER, gemini_interactions_render.WRITTEN_HERE)
            names = ToolNames(gemini_render.all_tools(request), PROVIDER, request.route.model)
            body = await gemini_interactions_render.RENDERERS[request.renderer](request, names, self._load_media)
            going = gemini_interactions_render.outgoing(request, body)
            reader = gemini_interactions.Reader(Call(str(api), request, attempt, names, going, told))
            path = "interactions"
        else:
            raise InvalidRequest(
                f"The route's option `api` is {api!r}; {PROVIDER} has {API} and {gemini_interactions_render.API}.",
                provider=PROVIDER,
                model=request.route.model,
            )
        async with self._channel.stream(path, body, attempt, _version(request)) as chunks:
            await attempt.follow(chunks, reader, told)
        return reader.reply()

    async def count_tokens(self, request: ModelRequest) -> int:
        """Return the provider's own count of the request's input tokens, as generateContent would be sent it."""
        attempt = Attempt(PROVIDER, request.route.model)
        _, body = await self._content(request)
        path = _path(request.route.model)
        asked = {"generateContentRequest": {"model": path, **body}}
        async with self._channel.stream(f"{path}:countTokens", asked, attempt, _version(request)) as chunks:
            content = b"".join([chunk async for chunk in chunks])
        counted = read_object(attempt, content).get("totalTokens")
        if not isinstance(counted, int):
            raise attempt.failure(MalformedReply, f"{PROVIDER} counted {counted!r} tokens, which is no number.")
        return counted

    async def _content(self, request: ModelRequest) -> tuple[ToolNames, Block]:
        check_request(request, PROVIDER, gemini_render.WRITTEN_HERE)
        names = ToolNames(gemini_render.all_tools(request), PROVIDER, request.route.model)
        return names, await gemini_render.RENDERERS[request.renderer](request, names, self._load_media)


def _path(model: str) -> str:
    return quote(model if "/" in model else f"models/{model}", safe="/")


def _version(request: ModelRequest) -> str | None:
    version = request.route.options.get("api_version")
    return None if version is None else str(version)


def _outgoing(request: ModelRequest, body: Block) -> Outgoing:
    return Outgoing.of(
        request,
        last_own(request.messages, PROVIDER, API),
        tools=body.get("tools"),
        system=body.get("systemInstruction"),
        entries=body["contents"],
    )


class _Reader:
    """Gathers the parts of the first candidate; unsigned pieces of one text are joined, everything else stays as it
    came. An event can hold several pieces, so they are given out here and not by `take`."""

    def __init__(self, call: Call) -> None:
        self.finished = False
        self._call = call
        self._parts: list[Block] = []
        self._call_ids: list[str] = []
        self._told: Block = {}
        self._candidate: Block = {}
        self._reply: ModelReply | None = None

    def take(self, event: dict[str, Any]) -> Delta | None:
        """Take one chunk: parts, and what is told beside them; a chunk with the reason of the end is the last."""
        if "error" in event:
            raise failure(self._call.attempt, None, event)
        self._told.update({name: value for name, value in event.items() if name != "candidates"})
        for candidate in event.get("candidates") or []:
            if candidate.get("index", 0) == 0:
                for part in (candidate.get("content") or {}).get("parts") or []:
                    self._part(part)
                self._candidate.update({name: value for name, value in candidate.items() if name != "content"})
        if self._candidate.get("finishReason") or self._blocked():
            self._reply = self._whole()
            self.finished = True
        return None

    def _blocked(self) -> str | None:
        return (self._told.get("promptFeedback") or {}).get("blockReason")

    def _part(self, part: Block) -> None:
        self._call.check_text(part)
        last = self._parts[-1] if self._parts else None
        if _is_plain(part):
            if not part["text"]:
                return
            if last is not None and _is_plain(last) and last.get("thought") == part.get("thought"):
                last["text"] += part["text"]
            else:
                self._parts.append(dict(part))
        else:
            self._parts.append(part)
        if "functionCall" in part:
            self._asked(part["functionCall"])
        elif "text" in part:
            self._give("reasoning" if part.get("thought") else "text", part["text"])

    def _asked(self, call: Block) -> None:
        call_id = call.get("id") or new_id("call")
        self._call_ids.append(call_id)
        self._give("tool", json.dumps(call.get("args") or {}, ensure_ascii=False), call_id)

    def _give(self, kind: Any, text: str, call_id: str | None = None) -> None:
        if text:
            self._call.told(Delta(kind=kind, text=text, call_id=call_id))

    def reply(self) -> ModelReply:
        """Return the whole reply; there is one once the reader has finished."""
        assert self._reply is not None
        return self._reply

    def _whole(self) -> ModelReply:
        raw = str(self._blocked() or self._candidate["finishReason"])
        return self._call.reply(
            model=self._told.get("modelVersion"),
            reply_id=self._told.get("responseId"),
            blocks=self._parts,
            parts=self._neutral(),
            kind="refusal" if self._blocked() else FINISHES.get(raw, "error"),
            raw=raw,
            usage=read_usage(self._told.get("usageMetadata") or {}),
            token=self._candidate.get("continuationToken"),
            diagnostics={
                "finish_message": self._candidate.get("finishMessage"),
                "safety_ratings": self._candidate.get("safetyRatings"),
                "prompt_feedback": self._told.get("promptFeedback"),
                "grounding": self._candidate.get("groundingMetadata"),
            },
        )

    def _neutral(self) -> list[Part]:
        parts: list[Part] = []
        ids = iter(self._call_ids)
        for part in self._parts:
            if "functionCall" in part:
                call = part["functionCall"]
                name = self._call.names.from_wire(call["name"])
                parts.append(ToolCall(id=next(ids), name=name, arguments=call.get("args") or {}))
            elif part.get("text"):
                parts.append(Reasoning(text=part["text"]) if part.get("thought") else Text(text=part["text"]))
        return parts


def _is_plain(part: Block) -> bool:
    """Tell whether a part is nothing but text, so that no signature is bound to where it begins and ends."""
    return "text" in part and part.keys() <= {"text", "thought"}


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return the unified usage. This wire's prompt includes what was cached, its candidates exclude the thoughts, and
    what its own tools put before the model is counted apart."""
    prompt = int(raw.get("promptTokenCount") or 0)
    read = int(raw.get("cachedContentTokenCount") or 0)
    tools = int(raw.get("toolUsePromptTokenCount") or 0)
    thoughts = int(raw.get("thoughtsTokenCount") or 0)
    return Usage(
        input_total=prompt + tools,
        input_uncached=max(0, prompt - read) + tools,
        cache_read=read,
        output_total=int(raw.get("candidatesTokenCount") or 0) + thoughts,
        reasoning=thoughts,
        tool_prompt=tools,
        raw=raw,
    )
