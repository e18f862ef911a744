"""Being told of changes: `resources/subscribe` on sessions of older eras, `subscriptions/listen` since 2026-07-28."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ResourceUpdated

from content.database import Database
from engine.runs import RunRef, TaskClosed
from server.hub import Hub
from server.mcp import watch
from server.mcp.subscriptions import MAX_STREAMS, MAX_URIS
from tests.server.flat import Flat
from tests.server.sdk import Crowded, sdk_client
from tests.server.served import ERAS, Era, Served

pytestmark = pytest.mark.anyio

INBOX = "task://inbox"


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    return Crowded(sqlite, tmp_path)


class Heard:
    """The URIs that a client was told about, and a wait for the next."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._event = anyio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.uris.append(str(message.params.uri))
            self._event.set()

    async def next(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


async def subscribe(client: Client, uri: str) -> None:
    request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
    await client.session.send_request(request, types.EmptyResult)


async def unsubscribe(client: Client, uri: str) -> None:
    request = types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=uri))
    await client.session.send_request(request, types.EmptyResult)


async def test_a_session_is_told_of_its_runs_until_it_unsubscribes(served: Served, flat: Flat) -> None:
    run, other = await flat.run(), await flat.run(title="Invoice 8")
    heard = Heard()
    with anyio.fail_after(20):
        async with sdk_client(served, "legacy", message_handler=heard) as client:
            await subscribe(client, f"run://{run.run_id}")
            await subscribe(client, f"run://{run.run_id}")
            await subscribe(client, f"run://{other.run_id}/events")
            await flat.step(run, "one", status="running")
            await heard.next()
            await unsubscribe(client, f"run://{run.run_id}")
            await flat.step(run, "two")
            await flat.step(other, "one")
            await heard.next()
    assert heard.uris == [f"run://{run.run_id}", f"run://{other.run_id}/events"]


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_is_watched_any_more_for_a_client_that_has_gone(served: Served, flat: Flat, era: Era) -> None:
    run = await flat.run()
    uri = f"run://{run.run_id}"
    with anyio.fail_after(20):
        async with sdk_client(served, era) as client, AsyncExitStack() as stack:
            if era == "legacy":
                await subscribe(client, uri)
            else:
                await stack.enter_async_context(client.listen(resource_subscriptions=[uri]))
            while not vars(flat.hub)["_waiting"]:
                await anyio.lowlevel.checkpoint()
        while vars(flat.hub)["_waiting"]:
            await anyio.lowlevel.checkpoint()


async def test_a_session_can_watch_its_inbox_and_a_task(served: Served, flat: Flat) -> None:
    run = await flat.run()
    heard = Heard()
    with anyio.fail_after(20):
        async with sdk_client(served, "legacy", message_handler=heard) as client:
            await subscribe(client, INBOX)
            await flat.ask(run, "task_1")
            await heard.next()
            await subscribe(client, "task://task_1")
            await flat.step(run, "close", closed=(TaskClosed(task_id="task_1", status="answered", by="me"),))
            while set(heard.uris) != {INBOX, "task://task_1"}:
                await heard.next()
            inbox = (await client.read_resource(INBOX)).contents[0]
            assert isinstance(inbox, types.TextResourceContents)
            assert inbox.text == '{"tasks":[]}'


async def test_a_change_of_this_process_is_told_without_looking_for_it(
    served: Served, flat: Flat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 3600.0)
    run = await flat.run()
    with anyio.fail_after(20):
        async with (
            sdk_client(served, "2026-07-28") as client,
            client.listen(resource_subscriptions=[INBOX]) as stream,
        ):
            await flat.ask(run, "task_1")
            assert await anext(stream) == ResourceUpdated(INBOX)
            await flat.step(run, "close", closed=(TaskClosed(task_id="task_1", status="answered", by="me"),))
            assert await anext(stream) == ResourceUpdated(INBOX)


async def test_what_another_process_changes_is_found_by_looking(
    served: Served, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    elsewhere = Flat(sqlite, tmp_path)
    run = await elsewhere.run()
    with anyio.fail_after(20):
        async with (
            sdk_client(served, "2026-07-28") as client,
            client.listen(resource_subscriptions=[INBOX]) as stream,
        ):
            await elsewhere.ask(run, "task_1")
            assert await anext(stream) == ResourceUpdated(INBOX)


async def test_a_change_wakes_whoever_waits_for_its_run_or_its_tenant_and_nobody_else() -> None:
    hub = Hub()
    run, other = RunRef(tenant="acme", run_id="run_1"), RunRef(tenant="acme", run_id="run_2")
    woken: list[RunRef | str] = []

    async def wait(place: RunRef | str) -> None:
        await hub.wait(place, 3600)
        woken.append(place)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for place in (run, other, "acme", "zoo"):
                group.start_soon(wait, place)
            await anyio.wait_all_tasks_blocked()
            hub.changed(run)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert len(woken) == 2
    assert run in woken
    assert "acme" in woken
    assert not vars(hub)["_waiting"]


async def test_what_one_may_not_see_cannot_be_watched_in_either_era(served: Served, flat: Flat) -> None:
    run = await flat.run()
    uri = f"run://{run.run_id}"
    with anyio.fail_after(20):
        async with sdk_client(served, "legacy", "sam") as client:
            with pytest.raises(MCPError, match="not found"):
                await subscribe(client, uri)
        async with (
            sdk_client(served, "2026-07-28", "sam") as client,
            client.listen(resource_subscriptions=[uri, INBOX]) as stream,
        ):
            assert stream.honored.resource_subscriptions == [INBOX]


async def test_a_stream_tells_of_runs_and_the_inbox_and_of_nothing_else(served: Served, flat: Flat) -> None:
    run, other = await flat.run(), await flat.run(title="Invoice 8")
    uri = f"run://{run.run_id}"
    with anyio.fail_after(20):
        async with (
            sdk_client(served, "2026-07-28") as client,
            client.listen(resource_subscriptions=[uri, INBOX, "content://nothing"]) as stream,
        ):
            assert stream.honored.resource_subscriptions == [uri, INBOX]
            await flat.step(other, "one")
            await flat.step(run, "one")
            assert await anext(stream) == ResourceUpdated(uri)
            await flat.ask(other, "task_1")
            assert await anext(stream) == ResourceUpdated(INBOX)


async def test_a_stream_tells_when_a_prompt_is_published(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        async with (
            sdk_client(served, "2026-07-28") as client,
            client.listen(prompts_list_changed=True) as stream,
        ):
            await flat.interactions.put_draft(flat.me, "greet", "---\ndescription: Greet.\n---\nHello")
            await flat.interactions.publish(flat.me, "greet")
            assert await anext(stream) == PromptsListChanged()
            assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["greet"]


async def test_a_client_that_leaves_frees_its_place_and_nobody_holds_more_than_their_share(
    served: Served, flat: Flat
) -> None:
    with anyio.fail_after(40):
        async with sdk_client(served, "2026-07-28") as client:
            async with anyio.create_task_group() as group:
                opened = [anyio.Event() for _ in range(MAX_STREAMS)]

                async def hold(event: anyio.Event) -> None:
                    async with client.listen(tools_list_changed=True):
                        event.set()
                        await anyio.sleep_forever()

                for event in opened:
                    group.start_soon(hold, event)
                for event in opened:
                    await event.wait()
                with pytest.raises(MCPError, match="holds 32 streams open"):
                    async with client.listen(tools_list_changed=True):
                        pass
                async with sdk_client(served, "2026-07-28", "finn") as other, other.listen(tools_list_changed=True):
                    pass
                group.cancel_scope.cancel()
            while True:
                try:
                    async with client.listen(tools_list_changed=True):
                        break
                except MCPError:
                    await anyio.lowlevel.checkpoint()


async def test_the_number_of_watched_resources_is_bounded_in_both_eras(served: Served) -> None:
    uris = [f"content://{number}" for number in range(MAX_URIS + 1)]
    with anyio.fail_after(20):
        async with sdk_client(served, "legacy") as client:
            for uri in uris[:-1]:
                await subscribe(client, uri)
            with pytest.raises(MCPError, match="at most 64"):
                await subscribe(client, uris[-1])
        async with sdk_client(served, "2026-07-28") as client:
            with pytest.raises(MCPError, match="at most 64"):
                async with client.listen(resource_subscriptions=uris):
                    pass
            with pytest.raises(MCPError, match="longer than 2000"):
                async with client.listen(resource_subscriptions=["run://" + "x" * 3000]):
                    pass


async def test_a_session_chooses_from_which_level_on_it_is_told(served: Served) -> None:
    said: list[tuple[str, Any]] = []

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        said.append((params.level, params.data))

    with anyio.fail_after(20):
        async with sdk_client(served, "legacy", logging_callback=hear) as client:
            await client.call_tool("defective", {})
            request = types.SetLevelRequest(params=types.SetLevelRequestParams(level="critical"))
            await client.session.send_request(request, types.EmptyResult)
            await client.call_tool("defective", {})
        async with sdk_client(served, "2026-07-28", logging_callback=hear) as client:
            await client.call_tool("defective", {})
        async with sdk_client(served, "2026-07-28", logging_callback=hear, log_level="warning") as client:
            await client.call_tool("defective", {})
    assert [level for level, _ in said] == ["error", "error"]
    assert all("failed unexpectedly" in data for _, data in said)
