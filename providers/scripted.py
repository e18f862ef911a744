"""A provider that says what a script tells it to: for tests, demonstrations and runs without any account.

It behaves like a wire: it streams in pieces, counts tokens and cache reads, fails with any `ProviderError`, refuses an
unanswered call and refuses its own earlier turns if they come back changed. Route `scripted/<name>` uses the script
registered under that name.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, cast

import anyio.lowlevel
from pydantic import ConfigDict, JsonValue

from engine.errors import Invalid
from engine.remembered import Remembered
from engine.transcript import (
    CacheFacts,
    Delta,
    FinishKind,
    Message,
    ModelReply,
    ModelRequest,
    Native,
    Part,
    Price,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from engine.values import Value, canonical_json, digest
from providers.base import DEFAULT_TIMEOUT_S, LoadMedia, OnDelta
from providers.cache import FIRST_TURN
from providers.errors import InvalidRequest, ProviderError
from providers.wire import Recent, check_request, own_blocks, parsed_output, settle

PROVIDER = "scripted"
API = "scripted"
CHARS_PER_TOKEN = 4
FREE = Price(usd=0.0, source="scripted")


class ScriptedReply(Value):
    """One reply of the script. A call without an id gets one that is unique in the conversation.

    `finish` defaults to what the content says. `fail` is raised instead of the reply, after `fail_after` pieces have
    been streamed. `piece` is the length of a streamed piece in characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: FinishKind = "done"
    fail: ProviderError | None = None
    fail_after: int = 0
    piece: int = 8
    diagnostics: dict[str, JsonValue] = {}


Line = ScriptedReply | ProviderError | str
"""What a script may say: a reply, a failure, or the text of a reply."""

ScriptFunction = Callable[[ModelRequest], Line | Awaitable[Line]]
Script = Iterable[Line] | ScriptFunction
"""A list or generator of lines, one for each call in order, or a function of the request, which may be async.

A function keeps working across processes and retries, since everything it needs is in the request."""

_SCRIPTS: dict[str, ScriptFunction] = {}


def calls(*wanted: tuple[str, dict[str, JsonValue]], text: str = "") -> ScriptedReply:
    """Return a reply that calls tools: `calls(("search", {"query": "rain"}))`; several calls are parallel."""
    return ScriptedReply(
        text=text, tool_calls=tuple(ToolCall(id="", name=name, arguments=arguments) for name, arguments in wanted)
    )


def answer(value: JsonValue) -> ScriptedReply:
    """Return a reply whose text is `value` as JSON, for requests with an output schema."""
    return ScriptedReply(text=json.dumps(value, ensure_ascii=False))


def register_script(name: str, script: ScriptFunction) -> None:
    """Make `script` answer the route `scripted/<name>` in this process; a later one replaces an earlier one."""
    _SCRIPTS[name] = script


def echo(request: ModelRequest) -> ScriptedReply:
    """Repeat the last thing the user said; the built-in script `scripted/echo`."""
    said = [message.text for message in request.messages if message.role == "user"]
    return ScriptedReply(text=said[-1] if said else "")


register_script("echo", echo)


class Scripted:
    """The scripted provider; without a script of its own it looks one up by the model of each request's route.

    With a script of its own, `requests` holds every request in order, for tests to look at.
    """

    name = PROVIDER

    def __init__(
        self,
        script: Script | None = None,
        *,
        api_key: str = "",
        base_url: str | None = None,
        load_media: LoadMedia | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.requests: list[ModelRequest] = []
        self._calls = 0
        self._function = script if callable(script) else None
        self._lines: Iterator[Line] | None = None if script is None or callable(script) else iter(script)
        self._seen: Recent[list[str]] = Recent()

    async def aclose(self) -> None:
        """Do nothing; there is no connection."""

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Return the script's next reply, streamed in pieces, or raise the failure it names."""
        check_request(request, PROVIDER, ())
        _check_seals(request)
        self._calls += 1
        if self._function is not None or self._lines is not None:
            # A server's provider lives as long as the server: it keeps nothing.
            self.requests.append(request)
        line = await self._next(request)
        if isinstance(line, ProviderError):
            raise line
        reply = ScriptedReply(text=line) if isinstance(line, str) else line
        parts = _parts(reply, request)
        for position, delta in enumerate(_pieces(parts, reply.piece)):
            if reply.fail is not None and position >= reply.fail_after:
                raise reply.fail
            await anyio.lowlevel.checkpoint()
            if on_delta is not None:
                on_delta(delta)
        if reply.fail is not None:
            raise reply.fail
        return self._whole(request, reply, parts)

    async def _next(self, request: ModelRequest) -> Line:
        if self._lines is not None:
            line = next(self._lines, None)
            if line is None:
                raise InvalidRequest(
                    f"The script ended before call {self._calls}; give it more replies.",
                    provider=PROVIDER,
                    model=request.route.model,
                )
            return line
        function = self._function or _SCRIPTS.get(request.route.model)
        if function is None:
            raise Invalid(
                f"There is no script {request.route.model!r}; use one of: {', '.join(sorted(_SCRIPTS))}.",
                script=request.route.model,
            )
        said = function(request)
        return await said if inspect.isawaitable(said) else said

    def _whole(self, request: ModelRequest, reply: ScriptedReply, parts: tuple[Part, ...]) -> ModelReply:
        parts, finish = settle(parts, reply.finish, reply.finish)
        content = cast(JsonValue, [part.model_dump(mode="json") for part in parts])
        block: JsonValue = {"scripted": content, "seal": digest(content)}
        usage, cache = self._usage(request, parts)
        return ModelReply(
            message=Message(
                role="assistant",
                parts=parts,
                native=Native(
                    provider=PROVIDER, api=API, model=request.route.model, blocks=(block,), renderer=request.renderer
                ),
            ),
            usage=usage,
            finish=finish,
            price=FREE,
            provider=PROVIDER,
            model=request.route.model,
            request_id=f"scripted_{self._calls}",
            output=parsed_output(request, parts, finish),
            cache=cache,
            diagnostics=reply.diagnostics,
        )

    def _usage(self, request: ModelRequest, parts: tuple[Part, ...]) -> tuple[Usage, CacheFacts]:
        """Count one token for four characters; what the conversation's last request began with is a cache read."""
        pieces = _rendered(request)
        before = self._seen.get(request.cache_key or "") or []
        same = 0
        while same < min(len(pieces), len(before)) and pieces[same] == before[same]:
            same += 1
        self._seen.put(request.cache_key or "", pieces)
        total = tokens(pieces)
        read = tokens(pieces[:same])
        thought = tokens([part.text for part in parts if isinstance(part, Reasoning)])
        spoken = [part.text if isinstance(part, Text) else _call_text(part) for part in parts]
        usage = Usage(
            input_total=total,
            input_uncached=total - read,
            cache_read=read,
            output_total=thought + tokens(spoken),
            reasoning=thought,
            raw={"input_tokens": total, "cached_tokens": read},
        )
        if before and same == len(before):
            return usage, CacheFacts(hit=True, read=read)
        missed = tokens(before) - read if before else None
        return usage, CacheFacts(hit=False, read=read, missed_tokens=missed, reason=_cause(request, before, same))


def _cause(request: ModelRequest, before: list[str], same: int) -> str:
    """Return what differs first between the pieces `before` and those of the request, which share the first `same`."""
    if not before:
        return FIRST_TURN
    if same == 0:
        return "model_changed"
    return "tools_changed" if same <= len(request.tools) else "messages_changed"


def tokens(pieces: Iterable[str]) -> int:
    """Return the tokens of the pieces together, rounded up."""
    return -(-sum(map(len, pieces)) // CHARS_PER_TOKEN)


def _rendered(request: ModelRequest) -> list[str]:
    """Write the request as a list that only grows when messages are appended: tools first, then each message."""
    tools = [canonical_json([tool.name, tool.description, tool.input_schema]) for tool in request.tools]
    spoken = [f'["{message.role}",[{",".join(map(_written, message.parts))}]]' for message in request.messages]
    return [request.route.model, *tools, *spoken]


def _call_text(part: Part) -> str:
    if not isinstance(part, ToolCall):
        return ""
    return part.name + (part.malformed if part.malformed is not None else canonical_json(part.arguments))


def _parts(reply: ScriptedReply, request: ModelRequest) -> tuple[Part, ...]:
    turn = sum(message.role == "assistant" for message in request.messages) + 1
    called = [
        call if call.id else call.model_copy(update={"id": f"call_{turn}_{position}"})
        for position, call in enumerate(reply.tool_calls, start=1)
    ]
    thought = [Reasoning(text=reply.reasoning)] if reply.reasoning else []
    spoken = [Text(text=reply.text)] if reply.text else []
    return (*thought, *spoken, *called)


def _pieces(parts: tuple[Part, ...], size: int) -> Iterator[Delta]:
    for part in parts:
        if isinstance(part, ToolCall):
            text = part.malformed if part.malformed is not None else canonical_json(part.arguments)
            yield from (
                Delta(kind="tool", text=text[at : at + size], call_id=part.id) for at in range(0, len(text), size)
            )
        elif isinstance(part, Text | Reasoning):
            text = part.text
            yield from (Delta(kind=part.type, text=text[at : at + size]) for at in range(0, len(text), size))


def _write(part: Part) -> str:
    return canonical_json(part.model_dump(mode="json"))


def _is_sealed(native: Native) -> bool:
    blocks = cast(tuple[dict[str, Any], ...], native.blocks)
    return all(block.get("seal") == digest(block.get("scripted")) for block in blocks)


_written, _sealed = Remembered(_write), Remembered(_is_sealed)


def _check_seals(request: ModelRequest) -> None:
    own = (message.native for message in request.messages if own_blocks(message, PROVIDER, API) is not None)
    if not all(_sealed(native) for native in own if native is not None):
        raise InvalidRequest(
            "A turn of the scripted model came back changed; its native blocks must be kept as they are.",
            provider=PROVIDER,
            model=request.route.model,
        )
