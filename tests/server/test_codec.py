"""Sealed payloads: through every path of the real server, and refused wherever they do not belong."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError, ChildWorkflowError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from engine.errors import Invalid, Unavailable
from server.codec import Binding, SealingCodec, make_data_converter, tenant_of
from server.data_folder import DataFolder, open_data_folder
from server.keys import KeyRing, Unsealable, open_key_ring
from server.payloads import open_payload_store
from server.settings import TemporalSettings
from server.temporal import connect
from server.temporal_child import EmbeddedTemporal

pytestmark = pytest.mark.anyio

EMBEDDED = TemporalSettings(durability="normal")
SHORT = timedelta(seconds=10)


class Word(BaseModel):
    text: str


@activity.defn
async def echo(word: Word) -> Word:
    if not activity.info().is_local:
        activity.heartbeat(Word(text="planted-heartbeat"))
    return Word(text=word.text + " planted-activity-result")


@activity.defn
async def big(size: int) -> str:
    return "planted-big " * (size // 12)


@activity.defn
async def flaky(word: Word) -> Word:
    if activity.info().attempt == 1:
        activity.heartbeat(Word(text="planted-progress"))
        raise ApplicationError("planted-activity-failure", Word(text="planted-details"))
    (progress,) = activity.info().heartbeat_details
    return Word(text=f"{word.text} {progress['text']}")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, word: Word) -> Word:
        if word.text == "planted-fail":
            raise ApplicationError("planted-child-failure", Word(text="planted-failure-details"))
        return Word(text=word.text + " planted-child-result")


@workflow.defn
class Target:
    def __init__(self) -> None:
        self._word: Word | None = None

    @workflow.run
    async def run(self) -> Word:
        await workflow.wait_condition(lambda: self._word is not None)
        assert self._word is not None
        return self._word

    @workflow.signal
    async def tell(self, word: Word) -> None:
        self._word = word


@workflow.defn
class Everything:
    @workflow.init
    def __init__(self, word: Word, again: bool) -> None:
        self._words = [word.text]
        self._done = False

    @workflow.run
    async def run(self, word: Word, again: bool) -> list[str]:
        if again:
            workflow.continue_as_new(args=[Word(text="planted-continued"), False])
        for run, arguments in ((workflow.execute_activity, {}), (workflow.execute_local_activity, {})):
            result = await run(echo, word, start_to_close_timeout=SHORT, summary="planted-summary", **arguments)
            self._words.append(result.text)
        self._words.append((await workflow.execute_activity(flaky, word, start_to_close_timeout=SHORT)).text)
        child = await workflow.execute_child_workflow(
            Child.run, Word(text="planted-child"), id=f"{workflow.info().workflow_id}.child"
        )
        self._words.append(child.text)
        try:
            await workflow.execute_child_workflow(
                Child.run, Word(text="planted-fail"), id=f"{workflow.info().workflow_id}.failing"
            )
        except ChildWorkflowError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError)
            self._words += [cause.message, cause.details[0]["text"]]
        target = workflow.get_external_workflow_handle("acme/run_target")
        await target.signal(Target.tell, Word(text="planted-external-signal"))
        await workflow.wait_condition(lambda: self._done and workflow.all_handlers_finished())
        return self._words

    @workflow.signal
    async def tell(self, word: Word) -> None:
        self._words.append(word.text)

    @workflow.update
    async def finish(self, word: Word) -> Word:
        self._done = True
        return Word(text=word.text + " planted-update-result")

    @workflow.query
    def words(self, word: Word) -> list[str]:
        return [word.text, *self._words]


@workflow.defn
class Scheduled:
    @workflow.run
    async def run(self, word: Word) -> Word:
        last = workflow.get_last_completion_result(Word)
        return Word(text=f"{word.text} after {last.text[:20] if last else 'none'}")


@workflow.defn
class Big:
    @workflow.run
    async def run(self, size: int) -> str:
        return await workflow.execute_activity(big, size, start_to_close_timeout=SHORT)


@workflow.defn
class Failing:
    @workflow.run
    async def run(self, word: Word) -> None:
        raise ApplicationError("planted-message", word)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return open_data_folder(tmp_path / "data")


@pytest.fixture
def keys(folder: DataFolder) -> KeyRing:
    return open_key_ring(folder)


@pytest.fixture
def converter(folder: DataFolder, keys: KeyRing) -> DataConverter:
    return make_data_converter(keys, open_payload_store(folder.blobs.as_uri()))


@asynccontextmanager
async def working(folder: DataFolder, converter: DataConverter) -> AsyncGenerator[Client]:
    async with EmbeddedTemporal(EMBEDDED, folder):
        client = await connect(EMBEDDED, folder, converter)
        async with Worker(
            client,
            task_queue="q",
            workflows=[Everything, Child, Target, Scheduled, Big, Failing],
            activities=[echo, big, flaky],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=0,
        ):
            yield client


def files_with(folder: DataFolder, planted: bytes) -> list[Path]:
    return [path for path in folder.root.rglob("*") if path.is_file() and planted in path.read_bytes()]


async def test_every_path_of_a_run_round_trips_and_leaves_no_plaintext_on_disk(
    folder: DataFolder, converter: DataConverter
):
    with anyio.fail_after(40):
        async with working(folder, converter) as client:
            target = await client.start_workflow(Target.run, id="acme/run_target", task_queue="q")
            handle = await client.start_workflow(
                Everything.run,
                args=[Word(text="planted-input"), True],
                id="acme/run_1",
                task_queue="q",
                memo={"note": "planted-memo"},
                static_summary="planted-static",
                start_signal="tell",
                start_signal_args=[Word(text="planted-start-signal")],
            )
            assert (await target.result()).text == "planted-external-signal"
            await handle.signal(Everything.tell, Word(text="planted-signal"))
            update = await handle.execute_update(Everything.finish, Word(text="planted-update"))
            assert update.text == "planted-update planted-update-result"
            words = await handle.result()
            assert words[0] == "planted-continued"
            assert "planted-continued planted-activity-result" in words
            assert "planted-continued planted-progress" in words
            assert "planted-child planted-child-result" in words
            assert "planted-child-failure" in words
            assert "planted-failure-details" in words
            assert "planted-signal" in words
            assert await handle.query(Everything.words, Word(text="planted-query")) == ["planted-query", *words]
            assert await (await handle.describe()).memo_value("note", type_hint=str) == "planted-memo"
            listed = [await run.memo() async for run in client.list_workflows("WorkflowId = 'acme/run_1'")]
            assert listed
            assert all(memo == {"note": "planted-memo"} for memo in listed)
            replayer = Replayer(
                workflows=[Everything], data_converter=converter, workflow_runner=UnsandboxedWorkflowRunner()
            )
            await replayer.replay_workflow(await handle.fetch_history())
        assert files_with(folder, b"run_target")
        assert files_with(folder, b"planted") == []


async def test_plaintext_would_have_been_found_where_it_was_looked_for(folder: DataFolder):
    with anyio.fail_after(20):
        async with working(folder, pydantic_data_converter) as client:
            await client.execute_workflow(Child.run, Word(text="planted-input"), id="acme/run_1", task_queue="q")
        assert files_with(folder, b"planted-input") != []
        assert files_with(folder, b"planted-child-result") != []


async def test_a_failure_keeps_its_message_sealed_and_arrives_whole(folder: DataFolder, converter: DataConverter):
    with anyio.fail_after(20):
        async with working(folder, converter) as client:
            with pytest.raises(WorkflowFailureError) as failed:
                await client.execute_workflow(Failing.run, Word(text="planted-word"), id="acme/run_1", task_queue="q")
            cause = failed.value.cause
            assert isinstance(cause, ApplicationError)
            assert cause.message == "planted-message"
            assert cause.details[0]["text"] == "planted-word"
        assert files_with(folder, b"planted") == []


async def test_a_schedules_runs_open_its_input_and_the_result_of_the_run_before(
    folder: DataFolder, converter: DataConverter
):
    with anyio.fail_after(30):
        async with working(folder, converter) as client:
            action = ScheduleActionStartWorkflow(
                Scheduled.run, Word(text="planted-schedule"), id="acme/run_daily", task_queue="q"
            )
            schedule = await client.create_schedule("acme/daily", Schedule(action=action, spec=ScheduleSpec()))
            texts: list[str] = []
            for count in (1, 2):
                await schedule.trigger()
                while len(actions := (await schedule.describe()).info.recent_actions) < count:
                    pass
                started = actions[-1].action
                assert isinstance(started, ScheduleActionExecutionStartWorkflow)
                run = client.get_workflow_handle(started.workflow_id, result_type=Word)
                texts.append((await run.result()).text)
            assert texts == ["planted-schedule after none", "planted-schedule after planted-schedule aft"]
        assert files_with(folder, b"planted") == []


async def test_a_result_of_five_megabytes_is_kept_sealed_in_the_blob_store(
    folder: DataFolder, converter: DataConverter
):
    with anyio.fail_after(30):
        async with working(folder, converter) as client:
            result = await client.execute_workflow(Big.run, 5_000_000, id="acme/run_1", task_queue="q")
            assert len(result) == 12 * (5_000_000 // 12)
            kept = [path for path in folder.blobs.rglob("*") if path.is_file()]
            assert len(kept) == 2
            assert {path.parent.relative_to(folder.blobs).as_posix() for path in kept} == {"payloads/acme/run_1"}
            assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
            small = await client.execute_workflow(Big.run, 1200, id="acme/run_2", task_queue="q")
            assert len(small) == 1200
            assert len([path for path in folder.blobs.rglob("*") if path.is_file()]) == 2
            for path in kept:
                path.unlink()
            with pytest.raises(Unavailable, match="not in the blob store"):
                await client.get_workflow_handle("acme/run_1").result()
        assert files_with(folder, b"planted") == []


async def test_a_client_with_another_key_ring_is_told_which_key_is_missing(
    folder: DataFolder, keys: KeyRing, converter: DataConverter
):
    with anyio.fail_after(20):
        async with working(folder, converter) as client:
            await client.execute_workflow(Child.run, Word(text="a"), id="acme/run_1", task_queue="q")
            stranger = await connect(EMBEDDED, folder, make_data_converter(KeyRing.in_memory()))
            with pytest.raises(Unsealable, match=f"Sealed with key '{keys.ids[0]}', which is not in the key ring"):
                await stranger.get_workflow_handle("acme/run_1").result()


async def test_a_run_started_before_a_rotation_goes_on_after_it(
    folder: DataFolder, keys: KeyRing, converter: DataConverter
):
    with anyio.fail_after(20):
        async with working(folder, converter) as client:
            target = await client.start_workflow(Target.run, id="acme/run_target", task_queue="q")
            elsewhere = await connect(EMBEDDED, folder, make_data_converter(open_key_ring(folder)))
            old = keys.ids[0]
            new = keys.rotate()
            await target.signal(Target.tell, Word(text="after"))
            assert (await elsewhere.get_workflow_handle_for(Target.run, "acme/run_target").result()).text == "after"
            assert keys.ids == (new, old)


def at(codec: SealingCodec, workflow_id: str) -> SealingCodec:
    return codec.with_context(WorkflowSerializationContext(namespace="n", workflow_id=workflow_id))


PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"secret"')


@pytest.mark.parametrize("other", ["acme/run_2", "other/run_1", "acme/run_1x", "acme/run_1-2026-01-01"])
async def test_a_payload_copied_into_another_workflow_does_not_open(keys: KeyRing, other: str):
    codec = SealingCodec(keys)
    sealed = await at(codec, "acme/run_1").encode([PLAIN])
    assert await at(codec, "acme/run_1").decode(sealed) == [PLAIN]
    with pytest.raises(Unsealable, match=other):
        await at(codec, other).decode(sealed)


async def test_a_payload_that_is_not_sealed_is_refused(keys: KeyRing):
    codec = at(SealingCodec(keys), "acme/run_1")
    with pytest.raises(Unsealable, match="not sealed"):
        await codec.decode([PLAIN])


async def test_a_changed_payload_is_refused_at_every_byte(keys: KeyRing):
    codec = at(SealingCodec(keys), "acme/run_1")
    (sealed,) = await codec.encode([PLAIN])
    assert b"secret" not in sealed.SerializeToString()
    for index in range(len(sealed.data)):
        data = bytearray(sealed.data)
        data[index] ^= 1
        with pytest.raises(Unsealable):
            await codec.decode([Payload(metadata=sealed.metadata, data=bytes(data))])
    with pytest.raises(Unsealable):
        await codec.decode([Payload(metadata={**sealed.metadata, "key": b"\xff" * 16}, data=sealed.data)])


async def test_without_a_workflow_nothing_is_sealed_or_opened(keys: KeyRing):
    codec = SealingCodec(keys)
    with pytest.raises(Invalid, match="with_context"):
        await codec.encode([PLAIN])
    sealed = await at(codec, "acme/run_1").encode([PLAIN])
    with pytest.raises(Invalid, match="with_context"):
        await codec.decode(sealed)


@pytest.mark.parametrize("workflow_id", ["run_1", "/run_1", "acme/", "ACME/run_1", "a b/run_1", "acme\n/run"])
def test_a_workflow_id_without_a_tenant_is_refused(workflow_id: str):
    with pytest.raises(Invalid, match="<tenant>/<run id>"):
        tenant_of(workflow_id)


def test_a_scheduled_run_is_bound_like_its_schedule():
    assert Binding.of("acme/daily-2026-11-22T08:00:00Z") == Binding.of("acme/daily")
    assert tenant_of("acme/daily-2026-11-22T08:00:00Z") == "acme"
    assert Binding.of("acme/daily") != Binding.of("acme/weekly")
