"""How the server shows itself and its tools: the same text in every era, with a picture that costs no tool a token."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

DRAWING = Path(__file__).parents[1] / "pages" / "static" / "icon.svg"
ICON = types.Icon(
    src=f"data:image/svg+xml;base64,{base64.b64encode(DRAWING.read_bytes()).decode()}",
    mime_type="image/svg+xml",
    sizes=["any"],
)

FIRST = ("type", "properties", "required")
"""The keys of a tool's schema that stand first, in this order; the others follow by name."""


async def in_one_order(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Give the tools of `tools/list` one order of keys: each revision has its own, and hosts keep the text for long."""
    result = await call_next(ctx)
    if ctx.method != "tools/list" or not isinstance(result, Mapping):
        return result
    tools = cast("list[dict[str, Any]]", result["tools"])
    return {**cast("Mapping[str, Any]", result), "tools": [_ordered(tool) for tool in tools]}


def _ordered(tool: dict[str, Any]) -> dict[str, Any]:
    found = {key: tool[key] for key in sorted(tool)}
    for name in ("inputSchema", "outputSchema"):
        if name in found:
            found[name] = _schema(found[name])
    for name in ("annotations", "_meta"):
        if name in found:
            found[name] = dict(sorted(found[name].items()))
    return found


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    keys = [*(key for key in FIRST if key in schema), *sorted(key for key in schema if key not in FIRST)]
    return {key: schema[key] for key in keys}
