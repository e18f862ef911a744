"""How tools appear on the Chat Completions wire, where a declared list must never change.

Deferred tools are not declared there. Their lesson says what they take, and one constant function `use_tool` calls
them; a call of it becomes a call of the tool it means, so that the loop sees the same on every wire.
"""

import json
import re
from typing import Any

from pydantic import JsonValue

from engine.transcript import ModelRequest, ToolCall, ToolResult, ToolSpec
from providers.wire import ToolNames, as_object, parse_arguments, revealed_tools

USE_TOOL = "use_tool"
_TICKET = re.compile(r"\bticket: (\S+)")

_DECLARATION: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": USE_TOOL,
        "description": "Call a tool that a lesson has taught you. Learn the skill first: its lesson ends with the "
        "ticket, and gives the name of the tool and its arguments.",
        "parameters": {
            "type": "object",
            "properties": {
                "ticket": {"type": "string", "description": "the ticket of the lesson"},
                "tool": {"type": "string", "description": "the tool's name as in the lesson"},
                "arguments": {"type": "object", "description": "what the lesson says that the tool takes"},
            },
            "required": ["ticket", "tool", "arguments"],
        },
    },
}


class ChatTools:
    """The tools of one request: what is declared, what is behind `use_tool`, and the way there and back."""

    def __init__(self, request: ModelRequest, who: str) -> None:
        """Take the tools of `request`; `InvalidRequest` where two have the same name on the wire."""
        learned = revealed_tools(request.messages)
        self._names = ToolNames([*request.tools, *learned], who, request.route.model)
        self._direct = [tool for tool in request.tools if not tool.deferred]
        declared = {tool.name for tool in self._direct}
        self._learned = {tool.name for tool in learned if tool.name not in declared}
        self._hidden = {tool.name for tool in request.tools if tool.deferred} | self._learned
        self._behind = bool(self._hidden) and USE_TOOL not in declared
        self._tickets = _tickets(request)

    def declarations(self) -> list[dict[str, Any]]:
        """Return the declared list: the same at every turn, whatever was learned."""
        listed = [self._declared(tool) for tool in self._direct]
        return [*listed, _DECLARATION] if self._behind else listed

    def _declared(self, tool: ToolSpec) -> dict[str, Any]:
        function = {
            "name": self._names.to_wire(tool.name),
            "description": tool.description,
            "parameters": as_object(tool.input_schema),
        }
        return {"type": "function", "function": function}

    def to_wire(self, call: ToolCall) -> tuple[str, str]:
        """Return the function's name and its arguments as text for a call that another provider's model made."""
        if call.malformed is not None:
            return self._names.to_wire(call.name), call.malformed
        if call.name not in self._hidden or not self._behind:
            return self._names.to_wire(call.name), json.dumps(call.arguments, ensure_ascii=False)
        meant = {"ticket": self._tickets.get(call.name, ""), "tool": call.name, "arguments": call.arguments}
        return USE_TOOL, json.dumps(meant, ensure_ascii=False)

    def call(self, call_id: str, name: str, text: str) -> ToolCall:
        """Return the call that the model meant; one of `use_tool` for a tool that was not learned stays as it is."""
        arguments = parse_arguments(text)
        if arguments is None:
            return ToolCall(id=call_id, name=self._names.from_wire(name), malformed=text)
        if name != USE_TOOL or not self._behind:
            return ToolCall(id=call_id, name=self._names.from_wire(name), arguments=arguments)
        tool, given = self._meant(arguments), arguments.get("arguments", {})
        if tool is None or not isinstance(given, dict):
            return ToolCall(id=call_id, name=USE_TOOL, arguments=arguments)
        return ToolCall(id=call_id, name=tool, arguments=given)

    def _meant(self, arguments: dict[str, JsonValue]) -> str | None:
        """Return the learned tool that is named in full, by the ticket's skill, or alone where only one fits."""
        named = str(arguments.get("tool", ""))
        skill = str(arguments.get("ticket", "")).partition("@")[0]
        for full in (self._names.from_wire(named), f"{skill}.{named}"):
            if full in self._learned:
                return full
        fitting = [full for full in self._learned if full.rpartition(".")[2] == named]
        return fitting[0] if len(fitting) == 1 else None


def _tickets(request: ModelRequest) -> dict[str, str]:
    """Return by tool the ticket that stands in the answer which revealed it."""
    found: dict[str, str] = {}
    for message in request.messages:
        for part in message.parts:
            ticket = _TICKET.search(part.text) if isinstance(part, ToolResult) and part.reveals else None
            if ticket and isinstance(part, ToolResult):
                # The first one stays, so that a call that was written once is written the same again.
                found.update({tool.name: ticket.group(1) for tool in part.reveals if tool.name not in found})
    return found
