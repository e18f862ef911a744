"""How tools are shown: natively on older sessions that have learned a skill, and flat at paths of their own."""

import contextlib
import http.client
import json
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from tests.server.flat import TOKEN
from tests.server.sdk import sdk_client
from tests.server.served import ERAS, Era, Served

pytestmark = pytest.mark.anyio


async def names(client: Any) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


async def test_an_older_session_lists_what_it_learned_and_is_told_once(served: Served) -> None:
    told: list[str] = []
    heard = anyio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.append("changed")
            heard.set()

    with anyio.fail_after(20):
        async with (
            sdk_client(served, "legacy", message_handler=hear) as client,
            sdk_client(served, "legacy", "finn") as other,
        ):
            assert client.server_capabilities.tools == types.ToolsCapability(list_changed=True)
            before = await names(client)
            await client.call_tool("learn_word_counting", {})
            await heard.wait()
            await client.call_tool("learn_word_counting", {})
            assert await names(client) == [*before, "word_counting.count", "word_counting.remember"]
            result = await client.call_tool("word_counting.count", {"text": "one two"})
            assert result.structured_content == {"result": 2}
            assert "word_counting.count" not in await names(other)
            await other.call_tool("learn_word_counting", {})
            assert (await names(other))[-1] == "word_counting.count"
        async with sdk_client(served, "legacy") as client:
            assert await names(client) == before
    assert told == ["changed"]


@pytest.mark.parametrize("era", ERAS)
async def test_the_flat_paths_list_the_tools_themselves(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with sdk_client(served, era, path="/mcp/all") as client:
            listed = await names(client)
            assert {"get_run", "word_counting.count", "word_counting.remember"} <= set(listed)
            assert not {name for name in listed if name.startswith("learn") or name in ("use_tool", "find_tools")}
            assert "learn" not in (client.instructions or "")
            result = await client.call_tool("word_counting.count", {"text": "one two"})
            assert result.structured_content == {"result": 2}
        async with sdk_client(served, era, "finn", path="/mcp/s/word-counting") as client:
            assert await names(client) == ["word_counting.count"]
            assert "word-counting" in [skill.name for skill in (await client.list_resources()).resources]
            for foreign in ("word_counting.remember", "get_run", "use_tool"):
                with pytest.raises(MCPError, match="no tool"):
                    await client.call_tool(foreign, {})


async def test_a_flat_path_of_no_skill_is_not_found_and_needs_the_token_like_all_others(served: Served) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    with anyio.fail_after(20):
        async with served.http(Accept="application/json, text/event-stream") as mine:
            missing = await mine.post("/mcp/s/word-conting", json=message)
            assert missing.status_code == 404
            assert "did you mean word_counting" in missing.json()["error"]["message"]
        async with served.http(token=None) as stranger:
            for path in ("/mcp/all", "/mcp/s/word-counting"):
                assert (await stranger.post(path, json=message)).status_code == 401


async def test_space_around_a_routing_header_is_no_part_of_it(served: Served) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "find_tools", "arguments": {"query": "count"}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})

    def post(name: str) -> tuple[int, Any]:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": name,
        }
        # The other clients of the tests refuse to send such a header.
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/mcp", body, headers)
            answer = connection.getresponse()
            return answer.status, json.load(answer)

    with anyio.fail_after(20):
        assert (await anyio.to_thread.run_sync(post, " find_tools  "))[0] == 200
        status, answer = await anyio.to_thread.run_sync(post, "get_run")
    assert (status, answer["error"]["code"]) == (400, -32020)
