"""Pages of lists: a cursor names the last item that was shown, so that what comes or goes meanwhile moves no other."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import mcp_types as types
from mcp.shared.exceptions import MCPError

PAGE = 100

Item = TypeVar("Item")


def paged(
    listed: str,
    groups: Sequence[Sequence[Item]],
    key: Callable[[Item], str],
    params: types.PaginatedRequestParams | None,
) -> tuple[list[Item], str | None]:
    """Return the page that the cursor of `params` names and the cursor of the next one, if there is one.

    The list is that of the groups one after another, each by `key`; an item that was added behind the cursor is on a
    later page, one before it on none. `listed` names the list: the cursor of another is refused.

    Raises:
        MCPError: the cursor is none of this list.
    """
    after = _place(listed, params.cursor) if params is not None and params.cursor is not None else None
    rest = [
        (number, key(item), item)
        for number, group in enumerate(groups)
        for item in sorted(group, key=key)
        if after is None or (number, key(item)) > after
    ]
    page = [item for _, _, item in rest[:PAGE]]
    if len(rest) <= PAGE:
        return page, None
    number, last, _ = rest[PAGE - 1]
    return page, base64.urlsafe_b64encode(json.dumps([listed, number, last]).encode()).decode()


def _place(listed: str, cursor: str) -> tuple[int, str]:
    try:
        said = json.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, RecursionError, binascii.Error):
        raise _refused("it is not one that this server gave") from None
    match said:
        case [str() as name, int() as number, str() as last] if not isinstance(number, bool):
            if name != listed:
                raise _refused(f"it is one of {name[:40]}, not of {listed}")
            return number, last
        case _:
            raise _refused("it is not one that this server gave")


def _refused(reason: str) -> MCPError:
    return MCPError(
        types.INVALID_PARAMS, f"The cursor can't be used: {reason}; list again without one", {"reason": reason}
    )
