"""The registers of the example: what systems outside would know and do, kept in one SQLite file.

`UPSTAIRS_EXAMPLE_REGISTERS` names the file, else it lies in the temporary folder. Every change is keyed by the call
that made it, so that a repeated call changes nothing and answers alike.
"""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from engine.errors import NotFound
from engine.values import Value, digest, utc_now
from skills.services import ToolContext
from skills.tool import tool

REGISTERS = "UPSTAIRS_EXAMPLE_REGISTERS"

Register = Literal[
    "credit", "sanctions", "bank", "suppliers", "loans", "claims", "contracts", "staff", "access", "equipment",
    "payroll", "incidents", "erasures", "publications",
]  # fmt: skip

Subject = Annotated[str, Field(description="whom or what it is about, by name or number", min_length=1, max_length=200)]

TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, entry_id TEXT UNIQUE, tenant TEXT, register TEXT, subject TEXT, details TEXT,
    entered_at TEXT, withdrawn TEXT
);
CREATE TABLE IF NOT EXISTS notices (notice_id TEXT PRIMARY KEY, tenant TEXT, told TEXT, subject TEXT, body TEXT);
"""


class Known(Value):
    """What a register says of a subject; `record` is empty where it has nothing."""

    register_name: str
    subject: str
    found: bool
    record: dict[str, JsonValue]


class Entry(Value):
    """An entry; `withdrawn` is the reason why it counts no longer, else empty."""

    entry_id: str
    register_name: str
    subject: str
    details: str
    entered_at: str
    withdrawn: str = ""


class Entries(Value):
    """Entries, oldest first."""

    entries: list[Entry]


class Notice(Value):
    """A message that would have been sent."""

    notice_id: str
    to: str
    subject: str


RECORDS: dict[tuple[str, str], dict[str, JsonValue]] = {
    ("credit", "Mira Sand"): {"score": 812, "open_loans": 0},
    ("credit", "Jon Reef"): {"score": 540, "open_loans": 3},
    ("sanctions", "Gale Trading"): {"listed": True, "list": "invented list 7"},
    ("bank", "Northwind Instruments"): {"iban": "XX00 0000 0000 0001", "holder": "Northwind Instruments"},
    ("suppliers", "Northwind Instruments"): {"agreement": "FA-2026-031", "since": "2019-04-01"},
    ("claims", "Jon Reef"): {"claims_in_three_years": 6},
    ("staff", "Mira Sand"): {"systems": ["mail", "wiki"], "manager": "Ines Falk"},
}


@tool()
async def look_up(ctx: ToolContext, register: Register, subject: Subject) -> Known:
    """See what a register says of somebody or something."""
    record = RECORDS.get((register, subject))
    return Known(register_name=register, subject=subject, found=record is not None, record=record or {})


@tool(effect="side_effecting", honours_key=True)
async def enter(
    ctx: ToolContext,
    register: Register,
    subject: Subject,
    details: Annotated[str, Field(description="what the entry says", max_length=10_000)] = "",
) -> Entry:
    """Make an entry in a register. The same call repeated enters once and answers alike."""
    entry = Entry(
        entry_id=f"entry_{digest([ctx.principal.tenant, ctx.key])[:16]}",
        register_name=register,
        subject=subject,
        details=details,
        entered_at=utc_now().isoformat(timespec="seconds"),
    )
    return await asyncio.to_thread(_enter, ctx.principal.tenant, entry)


@tool(effect="side_effecting", honours_key=True)
async def withdraw(
    ctx: ToolContext,
    entry_id: Annotated[str, Field(description="as enter has given it", pattern="^entry_[0-9a-f]{16}$")],
    reason: Annotated[str, Field(min_length=1, max_length=1000)],
) -> Entry:
    """Let an entry count no longer; it stays readable with the reason. The first reason stands."""
    return await asyncio.to_thread(_withdraw, ctx.principal.tenant, entry_id, reason)


@tool(effect="side_effecting", honours_key=True)
async def notify(
    ctx: ToolContext,
    to: Annotated[str, Field(description="who is told", min_length=1, max_length=200)],
    subject: Annotated[str, Field(min_length=1, max_length=200)],
    text: Annotated[str, Field(max_length=10_000)] = "",
) -> Notice:
    """Tell somebody. The same call repeated tells once."""
    notice = Notice(notice_id=f"notice_{digest([ctx.principal.tenant, ctx.key])[:16]}", to=to, subject=subject)
    return await asyncio.to_thread(_notify, ctx.principal.tenant, notice, text)


@tool()
async def entries(ctx: ToolContext, register: Register) -> Entries:
    """List what has been entered in a register."""
    return Entries(entries=await asyncio.to_thread(_entries, ctx.principal.tenant, register))


def registers_path() -> Path:
    """Return the file of the registers."""
    return Path(os.environ.get(REGISTERS) or Path(tempfile.gettempdir()) / "upstairs-example-registers.db")


@contextmanager
def _opened() -> Generator[sqlite3.Connection]:
    """Yield the open file in a transaction that nobody else writes in."""
    path = registers_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.executescript(TABLES)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def _enter(tenant: str, entry: Entry) -> Entry:
    with _opened() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO entries (entry_id, tenant, register, subject, details, entered_at, withdrawn) "
            "VALUES (?, ?, ?, ?, ?, ?, '')",
            (entry.entry_id, tenant, entry.register_name, entry.subject, entry.details, entry.entered_at),
        )
        return _found(connection, tenant, entry.entry_id)


def _withdraw(tenant: str, entry_id: str, reason: str) -> Entry:
    with _opened() as connection:
        connection.execute(
            "UPDATE entries SET withdrawn = ? WHERE tenant = ? AND entry_id = ? AND withdrawn = ''",
            (reason, tenant, entry_id),
        )
        return _found(connection, tenant, entry_id)


def _notify(tenant: str, notice: Notice, text: str) -> Notice:
    with _opened() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO notices VALUES (?, ?, ?, ?, ?)",
            (notice.notice_id, tenant, notice.to, notice.subject, text),
        )
    return notice


def _entries(tenant: str, register: str) -> list[Entry]:
    with _opened() as connection:
        rows = connection.execute(
            "SELECT entry_id, register, subject, details, entered_at, withdrawn FROM entries "
            "WHERE tenant = ? AND register = ? ORDER BY number",
            (tenant, register),
        )
        return [_entry(row) for row in rows]


def _found(connection: sqlite3.Connection, tenant: str, entry_id: str) -> Entry:
    row = connection.execute(
        "SELECT entry_id, register, subject, details, entered_at, withdrawn FROM entries "
        "WHERE tenant = ? AND entry_id = ?",
        (tenant, entry_id),
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no entry {entry_id!r}; take the id from what enter has answered", entry_id=entry_id)
    return _entry(row)


def _entry(row: tuple[str, str, str, str, str, str]) -> Entry:
    entry_id, register, subject, details, entered_at, withdrawn = row
    return Entry(
        entry_id=entry_id,
        register_name=register,
        subject=subject,
        details=details,
        entered_at=entered_at,
        withdrawn=withdrawn,
    )
