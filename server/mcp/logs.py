"""Log messages to clients: a level for the whole session in the older eras, one for each request since 2026-07-28."""

from typing import Any, get_args

import mcp_types as types
from mcp_types import LOG_LEVEL_META_KEY, LoggingLevel

from server.mcp.house import Call
from server.mcp.session import connection_of, has_session

LEVEL = "upstairs.log_level"
LEVELS: tuple[LoggingLevel, ...] = get_args(LoggingLevel)
"""From the most detailed to the most severe."""

DEFAULT_LEVEL: LoggingLevel = "info"


async def set_level(call: Call, params: types.SetLevelRequestParams) -> types.EmptyResult:
    """Keep the level from which on the session is told."""
    connection_of(call).state[LEVEL] = params.level
    return types.EmptyResult()


async def log(call: Call, level: LoggingLevel, data: Any, *, logger: str = "upstairs") -> None:
    """Send a message beside the answer to this request, where its client wants that level."""
    wanted = _wanted(call)
    if wanted is None or LEVELS.index(level) < LEVELS.index(wanted):
        return
    said = types.LoggingMessageNotificationParams(level=level, data=data, logger=logger)
    await call.session.send_notification(types.LoggingMessageNotification(params=said), call.request_id)


def _wanted(call: Call) -> LoggingLevel | None:
    """Return the least severe level that the client takes; None when it takes none."""
    if has_session(call):
        return connection_of(call).state.get(LEVEL, DEFAULT_LEVEL)
    asked = dict(call.meta or {}).get(LOG_LEVEL_META_KEY)
    return asked if asked in LEVELS else None
