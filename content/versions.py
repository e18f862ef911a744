"""Named, versioned texts: drafts edited in place, published versions that never change, labels that move.

Interactions and process definitions are both kept this way. Whoever belongs to the tenant reads what is published;
authors and publishers read and edit drafts; publishers publish and move labels.
"""

import difflib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import Database, upsert
from content.tables import drafts, label_moves, labels, published
from content.versioned import (
    DEFAULT_LABEL,
    DRAFT,
    Address,
    Draft,
    LabelMove,
    Listed,
    Version,
    checked_name,
    text_digest,
)
from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.values import Principal, utc_now

Kind = Literal["interaction", "process"]
Accept = Callable[[str, str], None]
"""Gets a name and a text; raises a `Problem` if the text must not be kept."""

Check = Callable[[Principal, str, str], Awaitable[None]]
"""Gets who publishes, a name and a text; raises a `Problem` if the text must not be published."""

_TRIES = 20


class VersionStore:
    """The texts of one kind. The tenant of the principal and the kind are in every key."""

    def __init__(
        self, database: Database, kind: Kind, *, accept: Accept | None = None, check: Check | None = None
    ) -> None:
        """Keep texts of `kind`; `accept` stops a draft from being kept, `check` one from being published."""
        self._database = database
        self._accept = accept
        self._check = check
        self.kind: Kind = kind

    async def put_draft(self, principal: Principal, name: str, text: str, *, revision: int | None = None) -> Draft:
        """Make the draft, or replace the one of that `revision`; putting the text it already has changes nothing.

        Raises:
            Denied: the caller is neither author nor publisher.
            Conflict: the draft is at another revision; `details` have it and who made it.
        """
        self._require(principal, "author", "publisher")
        checked_name(name)
        digest = text_digest(text)
        if self._accept is not None:
            self._accept(name, text)
        async with self._database.write() as connection:
            row = await self._draft_row(connection, principal, name, lock=True)
            if row is not None and row["digest"] == digest:
                return _draft(row)
            held = None if row is None else int(row["revision"])
            if held != revision:
                raise _another_revision(name, revision, row)
            draft = Draft(
                name=name,
                revision=(held or 0) + 1,
                text=text,
                digest=digest,
                author=principal.subject,
                updated_at=utc_now(),
            )
            statement = upsert(drafts, connection).values(tenant=principal.tenant, kind=self.kind, **draft.model_dump())
            # On Postgres two first drafts may meet here; the second finds the first.
            statement = (
                statement.on_conflict_do_nothing()
                if held is None
                else statement.on_conflict_do_update(
                    index_elements=["tenant", "kind", "name"], set_=draft.model_dump(exclude={"name"})
                )
            )
            done = await connection.execute(statement)
            if done.rowcount != 1:
                raise _another_revision(name, revision, await self._draft_row(connection, principal, name))
        return draft

    async def get_draft(self, principal: Principal, name: str) -> Draft:
        """Return the draft; for whoever is neither author nor publisher there is none."""
        async with self._database.read() as connection:
            row = await self._draft_row(connection, principal, name)
        if row is None or not principal.has_role("author", "publisher"):
            raise NotFound(f"no draft of the {self.kind} {name!r}", name=name)
        return _draft(row)

    async def publish(
        self, principal: Principal, name: str, *, comment: str = "", revision: int | None = None
    ) -> Version:
        """Make the draft the next version; a draft that equals the newest version is that version.

        `revision`, if given, is the one that was reviewed. The draft stays, to be edited further.

        Raises:
            Denied: the caller is no publisher.
            NotFound: there is no draft.
            Conflict: the draft is at another revision than the one reviewed.
            Problem: what the store's `check` raises.
        """
        self._require(principal, "publisher")
        for _ in range(_TRIES):
            draft = await self.get_draft(principal, name)
            if revision is not None and draft.revision != revision:
                raise _another_revision(name, revision, draft.model_dump())
            if self._check is not None:
                await self._check(principal, name, draft.text)
            version = await self._publish_checked(principal, draft, comment)
            if version is not None:
                return version
        raise Conflict(f"the draft of {name!r} changed with every try to publish it; name the revision you mean")

    async def _publish_checked(self, principal: Principal, draft: Draft, comment: str) -> Version | None:
        """Publish what was checked; None if the draft, read outside of the transaction, is another by now."""
        async with self._database.write() as connection:
            row = await self._draft_row(connection, principal, draft.name, lock=True)
            if row is None or row["digest"] != draft.digest:
                return None
            newest = await self._newest(connection, principal, draft.name)
            if newest is not None and newest["digest"] == draft.digest:
                return _version(newest)
            version = Version(
                name=draft.name,
                number=1 if newest is None else int(newest["number"]) + 1,
                text=draft.text,
                digest=draft.digest,
                comment=comment,
                author=draft.author,
                publisher=principal.subject,
                published_at=utc_now(),
            )
            await connection.execute(
                sa.insert(published).values(tenant=principal.tenant, kind=self.kind, **version.model_dump())
            )
        return version

    async def publish_text(self, principal: Principal, name: str, text: str, *, comment: str = "") -> Version:
        """Make `text` the draft, whatever it was, and publish it: for files that are kept elsewhere.

        Raises:
            Problem: as `put_draft` and `publish`; a draft that somebody edits in the same moment is a Conflict.
        """
        draft = await self._as_draft(principal, name, text)
        return await self.publish(principal, name, comment=comment, revision=draft.revision)

    async def _as_draft(self, principal: Principal, name: str, text: str) -> Draft:
        try:
            revision: int | None = (await self.get_draft(principal, name)).revision
        except NotFound:
            revision = None
        return await self.put_draft(principal, name, text, revision=revision)

    async def move_label(
        self, principal: Principal, name: str, label: str, number: int, *, comment: str = ""
    ) -> LabelMove | None:
        """Point a label at a published version and record the move; None if it already stands there.

        Raises:
            Denied: the caller is no publisher.
            NotFound: there is no such version.
            Invalid: the label is no name, or `draft`.
        """
        self._require(principal, "publisher")
        if checked_name(label) == DRAFT:
            raise Invalid(f"{DRAFT!r} always means the draft and is no label")
        async with self._database.write() as connection:
            # Locking a row of the name makes moves follow one another on Postgres too.
            await self._version_row(connection, principal, name, 1, lock=True)
            await self._version_row(connection, principal, name, number)
            held = await connection.execute(
                sa.select(labels.c.number).where(*self._key(labels, principal, name), labels.c.label == label)
            )
            before = held.scalar_one_or_none()
            if before == number:
                return None
            key = {"tenant": principal.tenant, "kind": self.kind, "name": name}
            last = await connection.execute(
                sa.select(sa.func.max(label_moves.c.seq)).where(*self._key(label_moves, principal, name))
            )
            move = LabelMove(
                seq=(last.scalar_one_or_none() or 0) + 1,
                label=label,
                from_number=before,
                to_number=number,
                by=principal.subject,
                at=utc_now(),
                comment=comment,
            )
            await connection.execute(
                upsert(labels, connection)
                .values(**key, label=label, number=number)
                .on_conflict_do_update(index_elements=[*key, "label"], set_={"number": number})
            )
            await connection.execute(sa.insert(label_moves).values(**key, **move.model_dump()))
        return move

    async def find(self, principal: Principal, address: str | Address) -> Version | Draft:
        """Return what an address means now: a version, or the draft for `name@draft`.

        Raises:
            NotFound: there is no such name, version or label that the caller may read.
        """
        wanted = Address.parse(address) if isinstance(address, str) else address
        if wanted.selector == DRAFT:
            return await self.get_draft(principal, wanted.name)
        async with self._database.read() as connection:
            number = wanted.selector
            if not isinstance(number, int):
                held = await connection.execute(
                    sa.select(labels.c.number).where(
                        *self._key(labels, principal, wanted.name), labels.c.label == (number or DEFAULT_LABEL)
                    )
                )
                number = held.scalar_one_or_none()
            if number is not None:
                return _version(await self._version_row(connection, principal, wanted.name, number))
            newest = await self._newest(connection, principal, wanted.name) if wanted.selector is None else None
        if newest is None:
            raise NotFound(f"no published {self.kind} {str(wanted)!r}", address=str(wanted))
        return _version(newest)

    async def diff(self, principal: Principal, before: str | Address, after: str | Address) -> str:
        """Return the unified difference of two texts; nothing if they are the same."""
        old, new = await self.find(principal, before), await self.find(principal, after)
        lines = difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), str(before), str(after), lineterm="")
        return "\n".join(lines)

    async def list_names(self, principal: Principal) -> tuple[Listed, ...]:
        """Return every name with something that the caller may read, in order."""
        tenant = {"tenant": principal.tenant, "kind": self.kind}
        found: dict[str, dict[str, Any]] = {}

        def entry(name: str) -> dict[str, Any]:
            return found.setdefault(name, {"labels": {}, "newest": None, "draft_revision": None})

        async with self._database.read() as connection:
            newest = await connection.execute(
                sa.select(published.c.name, sa.func.max(published.c.number))
                .where(*(published.c[column] == value for column, value in tenant.items()))
                .group_by(published.c.name)
            )
            for name, number in newest:
                entry(name)["newest"] = number
            held = await connection.execute(
                sa.select(labels.c.name, labels.c.label, labels.c.number)
                .where(*(labels.c[column] == value for column, value in tenant.items()))
                .order_by(labels.c.label)
            )
            for name, label, number in held:
                entry(name)["labels"][label] = number
            if principal.has_role("author", "publisher"):
                edited = await connection.execute(
                    sa.select(drafts.c.name, drafts.c.revision).where(
                        *(drafts.c[column] == value for column, value in tenant.items())
                    )
                )
                for name, revision in edited:
                    entry(name)["draft_revision"] = revision
        return tuple(Listed(name=name, **found[name]) for name in sorted(found))

    async def list_versions(self, principal: Principal, name: str) -> tuple[Version, ...]:
        """Return the published versions of a name, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                sa.select(published).where(*self._key(published, principal, name)).order_by(published.c.number)
            )
            return tuple(_version(row) for row in rows.mappings())

    async def list_moves(self, principal: Principal, name: str) -> tuple[LabelMove, ...]:
        """Return every move of the labels of a name, in order."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                sa.select(label_moves).where(*self._key(label_moves, principal, name)).order_by(label_moves.c.seq)
            )
            fields = LabelMove.model_fields
            return tuple(LabelMove.model_validate({key: row[key] for key in fields}) for row in rows.mappings())

    def _require(self, principal: Principal, *roles: str) -> None:
        if not principal.has_role(*roles):
            raise Denied(f"{principal.subject!r} needs the role {' or '.join(roles)} to change the {self.kind}s")

    def _key(self, table: sa.Table, principal: Principal, name: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (table.c.tenant == principal.tenant, table.c.kind == self.kind, table.c.name == name)

    async def _draft_row(
        self, connection: AsyncConnection, principal: Principal, name: str, *, lock: bool = False
    ) -> RowMapping | None:
        statement = sa.select(drafts).where(*self._key(drafts, principal, name))
        found = await connection.execute(statement.with_for_update() if lock else statement)
        return found.mappings().one_or_none()

    async def _newest(self, connection: AsyncConnection, principal: Principal, name: str) -> RowMapping | None:
        found = await connection.execute(
            sa.select(published)
            .where(*self._key(published, principal, name))
            .order_by(published.c.number.desc())
            .limit(1)
        )
        return found.mappings().one_or_none()

    async def _version_row(
        self, connection: AsyncConnection, principal: Principal, name: str, number: int, *, lock: bool = False
    ) -> RowMapping:
        statement = sa.select(published).where(*self._key(published, principal, name), published.c.number == number)
        found = await connection.execute(statement.with_for_update() if lock else statement)
        row = found.mappings().one_or_none()
        if row is None:
            raise NotFound(f"no published {self.kind} '{name}@{number}'", address=f"{name}@{number}")
        return row


def _another_revision(name: str, wanted: int | None, row: Any) -> Conflict:
    if row is None:
        return Conflict(f"{name!r} has no draft, so not revision {wanted}; put it without a revision", revision=None)
    return Conflict(
        f"the draft of {name!r} is at revision {row['revision']} by {row['author']!r}, not at {wanted}; "
        "read it, bring your change into it and put it with its revision",
        revision=row["revision"],
        author=row["author"],
    )


def _draft(row: RowMapping) -> Draft:
    return Draft.model_validate({key: row[key] for key in Draft.model_fields})


def _version(row: RowMapping) -> Version:
    return Version.model_validate({key: row[key] for key in Version.model_fields})
