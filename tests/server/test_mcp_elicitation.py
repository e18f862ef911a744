"""Asking the person at the client in the middle of an ordinary call: in both eras, once, and never for long."""

import json
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest

from content.database import Database
from engine.runs import Answer, Run, Seat, TaskClosed
from engine.values import Principal
from server.mcp import asking
from server.mcp.task_forms import ask
from tests.server.flat import Flat
from tests.server.sdk import Modern, sdk_client
from tests.server.served import ERAS, Era, Served

pytestmark = pytest.mark.anyio

FORM = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
NESTED = {"type": "object", "properties": {"lines": {"type": "array", "items": {"type": "object"}}}}
APPROVED = {"decision": "approve", "amount": 7, "comment": "fine"}


class Staffed(Flat):
    """The small house with an agent that would sit in the seat if it were a person."""

    def local_user(self, name: str | None) -> Principal:
        """Return the agent, or one of the house's own."""
        if name == "robot":
            return Principal(tenant="local", subject="robot", kind="agent", roles=frozenset({"finance", "viewer"}))
        return super().local_user(name)


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    return Staffed(sqlite, tmp_path)


@pytest.fixture
async def run(flat: Flat) -> Run:
    """A run that waits for finance."""
    waiting = await flat.run()
    await flat.ask(waiting, "task_1", form=FORM)
    return waiting


class Person:
    """Sits at the client: keeps what it is asked and answers each with the same, once it may."""

    def __init__(self, action: str = "accept", content: dict[str, Any] | None = None) -> None:
        self.asked: list[Any] = []
        self.seen = anyio.Event()
        self.may = anyio.Event()
        self.may.set()
        self._answer = types.ElicitResult.model_validate({"action": action, "content": content})

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params)
        self.seen.set()
        await self.may.wait()
        return self._answer


def text_of(result: types.CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))


async def decided_elsewhere(flat: Flat, run: Run) -> None:
    answer = Answer(decision="reject")
    closed = TaskClosed(task_id="task_1", status="answered", answer=answer, by="vera")
    await flat.step(run, "elsewhere", closed=(closed,))


@pytest.mark.parametrize("era", ERAS)
async def test_the_run_id_alone_asks_the_person_and_the_call_answers_with_what_they_said(
    served: Served, flat: Flat, run: Run, era: Era
) -> None:
    person = Person(content=APPROVED)
    with anyio.fail_after(20):
        async with sdk_client(served, era, elicitation_callback=person) as client:
            result = await client.call_tool("answer_run", {"run_id": run.run_id})
    assert result.structured_content == {
        "run_id": run.run_id,
        "task_id": "task_1",
        "accepted": "Approve invoice 7?: approve",
        "status": "answered",
        "url": f"http://127.0.0.1/runs/{run.run_id}",
    }
    (asked,) = person.asked
    assert asked.message == "Approve invoice 7?"
    assert asked.requested_schema["properties"]["decision"]["enum"] == ["approve", "reject"]
    assert asked.requested_schema["required"] == ["decision", "amount"]
    (answer,) = flat.control.said
    assert (answer.decision, answer.values, answer.comment, answer.by) == ("approve", {"amount": 7}, "fine", flat.me)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("action", "words"), [("decline", "declined"), ("cancel", "closed without an answer")])
async def test_what_is_not_answered_stays_open_and_the_call_says_so(
    served: Served, flat: Flat, run: Run, era: Era, action: str, words: str
) -> None:
    with anyio.fail_after(20):
        async with sdk_client(served, era, elicitation_callback=Person(action)) as client:
            result = await client.call_tool("answer_run", {"run_id": run.run_id})
    assert not result.is_error
    assert words in result.structured_content["accepted"]
    assert result.structured_content["status"] == "open"
    assert flat.control.said == []
    assert (await flat.runs.task(flat.me, "task_1")).status == "open"


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_cannot_ask_is_told_what_to_give_and_where_the_page_is(
    served: Served, run: Run, era: Era
) -> None:
    with anyio.fail_after(20):
        async with sdk_client(served, era) as client:
            result = await client.call_tool("answer_run", {"run_id": run.run_id})
    assert result.is_error
    words, _, details = text_of(result).partition("\n")
    assert "again with decision and values" in words
    assert json.loads(details) == {
        "run_id": run.run_id,
        "task_id": "task_1",
        "decisions": ["approve", "reject"],
        "form": FORM,
        "page": "http://127.0.0.1/inbox/task_1",
    }


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_or_whoever_has_no_seat_is_refused_and_nobody_is_asked(
    served: Served, flat: Flat, run: Run, era: Era
) -> None:
    person = Person(content=APPROVED)
    with anyio.fail_after(20):
        for user in ("robot", "finn"):
            async with sdk_client(served, era, user, elicitation_callback=person) as client:
                for arguments in ({}, {"decision": "approve", "values": {"amount": 7}}):
                    result = await client.call_tool("answer_run", {"run_id": run.run_id, **arguments})
                    assert result.is_error
                    assert f"{user} does not hold the seat" in text_of(result)
    assert person.asked == []
    assert flat.control.said == []


@pytest.mark.parametrize("era", ERAS)
async def test_who_submits_a_form_after_somebody_else_decided_is_told_who(
    served: Served, flat: Flat, run: Run, era: Era
) -> None:
    person = Person(content=APPROVED)
    person.may = anyio.Event()
    results: list[types.CallToolResult] = []
    with anyio.fail_after(20):
        async with sdk_client(served, era, elicitation_callback=person) as client, anyio.create_task_group() as group:

            async def call() -> None:
                results.append(await client.call_tool("answer_run", {"run_id": run.run_id}))

            group.start_soon(call)
            await person.seen.wait()
            await decided_elsewhere(flat, run)
            if era == "2026-07-28":
                person.may.set()
    assert results[0].is_error
    assert "already decided by vera" in text_of(results[0])
    assert flat.control.said == []
    with anyio.fail_after(20):
        async with sdk_client(served, era, elicitation_callback=person) as client:
            late = await client.call_tool("answer_run", {"run_id": run.run_id})
    assert "already decided by vera" in text_of(late)
    assert len(person.asked) == 1


async def test_a_call_waits_for_its_person_for_a_bounded_time_and_a_later_answer_still_lands_once(
    served: Served, flat: Flat, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asking.ASK_SECONDS < 60
    monkeypatch.setattr(asking, "ASK_SECONDS", 0)
    person = Person(content=APPROVED)
    person.may = anyio.Event()
    with anyio.fail_after(20):
        async with sdk_client(served, "legacy", elicitation_callback=person) as client:
            for _ in range(2):
                result = await client.call_tool("answer_run", {"run_id": run.run_id})
                assert "still being asked" in result.structured_content["accepted"]
                await person.seen.wait()
            assert flat.control.said == []
            person.may.set()
            seen = (await flat.runs.get(flat.me, run.run_id)).events
            await flat.runs.wait(flat.me, run.run_id, after=seen, timeout_s=10)
            view = (await client.call_tool("get_run", {"run_id": run.run_id})).structured_content
    assert view["open_tasks"] == []
    assert len(person.asked) == 1
    assert [answer.decision for answer in flat.control.said] == ["approve"]


async def test_a_session_that_ends_while_its_person_is_asked_leaves_the_task_open(
    served: Served, flat: Flat, run: Run
) -> None:
    person = Person(content=APPROVED)
    person.may = anyio.Event()
    with anyio.fail_after(20):
        async with (
            sdk_client(served, "legacy", elicitation_callback=person) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(client.call_tool, "answer_run", {"run_id": run.run_id})
            await person.seen.wait()
            group.cancel_scope.cancel()
        while vars(flat.hub)["_waiting"]:
            await anyio.lowlevel.checkpoint()
        assert flat.control.said == []
        async with sdk_client(served, "legacy", elicitation_callback=Person(content=APPROVED)) as client:
            result = await client.call_tool("answer_run", {"run_id": run.run_id})
    assert result.structured_content["status"] == "answered"


async def test_a_form_that_is_not_flat_is_asked_on_its_page_and_the_decision_there_answers_the_call(
    served: Served, flat: Flat
) -> None:
    waiting = await flat.run()
    await flat.ask(waiting, "task_1", form=NESTED)
    complete: list[str] = []
    person = Person()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ElicitCompleteNotification):
            complete.append(message.params.elicitation_id)

    results: list[types.CallToolResult] = []
    with anyio.fail_after(20):
        async with sdk_client(served, "legacy", elicitation_callback=person, message_handler=hear) as client:
            async with anyio.create_task_group() as group:

                async def call() -> None:
                    results.append(await client.call_tool("answer_run", {"run_id": waiting.run_id}))

                group.start_soon(call)
                await person.seen.wait()
                async with served.http() as page:
                    form = {"decision": "approve", "values": '{"lines": [{"sum": 1}]}'}
                    await page.post("/inbox/task_1", data=form, headers={"Origin": served.url})
            await client.call_tool("get_run", {"run_id": waiting.run_id})
    (asked,) = person.asked
    assert (asked.mode, asked.url) == ("url", "http://127.0.0.1/inbox/task_1")
    assert results[0].structured_content["accepted"] == "Approve invoice 7?: approve"
    assert complete == [asked.elicitation_id]
    assert [answer.decision for answer in flat.control.said] == ["approve"]


async def test_since_2026_a_page_is_opened_and_the_run_shows_what_was_said_there(served: Served, flat: Flat) -> None:
    waiting = await flat.run()
    await flat.ask(waiting, "task_1", form=NESTED)
    person = Person()
    with anyio.fail_after(20):
        async with sdk_client(served, "2026-07-28", elicitation_callback=person) as client:
            result = await client.call_tool("answer_run", {"run_id": waiting.run_id})
    (asked,) = person.asked
    assert (asked.mode, asked.url, asked.elicitation_id) == ("url", "http://127.0.0.1/inbox/task_1", None)
    assert "get_run shows what is said there" in result.structured_content["accepted"]
    assert flat.control.said == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_run_that_waits_tells_clients_that_can_ask_how_the_person_is_asked(
    served: Served, run: Run, era: Era
) -> None:
    said: list[str] = []
    with anyio.fail_after(20):
        for user, person in ((None, Person()), (None, None), ("robot", Person())):
            async with sdk_client(served, era, user, elicitation_callback=person) as client:
                view = (await client.call_tool("get_run", {"run_id": run.run_id})).structured_content
                said.append(view["to_answer"])
    assert said == ["answer_run with run_id alone asks the person here", "", ""]


async def test_of_several_tasks_the_one_with_the_callers_seat_is_asked_and_a_named_one_alone(
    served: Served, flat: Flat, run: Run
) -> None:
    await flat.ask(run, "task_2", seat=Seat(roles=("sales",)), title="Ship it?")
    person = Person(content=APPROVED)
    with anyio.fail_after(20):
        async with sdk_client(served, "2026-07-28", elicitation_callback=person) as client:
            result = await client.call_tool("answer_run", {"run_id": run.run_id})
            assert result.structured_content["task_id"] == "task_1"
            other = await client.call_tool("answer_run", {"run_id": run.run_id, "task_id": "task_2"})
            assert other.is_error
    assert [asked.message for asked in person.asked] == ["Approve invoice 7?"]


async def test_the_retry_answers_the_task_that_was_asked_and_no_other(served: Served, flat: Flat, run: Run) -> None:
    ask_raw = Modern(f"{served.url}/mcp", capabilities={"elicitation": {}})
    call: dict[str, Any] = {"name": "answer_run", "arguments": {"run_id": run.run_id}}
    with anyio.fail_after(20):
        first = (await ask_raw("tools/call", **call))["result"]
        assert (first["resultType"], list(first["inputRequests"])) == ("input_required", ["task_1"])
        accepted = {"action": "accept", "content": APPROVED}
        without = (await ask_raw("tools/call", **call, inputResponses={"task_1": accepted}))["result"]
        assert without["resultType"] == "input_required"
        state = first["requestState"]
        other = {**call, "inputResponses": {"task_2": accepted}, "requestState": state}
        assert (await ask_raw("tools/call", **other))["result"]["resultType"] == "input_required"
        assert flat.control.said == []
        right = {**call, "inputResponses": {"task_1": accepted}, "requestState": state}
        assert (await ask_raw("tools/call", **right))["result"]["structuredContent"]["status"] == "answered"
        again = (await ask_raw("tools/call", **right))["result"]
    assert again["isError"]
    assert "already decided by me" in again["content"][0]["text"]
    assert len(flat.control.said) == 1


async def test_the_first_revision_with_forms_is_asked_neither_for_lists_nor_by_pages(flat: Flat, run: Run) -> None:
    task = await flat.runs.task(flat.me, "task_1")
    choice = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}
    listed = task.model_copy(update={"form": {"type": "object", "properties": {"which": choice}}})
    forms = types.ElicitationCapability()
    assert ask(task, forms, "http://page", "2025-06-18") is not None
    assert ask(listed, forms, "http://page", "2025-06-18") is None
    assert ask(listed, forms, "http://page", "2025-11-25") is not None
