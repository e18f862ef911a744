"""Header values as the guard reads them: space around a value is no part of it."""

import contextlib
import http.client
import json

import anyio
import pytest

from tests.server.flat import TOKEN
from tests.server.served import Served

pytestmark = pytest.mark.anyio

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
FIND = {"name": "find_tools", "arguments": {"query": "count"}, "_meta": META}


def posted(served: Served, space: str, wrong: dict[str, str]) -> int:
    """Return the status of a call whose headers all carry space, sent as it stands: other clients refuse to."""
    place = served.url.removeprefix("http://")
    headers = {
        "Host": place,
        "Origin": served.url,
        "Authorization": f"Bearer {TOKEN}",
        "Upstairs-User": "finn",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "find_tools",
        **wrong,
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": FIND}).encode()
    with contextlib.closing(http.client.HTTPConnection(place, timeout=10)) as connection:
        connection.putrequest("POST", "/mcp", skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, f"{space}{value}{space}")
        connection.endheaders(body)
        return connection.getresponse().status


@pytest.mark.parametrize("space", [" ", "\t", " \t  "], ids=["space", "tab", "both"])
async def test_space_around_header_values_changes_nothing(served: Served, space: str) -> None:
    with anyio.fail_after(20):
        assert await anyio.to_thread.run_sync(posted, served, space, {}) == 200


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Upstairs-User": "nobody"}, 403),
        ({"Mcp-Name": "get_run"}, 400),
    ],
)
async def test_a_wrong_value_is_as_wrong_with_space_around_it(
    served: Served, wrong: dict[str, str], status: int
) -> None:
    with anyio.fail_after(20):
        assert await anyio.to_thread.run_sync(posted, served, "  ", wrong) == status
