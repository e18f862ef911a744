"""The audit chain of a run, and the signed chain of a tenant in which the heads of its runs are anchored.

Each record's hash covers its own fields and the hash before it, so that a changed, removed, added or moved record
is found. The tail can't be cut unnoticed either: when a run ends, its head is anchored under a signature.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Problem
from engine.process.paths import short_path
from engine.runs import AuditDraft, AuditRecord, RunRef
from engine.values import Value, canonical_json, utc_now
from server.store import tables

GENESIS = "0" * 64
ANCHOR = "audit anchor"


class Signer(Protocol):
    """The key ring, as far as anchors need it."""

    def sign(self, data: bytes, aad: str) -> str:
        """Return a signature that names its key."""
        ...

    def verify(self, data: bytes, signature: str, aad: str) -> None:
        """Return if `signature` is one of ours over `data`; raise a Problem otherwise."""
        ...


class ChainVerdict(Value):
    """Whether a chain is whole; `first_bad` is the number of the first record that is not, with the reason."""

    valid: bool
    records: int
    head: str
    anchored: bool = False
    first_bad: int | None = None
    reason: str = ""


def record_hash(record: dict[str, Any]) -> str:
    """Return the hash of a record: sha256 over the canonical JSON of all its fields but the hash itself."""
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def _hashed_fields(run_id: str, seq: int, at: datetime, draft: AuditDraft, previous: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "seq": seq,
        "at": at.isoformat(),
        "actor": draft.actor,
        "action": draft.action,
        "node": draft.node,
        "attempt": draft.attempt,
        "data": draft.data,
        "previous_hash": previous,
    }


async def append(
    connection: AsyncConnection, run: RunRef, drafts: Sequence[AuditDraft], seq: int, head: str
) -> tuple[int, str]:
    """Append records behind number `seq` whose hash is `head`; return the new number and head."""
    rows: list[dict[str, Any]] = []
    for draft in drafts:
        at = draft.at or utc_now()
        fields = _hashed_fields(run.run_id, seq + 1, at, draft, head or GENESIS)
        seq, head = seq + 1, record_hash(fields)
        rows.append({**fields, "tenant": run.tenant, "key": draft.key, "hash": head, "at": at})
    if rows:
        await connection.execute(tables.audit.insert(), rows)
    return seq, head


async def anchor(connection: AsyncConnection, signer: Signer, run: RunRef, audit_seq: int, head: str) -> None:
    """Add the head of a run to the tenant's signed chain."""
    table = tables.anchors
    last = (
        await connection.execute(
            sa.select(table.c.seq, table.c.signature)
            .where(table.c.tenant == run.tenant)
            .order_by(table.c.seq.desc())
            .limit(1)
            .with_for_update()
        )
    ).first()
    seq, previous = (last.seq + 1, last.signature) if last else (1, "")
    at = utc_now()
    message = _anchor_message(run, seq, audit_seq, head, at, previous)
    await connection.execute(
        table.insert().values(
            tenant=run.tenant,
            seq=seq,
            run_id=run.run_id,
            audit_seq=audit_seq,
            head=head,
            at=at,
            previous_signature=previous,
            signature=signer.sign(message, ANCHOR),
        )
    )


def _anchor_message(run: RunRef, seq: int, audit_seq: int, head: str, at: datetime, previous: str) -> bytes:
    return canonical_json([run.tenant, run.run_id, seq, audit_seq, head, at.isoformat(), previous]).encode()


async def read(connection: AsyncConnection, run: RunRef) -> list[AuditRecord]:
    """Return the whole chain of a run, in order."""
    table = tables.audit
    rows = await connection.execute(
        sa.select(table).where(table.c.tenant == run.tenant, table.c.run_id == run.run_id).order_by(table.c.seq)
    )
    return [_record(row) for row in rows]


async def read_item(connection: AsyncConnection, run: RunRef, item: str) -> list[AuditRecord]:
    """Return the records of one item of a foreach, by its key, from a run and the batches below it, oldest first."""
    runs, table = tables.runs, tables.audit
    family, level, steps = [run.run_id], [run.run_id], set[str]()
    while level:
        rows = await connection.execute(
            sa.select(runs.c.run_id, runs.c.input).where(
                runs.c.tenant == run.tenant, runs.c.parent_id.in_(level), runs.c.kind == "batch"
            )
        )
        found = rows.all()
        level = [row.run_id for row in found]
        family += level
        steps |= {str(row.input["step"]) for row in found}
    # Long paths are cut in the names of steps: there only the whole path of the item says which it is.
    cut = [short for step in steps if (short := short_path(path := f"{step}[{item}]/")) != path]
    named = [table.c.key.contains(f"[{item}]/", autoescape=True)]
    named += [table.c.key.startswith(f"step/{one}", autoescape=True) for one in cut]
    query = sa.select(table).where(table.c.tenant == run.tenant, table.c.run_id.in_(family), sa.or_(*named))
    rows = await connection.execute(query.order_by(table.c.at, table.c.run_id, table.c.seq))
    return [_record(row) for row in rows]


def _record(row: "sa.Row[tuple[Any, ...]]") -> AuditRecord:
    found = row._mapping  # pyright: ignore[reportPrivateUsage] # SQLAlchemy's documented name
    return AuditRecord(**{name: found[name] for name in AuditRecord.model_fields})


def verify_chain(records: Sequence[AuditRecord]) -> ChainVerdict:
    """Recompute every hash; name the first record that doesn't fit."""
    head = GENESIS
    for position, record in enumerate(records, start=1):
        fields = record.model_dump(exclude={"hash"})
        fields["at"] = record.at.isoformat()
        if record.seq != position:
            reason = f"record {position} is missing: the next one is numbered {record.seq}"
        elif record.previous_hash != head:
            reason = f"record {position} does not follow the one before it"
        elif record_hash(fields) != record.hash:
            reason = f"record {position} was changed after it was written"
        else:
            head = record.hash
            continue
        return ChainVerdict(valid=False, records=len(records), head=head, first_bad=position, reason=reason)
    return ChainVerdict(valid=True, records=len(records), head=head)


async def verify(connection: AsyncConnection, signer: Signer, run: RunRef) -> ChainVerdict:
    """Verify a run's chain, its end against the run's row, and its anchor with the signature, if it has one."""
    verdict = verify_chain(await read(connection, run))
    if not verdict.valid:
        return verdict
    row = (
        await connection.execute(
            sa.select(tables.runs.c.audit_seq, tables.runs.c.audit_head).where(
                tables.runs.c.tenant == run.tenant, tables.runs.c.run_id == run.run_id
            )
        )
    ).one()
    expected_head = row.audit_head or GENESIS
    if (row.audit_seq, expected_head) != (verdict.records, verdict.head):
        reason = f"the run says {row.audit_seq} records, {verdict.records} are there: the tail was cut or replaced"
        return verdict.model_copy(update={"valid": False, "first_bad": verdict.records + 1, "reason": reason})
    return await _verify_anchor(connection, signer, run, verdict)


async def _verify_anchor(
    connection: AsyncConnection, signer: Signer, run: RunRef, verdict: ChainVerdict
) -> ChainVerdict:
    table = tables.anchors
    anchors = (
        await connection.execute(
            sa.select(table)
            .where(table.c.tenant == run.tenant, table.c.run_id == run.run_id)
            .order_by(table.c.seq.desc())
        )
    ).all()
    for found in anchors:
        message = _anchor_message(run, found.seq, found.audit_seq, found.head, found.at, found.previous_signature)
        try:
            signer.verify(message, found.signature, ANCHOR)
        except Problem:
            reason = f"the anchor {found.seq} of this run has no valid signature"
            return verdict.model_copy(update={"valid": False, "reason": reason})
    if not anchors:
        return verdict
    newest = anchors[0]
    if (newest.audit_seq, newest.head) != (verdict.records, verdict.head):
        reason = f"the anchored head covers {newest.audit_seq} records, the chain has {verdict.records}"
        return verdict.model_copy(update={"valid": False, "first_bad": newest.audit_seq, "reason": reason})
    return verdict.model_copy(update={"anchored": True})
