"""The run model in SQL: applied once, numbered without gap, chained, seen by its tenant alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from content.blobs import Blobs
from content.database import Database
from engine.errors import Conflict, Invalid, NotFound
from engine.ports import RunFilter
from engine.runs import (
    Answer,
    AuditDraft,
    Change,
    EventDraft,
    Run,
    Seat,
    StartRun,
    TaskClosed,
    TaskDraft,
    derived_id,
)
from engine.values import Principal, Spent
from server.hub import Hub
from server.keys import KeyRing
from server.store import tables
from server.store.effects import SqlEffects
from server.store.runs import SqlRunStore
from server.store.secrets import SqlSecrets

pytestmark = pytest.mark.anyio

START = StartRun(kind="process", definition="invoice_approval", version="1", input={"document": "obj_1"})


@pytest.fixture
def store(database: Database, tmp_path: Path) -> SqlRunStore:
    return SqlRunStore(database, Blobs(tmp_path / "blobs"), KeyRing.in_memory(), Hub())


def step(run: Run, key: str, **fields: object) -> Change:
    return Change.model_validate(
        {
            "run": run.ref,
            "key": key,
            "events": (EventDraft(key=key, type="node.finished"),),
            "audit": (AuditDraft(key=key, actor="alice", action="node.finished", data={"step": key}),),
            **fields,
        }
    )


async def test_a_change_is_applied_once_however_often_it_is_repeated(store: SqlRunStore, alice: Principal) -> None:
    run, _ = await store.create(alice, START)
    change = step(run, "step/1", status="running", spent=Spent(turns=1, usd=0.5))
    first = await store.apply(change)
    again = await store.apply(change)
    assert first == again
    found = await store.get(alice, run.run_id)
    assert (found.status, found.spent.turns, found.spent.usd) == ("running", 1, 0.5)
    assert [event.type for event in await store.events(alice, run.run_id)] == ["node.finished", "run.status"]
    assert len(await store.audit(alice, run.run_id)) == 1


async def test_events_are_numbered_without_gap_and_read_behind_a_cursor(store: SqlRunStore, alice: Principal) -> None:
    run, _ = await store.create(alice, START)
    for number in range(1, 6):
        await store.apply(step(run, f"step/{number}"))
    assert [event.seq for event in await store.events(alice, run.run_id)] == [1, 2, 3, 4, 5]
    assert [event.key for event in await store.events(alice, run.run_id, after=3)] == ["step/4", "step/5"]


async def test_the_same_key_starts_one_run_and_another_input_under_it_is_refused(
    store: SqlRunStore, alice: Principal
) -> None:
    keyed = START.model_copy(update={"idempotency_key": "k1"})
    first, fresh = await store.create(alice, keyed)
    second, again = await store.create(alice, keyed)
    assert (first.run_id, fresh, again) == (second.run_id, True, False)
    with pytest.raises(Conflict, match="k1"):
        await store.create(alice, keyed.model_copy(update={"input": {"document": "obj_2"}}))


async def test_a_key_of_another_caller_starts_a_run_of_its_own(store: SqlRunStore, alice: Principal) -> None:
    keyed = START.model_copy(update={"idempotency_key": "k1"})
    bob = alice.model_copy(update={"subject": "bob"})
    mine, _ = await store.create(alice, keyed)
    his, fresh = await store.create(bob, keyed)
    assert fresh
    assert mine.run_id != his.run_id


async def test_a_run_of_another_tenant_does_not_exist(store: SqlRunStore, alice: Principal, mallory: Principal) -> None:
    run, _ = await store.create(alice, START)
    await store.apply(step(run, "step/1"))
    unknown = "run_00000000000000000000000000"
    for call in (store.get, store.events, store.audit, store.artifacts, store.verify_audit):
        with pytest.raises(NotFound) as foreign:
            await call(mallory, run.run_id)
        with pytest.raises(NotFound) as missing:
            await call(mallory, unknown)
        assert foreign.value.message.replace(run.run_id, "") == missing.value.message.replace(unknown, "")
    assert await store.list(mallory, RunFilter()) == []
    assert await store.tasks(mallory) == []


async def test_a_run_of_another_tenant_is_no_parent(store: SqlRunStore, alice: Principal, mallory: Principal) -> None:
    run, _ = await store.create(alice, START)
    child, _ = await store.create(alice, START.model_copy(update={"parent_id": run.run_id}))
    assert child.root_id == run.run_id
    with pytest.raises(NotFound, match="parent"):
        await store.create(mallory, START.model_copy(update={"parent_id": run.run_id}))


async def test_without_a_role_one_sees_ones_own_runs_alone(store: SqlRunStore, alice: Principal) -> None:
    run, _ = await store.create(alice, START)
    carol = Principal(tenant="local", subject="carol")
    mine, _ = await store.create(carol, START)
    assert [found.run_id for found in await store.list(carol, RunFilter())] == [mine.run_id]
    with pytest.raises(NotFound):
        await store.get(carol, run.run_id)


async def test_a_finished_run_stays_as_it_ended(store: SqlRunStore, alice: Principal) -> None:
    run, _ = await store.create(alice, START)
    await store.apply(step(run, "finished", status="completed", result={"outcome": "paid"}))
    await store.apply(step(run, "late", status="failed"))
    found = await store.get(alice, run.run_id)
    assert (found.status, found.result) == ("completed", {"outcome": "paid"})
    assert found.finished_at is not None


async def test_a_task_is_open_until_it_is_answered_and_seen_by_its_seat(store: SqlRunStore, alice: Principal) -> None:
    run, _ = await store.create(alice, START)
    draft = TaskDraft(
        task_id=derived_id("task", run.run_id, "1"),
        kind="decision",
        node="approve",
        title="Pay?",
        decisions=("approve", "reject"),
        seat=Seat(roles=("finance",)),
    )
    await store.apply(step(run, "ask", opened=(draft,), status="waiting"))
    finance = Principal(tenant="local", subject="fay", roles=frozenset({"finance"}))
    stranger = Principal(tenant="local", subject="sid")
    assert [task.task_id for task in await store.tasks(finance)] == [draft.task_id]
    assert await store.tasks(stranger) == []
    closed = TaskClosed(task_id=draft.task_id, status="answered", answer=Answer(decision="approve"), by="fay")
    await store.apply(step(run, "answered", closed=(closed,)))
    found = await store.task(alice, draft.task_id)
    assert (found.status, found.answered_by, found.answer) == ("answered", "fay", Answer(decision="approve"))
    assert await store.tasks(finance) == []


@pytest.mark.parametrize(
    ("damage", "first_bad"),
    [
        ("UPDATE audit SET action = 'forged' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("UPDATE audit SET actor = 'eve' WHERE seq = 4", 4),
    ],
)
async def test_a_damaged_audit_chain_names_its_first_bad_record(
    store: SqlRunStore, database: Database, alice: Principal, damage: str, first_bad: int
) -> None:
    run, _ = await store.create(alice, START)
    for number in range(1, 5):
        await store.apply(step(run, f"step/{number}"))
    whole = await store.verify_audit(alice, run.run_id)
    assert (whole.valid, whole.records) == (True, 4)
    async with database.write() as connection:
        await connection.execute(sa.text(damage))
    verdict = await store.verify_audit(alice, run.run_id)
    assert (verdict.valid, verdict.first_bad) == (False, first_bad)


async def test_a_tail_cut_from_a_finished_run_is_found_by_its_signed_anchor(
    store: SqlRunStore, database: Database, alice: Principal
) -> None:
    run, _ = await store.create(alice, START)
    await store.apply(step(run, "step/1"))
    await store.apply(step(run, "finished", status="completed"))
    assert (await store.verify_audit(alice, run.run_id)).anchored
    records = await store.audit(alice, run.run_id)
    async with database.write() as connection:
        await connection.execute(sa.text("DELETE FROM audit WHERE seq = 2"))
        # An intruder who can write the database makes the row agree; the signature is out of reach.
        await connection.execute(tables.runs.update().values(audit_seq=1, audit_head=records[0].hash))
        await connection.execute(tables.anchors.update().values(audit_seq=1, head=records[0].hash))
    verdict = await store.verify_audit(alice, run.run_id)
    assert not verdict.valid
    assert "signature" in verdict.reason


async def test_what_is_recorded_of_a_run_that_is_over_is_anchored_as_well(store: SqlRunStore, alice: Principal) -> None:
    run, _ = await store.create(alice, START)
    await store.apply(step(run, "finished", status="completed"))
    await store.apply(step(run, "late"))
    verdict = await store.verify_audit(alice, run.run_id)
    assert (verdict.valid, verdict.records, verdict.anchored) == (True, 2, True)
    await store.apply(Change(run=run.ref, key="unaudited"))
    assert (await store.verify_audit(alice, run.run_id)).anchored


async def test_an_intent_is_remembered_until_its_outcome(
    database: Database, store: SqlRunStore, alice: Principal
) -> None:
    run, _ = await store.create(alice, START)
    effects = SqlEffects(database)
    assert (await effects.begin(run.ref, "pay")).state == "first"
    assert (await effects.begin(run.ref, "pay")).state == "repeat"
    await effects.finish(run.ref, "pay", {"paid": True})
    await effects.finish(run.ref, "pay", {"paid": False})
    done = await effects.begin(run.ref, "pay")
    assert (done.state, done.outcome) == ("done", {"paid": True})


async def test_artifacts_are_versioned_by_write_and_repeated_writes_add_nothing(
    store: SqlRunStore, alice: Principal
) -> None:
    run, _ = await store.create(alice, START)
    first = await store.write_artifact(run.ref, "report.md", b"one", mime="text/markdown", key="a")
    again = await store.write_artifact(run.ref, "report.md", b"other", mime="text/markdown", key="a")
    second = await store.write_artifact(run.ref, "report.md", b"two", mime="text/markdown", key="b")
    assert (first.version, again, second.version) == (1, first, 2)
    assert (await store.read_artifact(alice, run.run_id, "report.md"))[1] == b"two"


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "a/../../b", "", "a\0b", "a\\b", "./a", "x" * 401])
async def test_an_artifact_path_that_leaves_its_run_is_refused(store: SqlRunStore, alice: Principal, path: str) -> None:
    run, _ = await store.create(alice, START)
    with pytest.raises(Invalid):
        await store.write_artifact(run.ref, path, b"x", mime="text/plain", key="a")


async def test_a_secret_is_sealed_for_its_tenant_and_name(
    database: Database, alice: Principal, mallory: Principal
) -> None:
    secrets = SqlSecrets(database, KeyRing.in_memory())
    await secrets.put(alice, "erp", "hunter2")
    assert await secrets.resolve("local", "erp") == "hunter2"
    with pytest.raises(NotFound):
        await secrets.resolve("other", "erp")
    async with database.read() as connection:
        sealed = (await connection.execute(sa.select(tables.secrets.c.sealed))).scalar_one()
    assert "hunter2" not in sealed
    assert await secrets.names(mallory) == []


WRITER = """
import asyncio, sys
from content.blobs import Blobs
from content.database import Database
from engine.runs import Change, EventDraft, AuditDraft, RunRef
from server.hub import Hub
from server.keys import KeyRing
from server.store.runs import SqlRunStore

async def main(url, blobs, run_id, name, count):
    database = Database(url)
    store = SqlRunStore(database, Blobs(blobs), KeyRing.in_memory(), Hub())
    for number in range(count):
        key = f"{name}/{number}"
        await store.apply(Change(
            run=RunRef(tenant="local", run_id=run_id), key=key,
            events=(EventDraft(key=key, type="written"),),
            audit=(AuditDraft(key=key, actor=name, action="written"),),
        ))
    await database.close()

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
"""


async def test_four_processes_write_at_once_and_nothing_is_lost_or_locked(
    store: SqlRunStore, database: Database, alice: Principal, tmp_path: Path
) -> None:
    run, _ = await store.create(alice, START)
    url = database.url.render_as_string(hide_password=False)
    root = Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(tmp_path / "blobs"), run.run_id, f"writer{number}", "40"],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    events = await store.events(alice, run.run_id)
    assert [event.seq for event in events] == list(range(1, 161))
    assert {event.key for event in events} == {f"writer{a}/{b}" for a in range(4) for b in range(40)}
    assert (await store.verify_audit(alice, run.run_id)).valid
