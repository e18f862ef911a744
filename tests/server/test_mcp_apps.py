"""Pages of MCP Apps on the wire: what a client reads of them in both eras, and that nothing is from elsewhere."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from content.database import Database
from server.mcp.apps import PAGE_OF
from skills.catalogue import Catalogue
from skills.core import CORE_TOOLS
from skills.toolbox import Toolbox
from tests.server.flat import Flat
from tests.server.sdk import Modern, sdk_client
from tests.server.served import ERAS, Era, Served

pytestmark = pytest.mark.anyio

UI = "io.modelcontextprotocol/ui"
MIME = "text/html;profile=mcp-app"
URIS = ("ui://runs/view.html", "ui://runs/inbox.html", "ui://processes/view.html")
TOKENS = 4_000


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    """The small house with the product's own tools and skills."""
    house = Flat(sqlite, tmp_path)
    house.toolbox = Toolbox(Catalogue.load(), CORE_TOOLS)
    return house


def page_of(tool: Any) -> str | None:
    """Return the page that a tool's definition names, once it says the same in both forms."""
    meta = tool.meta or {}
    assert meta.get("ui", {}).get("resourceUri") == meta.get("ui/resourceUri")
    return meta.get("ui/resourceUri")


@pytest.mark.parametrize("era", ERAS)
async def test_tools_name_their_pages_and_the_pages_are_there(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with sdk_client(served, era) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name: page for tool in tools if (page := page_of(tool))} == {
                "start_process": "ui://runs/view.html",
                "start_agent": "ui://runs/view.html",
                "get_run": "ui://runs/view.html",
                "list_tasks": "ui://runs/inbox.html",
            }
            listed = {str(one.uri): one for one in (await client.list_resources()).resources}
            for uri in URIS:
                (content,) = (await client.read_resource(uri)).contents
                assert content.mime_type == listed[uri].mime_type == MIME
                assert content.meta == listed[uri].meta
                assert content.meta == {
                    "ui": {
                        "csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": []},
                        "prefersBorder": True,
                    }
                }
                assert len(getattr(content, "text", "").encode()) == listed[uri].size
        async with sdk_client(served, era, path="/mcp/all") as client:
            tools = (await client.list_tools()).tools
            pages = {tool.name: page for tool in tools if (page := page_of(tool))}
    assert pages["process_design.verify_process"] == pages["processes.describe_process"] == URIS[2]
    assert set(pages) == set(PAGE_OF)


async def test_the_short_list_is_the_same_for_clients_that_show_pages_and_stays_short(served: Served) -> None:
    plain = Modern(f"{served.url}/mcp")
    showing = Modern(f"{served.url}/mcp", capabilities={"extensions": {UI: {"mimeTypes": [MIME]}}})
    with anyio.fail_after(20):
        listed = (await plain("tools/list"))["result"]["tools"]
        assert (await showing("tools/list"))["result"]["tools"] == listed
        assert (await plain("server/discover"))["result"]["capabilities"]["extensions"][UI] == {}
        arguments = {"run_id": "run_none"}
        answers = [(await ask("tools/call", name="get_run", arguments=arguments))["result"] for ask in (plain, showing)]
    assert len(json.dumps(listed)) / 4 <= TOKENS
    assert answers[0] == answers[1]
    assert "run_none" in answers[0]["content"][0]["text"]


async def test_a_page_holds_one_script_that_its_own_policy_names_and_nothing_from_elsewhere(served: Served) -> None:
    with anyio.fail_after(20):
        async with sdk_client(served, "2026-07-28") as client:
            texts = [getattr((await client.read_resource(uri)).contents[0], "text", "") for uri in URIS]
    for text in texts:
        (script,) = re.findall(r"<script[^>]*>(.*?)</script", text, re.DOTALL)
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
        addresses = set(re.findall(r"\w+://[^\s\"'`]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\bimport\b", text
        )
        assert not re.search(r"<(?:link|img|iframe|object|base)\b|\ssrc=|\shref=|url\(|@import", text)
