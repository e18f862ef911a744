"""What a session of the older eras remembers: the one place that reaches the connection behind a request."""

from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from server.mcp.house import Call

LEARNED = "upstairs.learned"


def connection_of(call: ServerRequestContext[Any, Any]) -> Connection:
    """Return the connection of a request: its state and clean-up live as long as a session of the older eras does.

    Since 2026-07-28 a connection lives for one request, or is shared by strangers to each other behind one pipe:
    what is kept there is kept for nobody.
    """
    return call.session._connection  # pyright: ignore[reportPrivateUsage] # handlers are given no other way to it


def has_session(call: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether the request belongs to a session: whether anything may be remembered from one to the next."""
    return call.protocol_version not in MODERN_PROTOCOL_VERSIONS


def learned(call: Call) -> tuple[str, ...]:
    """Return the keys of the skills that this session has learned, first learned first; none without a session."""
    return tuple(connection_of(call).state.get(LEARNED, ())) if has_session(call) else ()


async def remember(call: Call, skill: str) -> None:
    """Note that the session has learned a skill and say that its list of tools has changed."""
    known = learned(call)
    if skill in known or not has_session(call):
        return
    connection = connection_of(call)
    connection.state[LEARNED] = (*known, skill)
    await connection.send_tool_list_changed()
