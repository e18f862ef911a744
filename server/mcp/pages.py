"""Pages of lists: a cursor is a place in the list, and says nothing to a client."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

import mcp_types as types
from mcp.shared.exceptions import MCPError

PAGE = 100

Item = TypeVar("Item")


def paged(items: Sequence[Item], params: types.PaginatedRequestParams | None) -> tuple[list[Item], str | None]:
    """Return the page that the cursor of `params` names and the cursor of the next one, if there is one."""
    cursor = params.cursor if params is not None else None
    start = 0
    if cursor is not None:
        try:
            start = int(base64.urlsafe_b64decode(cursor).decode().removeprefix("from:"))
        except (ValueError, binascii.Error):
            start = -1
        if not 0 < start < 1 << 31:
            raise MCPError(types.INVALID_PARAMS, "The cursor is none of this list; start again without one")
    following = start + PAGE
    more = base64.urlsafe_b64encode(f"from:{following}".encode()).decode() if following < len(items) else None
    return list(items[start:following]), more
