"""Content, prompts and process definitions as MCP resources and prompts, over real HTTP in both eras."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from content.access import Access
from content.collections import Collections
from content.database import Database
from content.passages import cut_passages
from content.search import ContentSearch
from content.structure import Block, Structure
from tests.server.flat import Flat
from tests.server.served import ERAS, Era, Served

pytestmark = pytest.mark.anyio

GREETING = """---
description: Greet somebody in a tone.
input:
  schema:
    name: string, who is greeted
    tone?(enum): [warm, wry, cold]
    times?: integer, how often
  default:
    times: 1
---
{{role "system"}}
You greet people.
{{role "user"}}
Greet {{name}} {{times}} times, {{tone}}.
"""

ALWAYS = GREETING.replace("You greet", "You always greet")
PROCESS = "format: 1\nprocess: invoice\nstart: done\nnodes: {done: {type: end, outcome: done}}\n"


@pytest.fixture
async def flat(sqlite: Database, tmp_path: Path) -> Flat:
    house = Flat(sqlite, tmp_path, limits={"max_result_bytes": 2_000})
    house.services = replace(house.services, search=ContentSearch(sqlite).search)
    await house.interactions.put_draft(house.me, "greeting", GREETING)
    await house.interactions.publish(house.me, "greeting")
    await house.interactions.put_draft(house.me, "greeting", ALWAYS, revision=1)
    await house.interactions.publish(house.me, "greeting")
    await house.interactions.put_draft(house.me, "unpublished", GREETING)
    await house.definitions.put_draft(house.me, "invoice", PROCESS)
    await house.definitions.publish(house.me, "invoice")
    return house


def text_of(message: types.PromptMessage) -> str:
    assert isinstance(message.content, types.TextContent)
    return message.content.text.strip()


async def read(client: Any, uri: str) -> str:
    contents = await client.read_resource(uri)
    assert isinstance(contents[0], types.TextResourceContents)
    return contents[0].text


async def document(flat: Flat, text: str) -> str:
    """Publish an object of one paragraph; return its id."""
    version = await flat.content.receive(flat.me, "contract.txt", text.encode(), "text/plain")
    structure = Structure.build([Block(kind="heading", text="Terms", level=1), Block(kind="paragraph", text=text)])
    passages = cut_passages(structure)
    await flat.content.publish_version(flat.me, version.object_id, version.number, structure, passages)
    return version.object_id


@pytest.mark.parametrize("era", ERAS)
async def test_published_interactions_are_prompts_with_typed_arguments(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            prompts = await client.list_prompts()
            assert [(prompt.name, prompt.description) for prompt in prompts] == [
                ("greeting", "Greet somebody in a tone.")
            ]
            arguments = {one.name: one for one in prompts[0].arguments or []}
            assert {name: one.required for name, one in arguments.items()} == {
                "name": True,
                "tone": False,
                "times": False,
            }
            assert arguments["times"].description == "how often; as JSON: integer"
            got = await client.get_prompt("greeting", {"name": "Finn", "tone": "wry", "times": "2"})
            assert [(message.role, text_of(message)) for message in got.messages] == [
                ("user", "You always greet people."),
                ("user", "Greet Finn 2 times, wry."),
            ]
            first = await client.get_prompt("greeting@1", {"name": "Finn"})
            assert text_of(first.messages[0]) == "You greet people."


@pytest.mark.parametrize("era", ERAS)
async def test_arguments_with_a_fixed_choice_are_completed(served: Served, era: Era) -> None:
    ref = types.PromptReference(name="greeting")
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            assert (await client.complete(ref, {"name": "tone", "value": "w"})).values == ["warm", "wry"]
            assert (await client.complete(ref, {"name": "name", "value": "F"})).values == []
            nothing = types.PromptReference(name="nothing")
            assert (await client.complete(nothing, {"name": "tone", "value": ""})).values == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_prompt_that_cannot_be_rendered_says_which_argument_is_wrong(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            for arguments, says in (
                ({}, "name"),
                ({"name": "F", "times": "often"}, "times"),
                ({"name": "F", "x": "1"}, "x"),
            ):
                with pytest.raises(MCPError, match=says) as wrong:
                    await client.get_prompt("greeting", arguments)
                assert wrong.value.code == types.INVALID_PARAMS
            for name in ("nothing", "unpublished", "a/b", ""):
                with pytest.raises(MCPError, match="no prompt"):
                    await client.get_prompt(name, {})


@pytest.mark.parametrize("era", ERAS)
async def test_prompts_and_processes_are_resources_at_each_version(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            listed = {str(resource.uri) for resource in await client.list_resources()}
            assert listed == {
                "task://inbox",
                "interaction://greeting",
                "process://invoice",
                "skill://word-counting/SKILL.md",
                "ui://runs/view.html",
                "ui://runs/inbox.html",
                "ui://processes/view.html",
            }
            assert await read(client, "interaction://greeting@1") == GREETING
            assert "You always greet" in await read(client, "interaction://greeting")
            assert await read(client, "process://invoice@1") == PROCESS
            for uri in (
                "interaction://greeting@9",
                "interaction://nothing",
                "process://greeting",
                "process://invoice@x",
            ):
                with pytest.raises(MCPError, match="not found"):
                    await client.read_resource(uri)


@pytest.mark.parametrize("era", ERAS)
async def test_content_is_read_whole_by_version_and_at_the_anchor_of_a_citation(
    served: Served, flat: Flat, era: Era
) -> None:
    words = "Payment is due in thirty days. " * 200
    object_id = await document(flat, words)
    structure = await flat.content.structure(flat.me, object_id)
    passage = cut_passages(structure)[0]
    anchor = passage.anchor(object_id, 1)
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            about = json.loads(await read(client, f"content://{object_id}"))
            assert (about["name"], about["version"]["number"]) == ("contract.txt", 1)
            assert json.loads(await read(client, f"content://{object_id}@1"))["object_id"] == object_id
            whole, uri = "", about["text_uri"]
            assert uri == f"content://{object_id}@1/text"
            pieces = 0
            while uri is not None:
                contents = await client.read_resource(uri)
                assert isinstance(contents[0], types.TextResourceContents)
                assert len(contents[0].text.encode()) <= 2_000
                whole, pieces = whole + contents[0].text, pieces + 1
                uri = str(contents[1].uri) if len(contents) > 1 else None
            assert (whole, pieces) == (structure.text, 4)
            assert await read(client, f"content://{anchor}") == passage.text
            for wrong in (
                f"content://{object_id}@9",
                "content://obj_404",
                "content://obj_404/text",
                f"content://{object_id}@9/text",
            ):
                with pytest.raises(MCPError, match="not found"):
                    await client.read_resource(wrong)
            with pytest.raises(MCPError, match="whole number"):
                await client.read_resource(f"content://{object_id}@x")
            with pytest.raises(MCPError, match="lies behind"):
                await client.read_resource(f"content://{object_id}/text?offset=999999")


async def test_what_is_private_to_its_owner_is_no_resource_for_another_user(served: Served, flat: Flat) -> None:
    object_id = await document(flat, "secret words")
    access = await flat.content.get_access(flat.me, object_id)
    assert access is None
    await flat.content.set_access(flat.me, object_id, Access())
    with anyio.fail_after(20):
        async with served.mcp("2026-07-28", "finn") as finn:
            for uri in (f"content://{object_id}", f"content://{object_id}/text", f"content://{object_id}@1#p=1"):
                with pytest.raises(MCPError) as missing:
                    await finn.read_resource(uri)
                assert "secret" not in str(missing.value)
                assert missing.value.code == types.INVALID_PARAMS


@pytest.mark.parametrize("era", ERAS)
async def test_content_is_searched_by_a_uri(served: Served, flat: Flat, era: Era) -> None:
    object_id = await document(flat, "Payment is due in thirty days.")
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            found = json.loads(await read(client, "content://search?query=payment%20thirty"))
            (passage,) = found["passages"]
            assert (passage["object_id"], passage["name"]) == (object_id, "contract.txt")
            assert "thirty days" in await read(client, f"content://{passage['anchor']}")
            assert json.loads(await read(client, "content://search?query=unicorns&collection=default")) == {
                "passages": []
            }
            for wrong, says in (
                ("content://search", "names no query"),
                ("content://search?query=x&collection=nowhere", "not found"),
            ):
                with pytest.raises(MCPError, match=says) as error:
                    await client.read_resource(wrong)
                assert error.value.code == types.INVALID_PARAMS


@pytest.mark.parametrize("era", ERAS)
async def test_a_prompt_is_rendered_by_a_uri(served: Served, era: Era) -> None:
    parameters = "parameters=%7B%22name%22%3A%22Finn%22%7D"
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            newest = json.loads(await read(client, f"interaction://greeting/rendered?{parameters}"))
            assert (newest["interaction"], newest["version"]) == ("greeting", 2)
            assert "You always greet people." in json.dumps(newest["messages"])
            first = json.loads(await read(client, f"interaction://greeting@1/rendered?{parameters}"))
            assert "You greet people." in json.dumps(first["messages"])
            for wrong, says in (
                ("interaction://greeting/rendered", "name"),
                ("interaction://greeting/rendered?parameters=%5B%5D", "must be a JSON object"),
                ("interaction://greeting/rendered?parameters=%7B", "not JSON"),
                ("interaction://greeting/rendered?parameters=" + "%5B" * 3000, "deeper than"),
                ("interaction://nothing/rendered", "not found"),
            ):
                with pytest.raises(MCPError, match=says) as error:
                    await client.read_resource(wrong)
                assert error.value.code == types.INVALID_PARAMS


@pytest.mark.parametrize("era", ERAS)
async def test_names_in_templates_are_completed_with_what_the_caller_may_read(
    served: Served, flat: Flat, era: Era
) -> None:
    run = await flat.run()
    await flat.ask(run, "task_1")
    await Collections(flat.content.database).create(flat.me, "contracts")
    with anyio.fail_after(20):
        async with served.mcp(era) as client:

            async def suggested(uri: str, variable: str, value: str, **context: str) -> list[str]:
                ref = types.ResourceTemplateReference(uri=uri)
                found = await client.complete(
                    ref, {"name": variable, "value": value}, context_arguments=context or None
                )
                return found.values

            assert await suggested("interaction://{name}", "name", "GR") == ["greeting"]
            assert await suggested("interaction://{name}", "name", "un") == []
            assert await suggested("interaction://{name}@{version}", "version", "", name="greeting") == ["2", "1"]
            assert await suggested("interaction://{name}@{version}", "version", "") == []
            assert await suggested("process://{name}", "name", "") == ["invoice"]
            assert await suggested("run://{run_id}", "run_id", run.run_id[:6]) == [run.run_id]
            assert await suggested("task://{task_id}", "task_id", "") == ["task_1"]
            assert await suggested("skill://{name}/{+path}", "name", "w") == ["word-counting"]
            assert await suggested("content://search{?query,collection}", "collection", "con") == ["contracts"]
            assert await suggested("content://search{?query,collection}", "query", "con") == []
