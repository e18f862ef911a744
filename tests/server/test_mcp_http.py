"""The MCP surface over real HTTP, with a client of each protocol era."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from content.database import Database
from engine.ports import RunFilter
from server.http import make_app
from server.hub import LiveDelta
from tests.server.flat import Flat
from tests.server.served import ERAS, Era, Served, serve

pytestmark = pytest.mark.anyio

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    return Flat(sqlite, tmp_path, limits={"max_request_bytes": 1_000_000, "max_result_bytes": 100_000})


def text_of(result: Any) -> str:
    return "".join(part.text for part in result.content if isinstance(part, types.TextContent))


@pytest.mark.parametrize("era", ERAS)
async def test_a_skill_is_learned_and_its_tool_used_with_the_ticket(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            tools = {tool.name: tool for tool in await client.list_tools()}
            assert next(iter(tools)) == "learn_word_counting"
            assert list(tools)[-1] == "use_tool"
            lesson = await client.call_tool("learn_word_counting", {})
            assert lesson.structured_content is None
            ticket = text_of(lesson).rsplit("ticket: ", 1)[1].strip()
            used = await client.call_tool(
                "use_tool", {"ticket": ticket, "tool": "count", "arguments": {"text": "one two three"}}
            )
            assert used.structured_content == {"result": 3}


@pytest.mark.parametrize("era", ERAS)
async def test_a_stale_ticket_is_answered_with_the_lesson_and_the_right_one(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            call = {"ticket": "word_counting@0", "tool": "count", "arguments": {"text": "one two"}}
            refused = await client.call_tool("use_tool", call, raise_on_error=False)
            assert refused.is_error
            assert "Count before you speak." in text_of(refused)
            ticket = text_of(refused).rsplit("ticket: ", 1)[1].strip()
            again = await client.call_tool("use_tool", {**call, "ticket": ticket})
            assert again.structured_content == {"result": 2}


def dumped(tools: list[types.Tool]) -> str:
    return json.dumps([tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools])


@pytest.mark.parametrize("era", ERAS)
async def test_the_list_is_the_same_bytes_for_every_call_connection_and_restart(
    served: Served, flat: Flat, era: Era
) -> None:
    lists: set[str] = set()
    with anyio.fail_after(30):
        for _ in range(2):
            async with served.mcp(era) as client:
                lists.add(dumped(await client.list_tools()))
                if era == "2026-07-28":
                    await client.call_tool("learn_word_counting", {})
                lists.add(dumped(await client.list_tools()))
        async with serve(make_app(flat)) as restarted, restarted.mcp(era) as client:
            lists.add(dumped(await client.list_tools()))
    assert len(lists) == 1


async def test_every_tool_has_object_schemas_and_says_what_it_does(served: Served) -> None:
    with anyio.fail_after(20):
        async with served.mcp("2026-07-28") as client:
            tools = {tool.name: tool for tool in await client.list_tools()}
    for tool in tools.values():
        for schema in (tool.input_schema, tool.output_schema or {"type": "object"}):
            assert schema["type"] == "object"
            assert not {"anyOf", "oneOf", "allOf"} & set(schema)
        assert tool.annotations is not None
    assert tools["learn_word_counting"].output_schema is None
    leads = {name for name, tool in tools.items() if (tool.meta or {}).get("anthropic/alwaysLoad")}
    assert leads == {"learn_word_counting", "use_tool"}

    def hints(name: str) -> tuple[bool | None, bool | None]:
        found = tools[name].annotations
        assert found is not None
        return found.read_only_hint, found.destructive_hint

    assert hints("get_run") == (True, None)
    assert hints("start_process") == (False, False)
    assert hints("erase") == (False, True)
    assert hints("use_tool") == (False, True)


async def test_each_principal_sees_and_calls_what_its_roles_allow(served: Served) -> None:
    with anyio.fail_after(20):
        async with served.mcp("2026-07-28", "finn") as client:
            assert "erase" not in {tool.name for tool in await client.list_tools()}
            assert "word_counting.remember" not in text_of(await client.call_tool("learn_word_counting", {}))
            with pytest.raises(MCPError, match="no tool 'erase'"):
                await client.call_tool("erase", {"what": "all"})
            ticket = text_of(await client.call_tool("learn_word_counting", {})).rsplit("ticket: ", 1)[1].strip()
            with pytest.raises(ToolError, match="no tool"):
                await client.call_tool("use_tool", {"ticket": ticket, "tool": "remember", "arguments": {"text": "x"}})


@pytest.mark.parametrize("era", ERAS)
async def test_wrong_calls_get_errors_that_name_the_field_and_never_a_trace(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            with pytest.raises(MCPError, match="no tool 'nothing'") as unknown:
                await client.call_tool("nothing", {})
            assert unknown.value.code == types.INVALID_PARAMS
            for arguments, says in (({"words": "many"}, "words"), ({"word": 1}, "did you mean words"), ({}, "missing")):
                with pytest.raises(ToolError, match=says):
                    await client.call_tool("long_answer", arguments)
            failed = await client.call_tool("defective", {}, raise_on_error=False)
            assert failed.is_error
            assert "ref_" in text_of(failed)
            assert "secret" not in text_of(failed)
            assert "Traceback" not in text_of(failed)
            with pytest.raises(ToolError, match="no run run_404"):
                await client.call_tool("get_run", {"run_id": "run_404"})


@pytest.mark.parametrize("era", ERAS)
async def test_a_long_answer_is_cut_and_the_rest_is_a_resource_of_its_caller_alone(served: Served, era: Era) -> None:
    with anyio.fail_after(20):
        async with served.mcp(era) as client, served.mcp(era, "finn") as other:
            result = await client.call_tool("long_answer", {"words": 40_000})
            assert len(text_of(result)) < 50_000
            rest = next(part.uri for part in result.content if isinstance(part, types.ResourceLink))
            assert result.structured_content == {"cut": {"text": text_of(result), "rest": rest}}
            whole, uri = "", rest
            while True:
                contents = await client.read_resource(uri)
                assert isinstance(contents[0], types.TextResourceContents)
                whole += contents[0].text
                if len(contents) == 1:
                    break
                uri = str(contents[1].uri)
            assert json.loads(whole)["text"] == "wörd " * 40_000
            with pytest.raises(MCPError, match="not kept"):
                await other.read_resource(rest)


@pytest.mark.parametrize("era", ERAS)
async def test_waiting_for_a_run_reports_progress_and_returns_when_it_changes(
    served: Served, flat: Flat, era: Era
) -> None:
    run = await flat.run()
    said: list[str | None] = []
    heard = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        nonlocal heard
        said.append(message)
        heard.set()

    answers: list[Any] = []

    async def wait() -> None:
        async with served.mcp(era) as client:
            arguments = {"run_id": run.run_id, "wait_s": 20}
            result = await client.call_tool("get_run", arguments, progress_handler=on_progress)
            answers.append(result.structured_content)

    def delta(text: str) -> LiveDelta:
        offset = 0 if text == "Two" else 3
        return LiveDelta(run=run.ref, type="text.delta", turn=1, attempt=1, offset=offset, data={"text": text})

    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            for text in ("Two", " words"):
                await heard.wait()
                heard = anyio.Event()
                flat.hub.publish(delta(text))
            await heard.wait()
            await flat.step(run, "one", status="running")
    assert [(answer["status"], answer["next_after"]) for answer in answers] == [("running", 2)]
    assert said == ["starting", "Two", " words"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_request_leaves_the_run_it_was_starting(served: Served, flat: Flat, era: Era) -> None:
    flat.control.gate, flat.control.begun, flat.control.ended = anyio.Event(), anyio.Event(), anyio.Event()
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group, served.mcp(era) as client:

            async def start() -> None:
                await client.call_tool("start_process", {"process": "invoice"})

            group.start_soon(start)
            await flat.control.begun.wait()
            group.cancel_scope.cancel()
        flat.control.gate.set()
        await flat.control.ended.wait()
    assert [run.status for run in await flat.runs.list(flat.me, RunFilter())] == ["starting"]


def call(method: str = "tools/list", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def posted(served: Served, body: bytes | str, **headers: str) -> httpx2.Response:
    async with served.http(**HEADERS) as http:
        return await http.post("/mcp", content=body, headers=headers)


MODERN = {"MCP-Protocol-Version": "2026-07-28"}


@pytest.mark.parametrize("headers", [{}, MODERN], ids=["legacy", "modern"])
@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (json.dumps(call(padding="x" * 5_000_000)), 413, -32600, "larger than 1000000"),
        ("[" * 10_000 + "]" * 10_000, 400, -32600, "deeper than 100"),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', 400, -32600, "'method' stands twice"),
        (json.dumps([call(), call()]), 400, -32600, "batches"),
        ('{"jsonrpc": "2.0", "id": 1,', 400, -32700, "not JSON"),
        (b"\xff\xfe", 400, -32700, "UTF-8"),
    ],
    ids=["large", "deep", "twice", "batch", "cut", "no-text"],
)
async def test_bodies_that_are_no_message_get_a_json_rpc_error(
    served: Served, headers: dict[str, str], body: bytes | str, status: int, code: int, says: str
) -> None:
    with anyio.fail_after(20):
        answer = await posted(served, body, **headers)
    assert answer.status_code == status
    said = answer.json()
    assert (said["jsonrpc"], said["id"], said["error"]["code"]) == ("2.0", None, code)
    assert says in said["error"]["message"]
    assert "Traceback" not in answer.text


async def test_a_large_body_without_a_length_is_refused_when_it_passes_the_limit(served: Served) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(100):
            yield b" " * 50_000

    with anyio.fail_after(20):
        async with served.http(**HEADERS) as http:
            answer = await http.post("/mcp", content=pieces())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Upstairs-User": "nobody"}, 403),
    ],
)
@pytest.mark.parametrize("era_headers", [{}, MODERN], ids=["legacy", "modern"])
async def test_foreign_hosts_origins_and_callers_are_refused_before_the_body_is_read(
    served: Served, headers: dict[str, str], status: int, era_headers: dict[str, str]
) -> None:
    with anyio.fail_after(20):
        answer = await posted(served, json.dumps(call()), **headers, **era_headers)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == types.INVALID_REQUEST


async def test_a_session_of_one_principal_is_not_there_for_another(served: Served) -> None:
    opening = call(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "test", "version": "1"}
    )
    with anyio.fail_after(20):
        opened = await posted(served, json.dumps(opening))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        listing = json.dumps(call())
        assert (await posted(served, listing, **session)).status_code == 200
        assert (await posted(served, listing, **session, **{"Upstairs-User": "finn"})).status_code == 404


@pytest.mark.parametrize("era", ERAS)
async def test_runs_are_resources_for_those_who_may_see_them(served: Served, flat: Flat, era: Era) -> None:
    run = await flat.run()
    await flat.step(run, "one", status="running")
    await flat.runs.write_artifact(run.ref, "out/résumé.md", b"# Hallo", mime="text/markdown", key="w1")
    await flat.runs.write_artifact(run.ref, "out/blob", bytes(range(256)), mime="application/octet-stream", key="w2")

    async def read(client: Any, uri: str) -> Any:
        contents = await client.read_resource(uri)
        return json.loads(contents[0].text) if contents[0].mime_type == "application/json" else contents[0]

    with anyio.fail_after(20):
        async with served.mcp(era) as client:
            templates = {template.uri_template for template in await client.list_resource_templates()}
            assert {"run://{run_id}", "run://{run_id}/events{?after}", "run://{run_id}/audit"} <= templates
            row = await read(client, f"run://{run.run_id}")
            assert (row["status"], row["principal"]) == ("running", "me")
            uris = [artifact["uri"] for artifact in row["artifacts"]]
            assert (await read(client, next(uri for uri in uris if uri.endswith(".md")))).text == "# Hallo"
            assert (await read(client, next(uri for uri in uris if uri.endswith("blob")))).blob.startswith("AAECAw")
            events = await read(client, f"run://{run.run_id}/events?after=1")
            assert ([event["seq"] for event in events["events"]], events["last"]) == ([2], 2)
            assert (await read(client, f"run://{run.run_id}/audit"))["records"][0]["action"] == "node.finished"
            assert (await read(client, f"run://{run.run_id}/audit.ocel"))["events"][0]["type"] == "node.finished"
            log = await read(client, f"run://{run.run_id}/audit.xes")
            assert (log.mime_type, log.text.count("<event>")) == ("application/xml", 1)
            text = (await client.read_resource("skill://word-counting/SKILL.md"))[0]
            assert isinstance(text, types.TextResourceContents)
            assert text.text.endswith("Count before you speak.\n")
            for uri in (
                "run://run_404",
                f"run://{run.run_id}/artifacts/../../etc/passwd",
                f"run://{run.run_id}/nothing",
                "skill://word-counting/tools.py",
                "skill://word-counting/../../secrets",
                "file:///etc/passwd",
            ):
                with pytest.raises(MCPError, match="not found") as missing:
                    await client.read_resource(uri)
                assert missing.value.code == types.INVALID_PARAMS
            with pytest.raises(MCPError, match="whole number"):
                await client.read_resource(f"run://{run.run_id}/events?after=x")
