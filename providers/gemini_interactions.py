"""Gemini Interactions: how the events of one streamed interaction become a reply.

Source: the event and step types of the `google-genai` SDK 3.4.
"""

from typing import Any

from engine.transcript import Delta, FinishKind, ModelReply, Part, Reasoning, Text, ToolCall, Usage
from providers.errors import MalformedReply
from providers.gemini_interactions_render import unparsed
from providers.gemini_render import PROVIDER
from providers.gemini_reply import Block, Call
from providers.gemini_transport import failure
from providers.wire import parse_arguments

STATUSES: dict[str, FinishKind] = {
    "completed": "done",
    "requires_action": "tool_calls",
    "requires_continuation": "paused",
    "incomplete": "length",
    "budget_exceeded": "cut_off",
    "cancelled": "cut_off",
    "failed": "error",
}
"""The interaction's status at its end → the unified finish; a status that is not listed finishes as `error`."""


class Reader:
    """Gathers the steps; the terminal event says how the interaction ended."""

    def __init__(self, call: Call) -> None:
        self.finished = False
        self._call = call
        self._steps: dict[int, Block] = {}
        self._open: set[int] = set()
        self._arguments: dict[int, str] = {}
        self._malformed: dict[int, str] = {}
        self._told: Block = {}
        self._reply: ModelReply | None = None

    def take(self, event: dict[str, Any]) -> Delta | None:
        """Take one event; kinds that are not known are passed over."""
        kind = event["event_type"]
        if kind == "step.delta":
            return self._piece(event["index"], event["delta"])
        if kind == "step.start":
            self._steps[event["index"]] = dict(event["step"])
            self._open.add(event["index"])
        elif kind == "step.stop":
            self._close(event["index"])
        elif kind == "interaction.status_update":
            self._told.update({name: event[name] for name in ("usage", "continuation_token") if event.get(name)})
        elif kind == "interaction.created":
            self._told.update(event["interaction"])
        elif kind == "interaction.completed":
            self._told.update(event["interaction"])
            self._reply = self._whole()
            self.finished = True
        elif kind == "error":
            raise failure(self._call.attempt, None, event.get("error") or {})
        return None

    def _piece(self, index: int, delta: Block) -> Delta | None:
        step = self._steps[index]
        kind = delta["type"]
        self._call.check_text(delta)
        if kind == "text":
            _join(step.setdefault("content", []), delta)
            return Delta(kind="text", text=delta["text"])
        if kind == "thought_summary":
            content = delta["content"]
            _join(step.setdefault("summary", []), content)
            return Delta(kind="reasoning", text=content.get("text") or "")
        if kind == "arguments_delta":
            piece = delta.get("arguments") or ""
            self._arguments[index] = self._arguments.get(index, "") + piece
            return Delta(kind="tool", text=piece, call_id=step["id"])
        if kind == "thought_signature":
            step["signature"] = delta["signature"]
        elif kind == "text_annotation_delta":
            text = step["content"][-1]
            text["annotations"] = [*text.get("annotations", []), *delta.get("annotations", [])]
        elif kind in ("image", "audio", "video", "document"):
            step.setdefault("content", []).append(delta)
        else:
            step.update({name: value for name, value in delta.items() if name != "type"})
        return None

    def _close(self, index: int) -> None:
        self._open.remove(index)
        text = self._arguments.get(index, "")
        if not text:
            return
        arguments = parse_arguments(text)
        if arguments is None:
            self._malformed[index] = text
        self._steps[index]["arguments"] = arguments if arguments is not None else unparsed(text)

    def reply(self) -> ModelReply:
        """Return the whole reply; there is one once the reader has finished."""
        assert self._reply is not None
        return self._reply

    def _whole(self) -> ModelReply:
        raw = str(self._told["status"])
        kind = STATUSES.get(raw, "error")
        if self._open and kind in ("done", "tool_calls"):
            raise self._call.attempt.failure(
                MalformedReply, f"{PROVIDER} ended an interaction whose steps were still open."
            )
        for index in sorted(self._open):
            self._close(index)
        if not self._steps:
            own = [step for step in self._told.get("steps") or [] if step["type"] != "user_input"]
            self._steps = dict(enumerate(own))
        steps = sorted(self._steps.items())
        return self._call.reply(
            model=self._told.get("model"),
            reply_id=self._told.get("id"),
            blocks=[step for _, step in steps],
            parts=self._neutral(steps),
            kind=kind,
            raw=raw,
            usage=read_usage(self._told.get("usage") or {}),
            token=self._told.get("continuation_token"),
            diagnostics={"step_errors": [step["error"] for _, step in steps if step.get("error")]},
        )

    def _neutral(self, steps: list[tuple[int, Block]]) -> list[Part]:
        parts: list[Part] = []
        answered = {step["call_id"] for _, step in steps if step["type"] == "tool_search_result"}
        for index, step in steps:
            if step["type"] == "model_output":
                texts = [content["text"] for content in step.get("content") or [] if content["type"] == "text"]
                parts.extend(Text(text=text) for text in texts if text)
            elif step["type"] == "thought":
                thoughts = [entry["text"] for entry in step.get("summary") or [] if entry.get("text")]
                if thoughts:
                    parts.append(Reasoning(text="\n\n".join(thoughts)))
            elif step["type"] == "function_call":
                name, malformed = self._call.names.from_wire(step["name"]), self._malformed.get(index)
                given = {} if malformed is not None else step.get("arguments") or {}
                parts.append(ToolCall(id=step["id"], name=name, arguments=given, malformed=malformed))
            elif step["type"] == "tool_search_call" and step["id"] not in answered:
                parts.append(self._search(step))
        return parts

    def _search(self, step: Block) -> ToolCall:
        """Return the call that loads what the model asked for: learning the skill of the first function named."""
        wanted = list((step.get("arguments") or {}).get("function_names") or [])
        tools = {tool.name: tool for tool in self._call.request.tools}
        skills = [tools[name].skill for name in map(self._call.names.from_wire, wanted) if name in tools]
        skill = next((skill for skill in skills if skill), None)
        if skill is not None and f"learn_{skill}" in tools:
            return ToolCall(id=step["id"], name=f"learn_{skill}")
        if skill is not None and "learn" in tools:
            return ToolCall(id=step["id"], name="learn", arguments={"skill": skill})
        return ToolCall(id=step["id"], name="tool_search", arguments={"function_names": wanted})


def _join(content: list[Block], piece: Block) -> None:
    """Append a piece of content; text goes on in the text before it, unless that has its annotations already."""
    last = content[-1] if content else None
    if piece["type"] == "text" and last is not None and last["type"] == "text" and "annotations" not in last:
        last["text"] += piece["text"]
    else:
        content.append(dict(piece))


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return the unified usage. The input includes what was cached; what the total holds beside the input and the
    tools' prompt is output, thoughts included."""
    prompt = int(raw.get("total_input_tokens") or 0)
    read = int(raw.get("total_cached_tokens") or 0)
    tools = int(raw.get("total_tool_use_tokens") or 0)
    thoughts = int(raw.get("total_thought_tokens") or 0)
    output = int(raw.get("total_output_tokens") or 0)
    total = int(raw.get("total_tokens") or 0)
    counts = {entry["type"]: int(entry.get("count") or 0) for entry in raw.get("grounding_tool_count") or []}
    return Usage(
        input_total=prompt + tools,
        input_uncached=max(0, prompt - read) + tools,
        cache_read=read,
        output_total=max(output, total - prompt - tools) if total else output + thoughts,
        reasoning=thoughts,
        tool_prompt=tools,
        server_tools={name: count for name, count in counts.items() if count},
        raw=raw,
    )
