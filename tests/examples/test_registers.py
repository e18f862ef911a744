"""The registers of the examples: entries by key, withdrawals, notices."""

import asyncio
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import examples
from engine.errors import NotFound
from engine.values import Principal
from skills.catalogue import Catalogue

pytestmark = pytest.mark.anyio

SKILLS = Path(examples.__file__).parent / "skills"
OTTO = Principal(tenant="local", subject="otto")


@pytest.fixture(autouse=True)
def registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "made" / "registers.db"
    monkeypatch.setenv("UPSTAIRS_EXAMPLE_REGISTERS", str(path))
    return path


async def call(name: str, key: str = "run/1", tenant: str = "local", **arguments: Any) -> Any:
    skill = Catalogue.load([SKILLS]).get(OTTO, "back_office")
    function = next(one.function for one in skill.tools if one.spec.name == f"back_office.{name}")
    principal = Principal(tenant=tenant, subject="otto")
    return await function(SimpleNamespace(principal=principal, key=key), **arguments)


async def enter(key: str, tenant: str = "local") -> Any:
    return await call("enter", key, tenant, register="loans", subject="Mira Sand", details="5 EUR")


async def test_an_entry_is_made_once_per_key_though_calls_come_at_the_same_time() -> None:
    first, again, other = await asyncio.gather(enter("run/1"), enter("run/1"), enter("run/2"))
    assert first.model_dump() == again.model_dump()
    assert first.entry_id != other.entry_id
    listed = await call("entries", register="loans")
    assert {one.entry_id for one in listed.entries} == {first.entry_id, other.entry_id}


async def test_what_is_withdrawn_stays_with_its_first_reason() -> None:
    made = await enter("run/1")
    for reason in ("an error", "another"):
        await call("withdraw", entry_id=made.entry_id, reason=reason)
    (entry,) = (await call("entries", register="loans")).entries
    assert (entry.withdrawn, entry.details) == ("an error", "5 EUR")


async def test_another_tenant_neither_sees_nor_withdraws_an_entry() -> None:
    made = await enter("run/1")
    assert (await call("entries", tenant="other", register="loans")).entries == []
    with pytest.raises(NotFound, match=made.entry_id):
        await call("withdraw", tenant="other", entry_id=made.entry_id, reason="mine")


async def test_somebody_is_told_once_per_key(registers: Path) -> None:
    for _ in range(2):
        await call("notify", to="mira", subject="Approved", text="Your loan.")
    with sqlite3.connect(registers) as connection:
        told = connection.execute("SELECT told, subject FROM notices").fetchall()
    connection.close()
    assert told == [("mira", "Approved")]


async def test_a_register_says_what_it_knows_and_that_it_knows_nothing() -> None:
    known = await call("look_up", register="credit", subject="Mira Sand")
    assert (known.found, known.record["score"]) == (True, 812)
    assert (await call("look_up", register="credit", subject="Nobody")).found is False
