"""What lists are: the same bytes in every era and on every transport, small, and in pages that do not shift."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from content.database import Database
from engine.values import PLATFORM_ROLES, Principal
from server.http import make_app
from server.mcp import pages
from server.mcp.socket import serve_socket
from server.mcp.surface import make_mcp_server
from server.mcp.tools import described
from skills.catalogue import Catalogue, Skill
from skills.core import CORE_TOOLS
from skills.toolbox import Toolbox
from tests.server.flat import Flat
from tests.server.sdk import Modern, sdk_client
from tests.server.served import ERAS, Era, Served, serve

pytestmark = pytest.mark.anyio

OPENING: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}
START = b'"tools":['


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    """The small house with the tools of the product."""
    house = Flat(sqlite, tmp_path)
    house.toolbox = Toolbox(Catalogue.load(), CORE_TOOLS)
    return house


def tools_of(answer: bytes) -> bytes:
    """The bytes of the list of tools in an answer."""
    start = answer.index(START) + len(START) - 1
    _, length = json.JSONDecoder().raw_decode(answer[start:].decode())
    return answer[start:].decode()[:length].encode()


async def listed_2026(served: Served) -> bytes:
    message, headers = Modern(f"{served.url}/mcp").request("tools/list")
    async with httpx2.AsyncClient(timeout=10) as http:
        return tools_of((await http.post(f"{served.url}/mcp", json=message, headers=headers)).content)


async def listed_before(served: Served, version: str) -> bytes:
    async with served.http(Accept="application/json, text/event-stream") as http:
        first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**OPENING, "protocolVersion": version}}
        session = (await http.post("/mcp", json=first)).headers["mcp-session-id"]
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
        return tools_of((await http.post("/mcp", json=asked, headers={"Mcp-Session-Id": session})).content)


def listed_on_socket(path: Path, *messages: dict[str, Any]) -> bytes:
    """The list of tools that the last message asks for, as a line of the local socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    answer = b""
    with connection, connection.makefile("rwb") as lines:
        for message in ({"upstairs": 1, "user": None}, *messages):
            lines.write(json.dumps(message).encode() + b"\n")
            lines.flush()
            answer = lines.readline()
    return tools_of(answer)


async def test_the_list_of_tools_is_the_same_bytes_in_every_era_on_every_transport_and_after_learning(
    served: Served, flat: Flat, tmp_path: Path
) -> None:
    modern, _ = Modern("").request("tools/list")
    handshake = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING}
    asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    with anyio.fail_after(30):
        lists = [await listed_2026(served)]
        await Modern(f"{served.url}/mcp")("tools/call", name="learn_content", arguments={})
        lists.append(await listed_2026(served))
        lists += [await listed_before(served, version) for version in ("2025-11-25", "2025-06-18", "2024-11-05")]
        async with serve(make_app(flat)) as restarted:
            lists.append(await listed_2026(restarted))
        async with serve_socket(make_mcp_server(flat), flat, tmp_path / "s"):
            lists.append(await anyio.to_thread.run_sync(listed_on_socket, tmp_path / "s", modern))
            lists.append(await anyio.to_thread.run_sync(listed_on_socket, tmp_path / "s", handshake, asked))
    assert len(json.loads(lists[0])) >= 13
    assert len(set(lists)) == 1


def test_the_list_stays_within_its_budget_on_the_wire_however_many_skills_there_are() -> None:
    real = Catalogue.load()
    source = real.skills[0].source
    many = [
        Skill(source=replace(source, name=f"area-{number}", description="word " * 200), tools=real.skills[0].tools)
        for number in range(60)
    ]
    me = Principal(tenant="acme", subject="me", roles=PLATFORM_ROLES)
    for catalogue in (real, Catalogue([*real.skills, *many])):
        surface = Toolbox(catalogue, CORE_TOOLS).surface(me)
        listed = [described(one).model_dump(mode="json", by_alias=True, exclude_none=True) for one in surface]
        assert 13 <= len(listed) <= 30
        # As everywhere for definitions: four characters of what is sent are a token.
        assert len(json.dumps(listed, separators=(",", ":"))) / 4 <= 4_000


@pytest.mark.parametrize("era", ERAS)
async def test_the_server_has_an_icon_that_needs_no_request_and_rides_on_no_other_answer(
    served: Served, era: Era
) -> None:
    with anyio.fail_after(20):
        async with sdk_client(served, era) as client:
            if era == "2026-07-28":
                found = (await Modern(f"{served.url}/mcp")("server/discover"))["result"]
                info = found["_meta"]["io.modelcontextprotocol/serverInfo"]
                (icon,) = info["icons"]
                assert (info["name"], icon["mimeType"]) == ("upstairs", "image/svg+xml")
                assert icon["src"].startswith("data:image/svg+xml;base64,PHN2Zy")
                called = await Modern(f"{served.url}/mcp")("tools/list")
                assert set(called["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]) == {
                    "name",
                    "title",
                    "version",
                }
            else:
                assert client.server_info is not None
                (shown,) = client.server_info.icons or []
                assert shown.src.startswith("data:image/svg+xml;base64,PHN2Zy")
            assert all(tool.icons is None for tool in (await client.list_tools()).tools)


async def publish(flat: Flat, name: str) -> None:
    await flat.interactions.put_draft(flat.me, name, f"---\ndescription: {name}.\n---\nHello")
    await flat.interactions.publish(flat.me, name)


@pytest.mark.parametrize("era", ERAS)
async def test_pages_together_are_the_list_and_stay_so_while_items_come(
    served: Served, flat: Flat, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    for name in ("bravo", "delta", "foxtrot", "hotel", "juliet"):
        await publish(flat, name)
    with anyio.fail_after(30):
        async with sdk_client(served, era, cache=None) as client:
            first = await client.list_prompts()
            assert [prompt.name for prompt in first.prompts] == ["bravo", "delta"]
            for name in ("alpha", "echo"):
                await publish(flat, name)
            found: list[str] = []
            cursor = first.next_cursor
            while cursor is not None:
                page = await client.list_prompts(cursor=cursor)
                assert len(page.prompts) <= 2
                found += [prompt.name for prompt in page.prompts]
                cursor = page.next_cursor
            assert found == ["echo", "foxtrot", "hotel", "juliet"]
            uris: list[str] = []
            resources = await client.list_resources()
            while True:
                uris += [str(resource.uri) for resource in resources.resources]
                if resources.next_cursor is None:
                    break
                resources = await client.list_resources(cursor=resources.next_cursor)
            forms: list[str] = []
            templates = await client.list_resource_templates()
            while True:
                forms += [template.uri_template for template in templates.resource_templates]
                if templates.next_cursor is None:
                    break
                templates = await client.list_resource_templates(cursor=templates.next_cursor)
    assert {"task://inbox", "skill://content/SKILL.md", "interaction://alpha", "interaction://juliet"} <= set(uris)
    assert {"run://{run_id}", "task://{task_id}", "content://{object}"} <= set(forms)
    assert len(set(uris)) == len(uris)
    assert len(set(forms)) == len(forms) > pages.PAGE


@pytest.mark.parametrize("era", ERAS)
async def test_a_cursor_that_is_none_of_the_list_is_refused_with_the_reason(
    served: Served, flat: Flat, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 1)
    await publish(flat, "bravo")
    await publish(flat, "delta")
    with anyio.fail_after(20):
        async with sdk_client(served, era, cache=None) as client:
            prompts = (await client.list_prompts()).next_cursor
            for method in (client.list_prompts, client.list_resources, client.list_resource_templates):
                for cursor in ("", "!!", "bm90IG91cnM=", "WzFd", "WyJwcm9tcHRzIix0cnVlLCJ4Il0=", "W" * 5000):
                    with pytest.raises(MCPError, match="not one that this server gave") as caught:
                        await method(cursor=cursor)
                    assert caught.value.error.code == -32602
            with pytest.raises(MCPError, match="one of prompts, not of resources"):
                await client.list_resources(cursor=prompts)
