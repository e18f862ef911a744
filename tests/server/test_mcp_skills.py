"""The skills extension: the catalogue as entries, each file a resource whose bytes the entry's digest covers."""

import base64
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from content.database import Database
from server.http import make_app
from skills.catalogue import Catalogue
from skills.toolbox import Toolbox
from tests.server.flat import CORE, Flat
from tests.server.sdk import Modern
from tests.server.served import Served, serve

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served(sqlite: Database, tmp_path: Path) -> AsyncGenerator[Served]:
    house = Flat(sqlite, tmp_path)
    folder = tmp_path / "skills" / "word-counting"
    (folder / "SKILL.md").write_bytes(b"\xef\xbb\xbf" + (folder / "SKILL.md").read_bytes().replace(b"\n", b"\r\n"))
    (folder / "guides").mkdir()
    (folder / "guides" / "how to.md").write_text("Aloud.\n")
    (folder / "dot.png").write_bytes(bytes(range(256)))
    for name, more in (("odd_name", ""), ("long-winded", "x" * 2_000), ("rated", "\nmetadata: {stars: 5}")):
        (folder.parent / name).mkdir()
        text = f"---\nname: {name}\ndescription: Odd.{more}\n---\nOdd.\n"
        (folder.parent / name / "SKILL.md").write_text(text)
    house.toolbox = Toolbox(Catalogue.load(library=folder.parent), CORE)
    async with serve(make_app(house)) as running:
        yield running


def bytes_of(contents: dict[str, Any]) -> bytes:
    return contents["text"].encode() if "text" in contents else base64.b64decode(contents["blob"])


async def test_every_file_that_an_entry_names_is_there_and_is_what_its_digest_says(served: Served) -> None:
    ask = Modern(f"{served.url}/mcp")
    with anyio.fail_after(20):
        listed = (await ask("skills/list"))["result"]
        (skill,) = listed["skills"]
        assert skill["uri"] == "skill://word-counting/SKILL.md"
        assert skill["frontmatter"] == {"name": "word-counting", "description": "Count words and remember them."}
        assert {one["uri"] for one in skill["resources"]} == {
            "skill://word-counting/SKILL.md",
            "skill://word-counting/dot.png",
            "skill://word-counting/guides/how%20to.md",
        }
        assert (listed["cacheScope"], listed["ttlMs"] >= 0) == ("private", True)
        for one in skill["resources"]:
            contents = (await ask("resources/read", uri=one["uri"]))["result"]["contents"][0]
            content = bytes_of(contents)
            assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (one["size"], one["digest"])
        assert (await ask("skills/get", uri=skill["uri"]))["result"]["skill"] == skill


async def test_a_skill_that_strict_clients_would_refuse_is_learned_but_not_listed_by_the_extension(
    served: Served,
) -> None:
    ask = Modern(f"{served.url}/mcp")
    with anyio.fail_after(20):
        tools = {tool["name"] for tool in (await ask("tools/list"))["result"]["tools"]}
        assert {"learn_odd_name", "learn_long_winded", "learn_rated"} <= tools
        assert [skill["frontmatter"]["name"] for skill in (await ask("skills/list"))["result"]["skills"]] == [
            "word-counting"
        ]
        assert "error" in await ask("skills/get", uri="skill://rated/SKILL.md")


async def test_a_skill_that_is_not_there_for_the_caller_is_an_error_that_names_it(served: Served) -> None:
    ask = Modern(f"{served.url}/mcp")
    with anyio.fail_after(20):
        for uri in ("skill://nothing/SKILL.md", "skill://word-counting/dot.png", "file:///etc/passwd"):
            error = (await ask("skills/get", uri, uri=uri))["error"]
            assert (error["code"], error["data"]) == (-32602, {"uri": uri})
        assert (await ask("skills/get"))["error"]["code"] == -32602
        assert (await ask("skills/list", cursor="nonsense"))["error"]["code"] == -32602


async def test_the_extensions_are_declared_where_they_can_be_used(served: Served) -> None:
    ask = Modern(f"{served.url}/mcp")
    with anyio.fail_after(20):
        capabilities = (await ask("server/discover"))["result"]["capabilities"]
        assert set(capabilities["extensions"]) == {
            "io.modelcontextprotocol/tasks",
            "io.modelcontextprotocol/skills",
            "io.modelcontextprotocol/ui",
        }
        async with served.mcp("legacy") as client:
            assert client.initialize_result is not None
            assert not client.initialize_result.capabilities.extensions
