"""What a client is shown before it does anything: the visible list beside the flat one of the same server."""

import json
from collections.abc import Sequence
from typing import Any, cast

from benchmarks.figures import Row, Sample
from benchmarks.mcp_servers import FIND_TOOLS, Ours, learning
from benchmarks.mcp_wire import Era
from engine.errors import Invalid
from engine.transcript import ModelRequest, Route, ToolSpec
from providers.tokens import TokenEstimator
from skills.discovery import MAX_LEARN

MODERN: Era = "2026-07-28"
MOST_TOOLS, MOST_TOKENS = 30, 4_000
ROUTES = {"the ratio of most models": "openai/any", "the ratio of recent Claude models": "anthropic/any"}
"""What the estimator starts from before a provider has reported anything; the second is its most cautious."""


def measure_sizes(servers: Sequence[Ours]) -> list[Row]:
    """Return tools, bytes and tokens of the visible list of each server beside its flat list.

    Raises:
        Invalid: the list changed by learning, or a list of many skills lacks the tools that lead to the rest.
    """
    rows: list[Row] = []
    for server in servers:
        shown, flat = _visible(server), _answer(server, "/mcp/all")
        peer = f"flat list, {server.name}"
        rows += [
            _row("visible tools", "tools", len(_tools(shown)), peer, len(_tools(flat)), MOST_TOOLS),
            _row("visible list on the wire", "bytes", len(shown), peer, len(flat)),
        ]
        for ratio, route in ROUTES.items():
            mine, theirs = _tokens(_tools(shown), route), _tokens(_tools(flat), route)
            rows.append(_row(f"visible list, {ratio}", "tokens", mine, peer, theirs, MOST_TOKENS))
    return rows


def _row(measure: str, unit: str, ours: int, peer: str, theirs: int, goal: float | None = None) -> Row:
    return Row(measure, unit, Sample([ours]), peer, Sample([theirs]), goal)


def _visible(server: Ours) -> bytes:
    """Return the short list, which must be the same bytes on another connection after a skill was learned."""
    before = _answer(server, "/mcp")
    wire = server.http(MODERN)
    wire.tool(*learning(server))
    after = wire.call("tools/list", {})
    wire.close()
    if _result(before) != _result(after) or _result(before) != _result(_answer(server, "/mcp")):
        raise Invalid(f"the list of {server.name} is not the same bytes after a skill was learned")
    names = {tool["name"] for tool in _tools(before)}
    leading = {FIND_TOOLS, "use_tool"} | ({"learn"} if server.skills > MAX_LEARN else set())
    if not leading <= names:
        raise Invalid(f"the list of {server.name} lacks {', '.join(sorted(leading - names))}")
    return before


def _answer(server: Ours, path: str) -> bytes:
    wire = server.http(MODERN, path)
    try:
        return wire.call("tools/list", {})
    finally:
        wire.close()


def _result(answer: bytes) -> bytes:
    """Return the answer without the number of the request that it stands behind."""
    return answer.partition(b'"result":')[2]


def _tools(answer: bytes) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", json.loads(answer)["result"]["tools"])


def _tokens(tools: Sequence[dict[str, Any]], route: str) -> int:
    """Return what the house reckons for a model that is given these tools and nothing else."""
    specs = tuple(
        ToolSpec(name=tool["name"], description=tool["description"], input_schema=tool["inputSchema"]) for tool in tools
    )
    return TokenEstimator().estimate(ModelRequest(route=Route.parse(route), messages=(), tools=specs))
