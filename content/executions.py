"""What ran: one record per model call through an interaction, written once per key, found by what matters."""

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field, JsonValue

from content.database import Database, upsert
from content.tables import executions
from engine.errors import Conflict, NotFound
from engine.routes import Routing
from engine.transcript import Finish, Price, Usage
from engine.values import Principal, Value, new_id, utc_now

Storage = Literal["all", "redacted", "none"]

_LARGEST_PAGE = 200


class ExecutionDraft(Value):
    """A model call to record.

    `key` is unique for its caller and the same for every attempt of a step. `version` is 0 for a draft; `digest` is
    that of the interaction's text, `rendered_digest` that of the messages. `route_origin` says who chose the model,
    `routing` which candidates were passed over and why. `valid` is None where nothing is validated; `violations` say
    what was wrong with the answer. Latencies are in milliseconds; `tries` counts the answers that were asked for.
    `storage` says what is kept of parameters and output.
    """

    key: str = Field(min_length=1, max_length=250)
    interaction: str
    version: int = Field(ge=0)
    digest: str
    rendered_digest: str
    storage: Storage = "all"
    parameters: dict[str, JsonValue] = {}
    output: JsonValue = None
    provider: str
    model: str
    route_origin: str = ""
    routing: Routing | None = None
    options: dict[str, JsonValue] = {}
    usage: Usage = Usage()
    price: Price = Price()
    latency_ms: float = Field(default=0.0, ge=0)
    first_token_ms: float | None = Field(default=None, ge=0)
    finish: Finish
    valid: bool | None = None
    violations: tuple[str, ...] = ()
    tries: int = Field(default=1, ge=1)
    run_id: str | None = None


class Execution(ExecutionDraft):
    """A recorded call; parameters and output are as the storage level left them."""

    execution_id: str
    subject: str
    at: datetime


class ExecutionFilters(Value):
    """What executions must be like; all of it holds at once."""

    interaction: str | None = None
    version: int | None = None
    run_id: str | None = None
    provider: str | None = None
    model: str | None = None
    finish: str | None = None
    valid: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


class ExecutionPage(Value):
    """Executions, newest first; `after` continues the list and is None at its end."""

    executions: tuple[Execution, ...]
    after: str | None = None


def redacted(value: JsonValue) -> JsonValue:
    """Return the shape of a value without what it says: keys and lengths stay, texts and numbers don't."""
    if isinstance(value, dict):
        return {key: redacted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [redacted(entry) for entry in value]
    if isinstance(value, str):
        return f"[{len(value)} characters]"
    if isinstance(value, bool) or value is None:
        return value
    return "[number]"


def kept(draft: ExecutionDraft) -> ExecutionDraft:
    """Return the draft with what its storage level lets stay."""
    if draft.storage == "all":
        return draft
    if draft.storage == "none":
        return draft.model_copy(update={"parameters": {}, "output": None})
    parameters = {key: redacted(value) for key, value in draft.parameters.items()}
    return draft.model_copy(update={"parameters": parameters, "output": redacted(draft.output)})


class ExecutionStore:
    """The executions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, principal: Principal, draft: ExecutionDraft) -> Execution:
        """Write the record, once per key of the caller; a repeat returns what the first one wrote.

        Raises:
            Conflict: the key is that of a call of another interaction or with other messages.
        """
        stored = kept(draft)
        made = Execution(
            **{name: getattr(stored, name) for name in ExecutionDraft.model_fields},
            execution_id=new_id("exe"),
            subject=principal.subject,
            at=utc_now(),
        )
        async with self._database.write() as connection:
            await connection.execute(
                upsert(executions, connection).values(_row(principal, made)).on_conflict_do_nothing()
            )
            found = await connection.execute(
                sa.select(executions.c.record).where(
                    executions.c.tenant == principal.tenant,
                    executions.c.subject == principal.subject,
                    executions.c.key == draft.key,
                )
            )
            held = Execution.model_validate(found.scalar_one())
        if (held.interaction, held.rendered_digest) != (draft.interaction, draft.rendered_digest):
            raise Conflict(
                f"the key {draft.key!r} belongs to a call of {held.interaction!r} with other messages; use a new key",
                key=draft.key,
                execution_id=held.execution_id,
            )
        return held

    async def get(self, principal: Principal, execution_id: str) -> Execution:
        """Return one record; callers see their own, operators and publishers all of the tenant."""
        async with self._database.read() as connection:
            found = await connection.execute(
                sa.select(executions.c.record).where(executions.c.execution_id == execution_id, *_visible(principal))
            )
            record = found.scalar_one_or_none()
        if record is None:
            raise NotFound(f"no execution {execution_id!r}", execution_id=execution_id)
        return Execution.model_validate(record)

    async def list(
        self,
        principal: Principal,
        filters: ExecutionFilters | None = None,
        *,
        after: str | None = None,
        limit: int = 50,
    ) -> ExecutionPage:
        """Return records, newest first, at most 200 at a time; callers see their own, operators and publishers all."""
        limit = max(1, min(limit, _LARGEST_PAGE))
        conditions = [*_visible(principal), *_matching(filters or ExecutionFilters())]
        if after is not None:
            conditions.append(executions.c.execution_id < after)
        async with self._database.read() as connection:
            found = await connection.execute(
                sa.select(executions.c.record)
                .where(*conditions)
                .order_by(executions.c.execution_id.desc())
                .limit(limit + 1)
            )
            records = [Execution.model_validate(record) for record in found.scalars()]
        shown = tuple(records[:limit])
        return ExecutionPage(executions=shown, after=shown[-1].execution_id if len(records) > limit else None)


def _row(principal: Principal, made: Execution) -> dict[str, Any]:
    return {
        "tenant": principal.tenant,
        "execution_id": made.execution_id,
        "subject": made.subject,
        "key": made.key,
        "interaction": made.interaction,
        "version": made.version,
        "digest": made.digest,
        "run_id": made.run_id,
        "provider": made.provider,
        "model": made.model,
        "finish": made.finish.unified,
        "valid": made.valid,
        "usd": made.price.usd,
        "latency_ms": made.latency_ms,
        "record": made.model_dump(mode="json"),
        "at": made.at,
    }


def _visible(principal: Principal) -> list[sa.ColumnElement[bool]]:
    conditions = [executions.c.tenant == principal.tenant]
    if not principal.has_role("operator", "publisher"):
        conditions.append(executions.c.subject == principal.subject)
    return conditions


def _matching(filters: ExecutionFilters) -> list[sa.ColumnElement[bool]]:
    columns = executions.c
    conditions: list[sa.ColumnElement[bool]] = []
    for name in ("interaction", "version", "run_id", "provider", "model", "finish", "valid"):
        wanted = getattr(filters, name)
        if wanted is not None:
            conditions.append(columns[name] == wanted)
    if filters.since is not None:
        conditions.append(columns.at >= filters.since)
    if filters.until is not None:
        conditions.append(columns.at < filters.until)
    return conditions
