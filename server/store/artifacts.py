"""Artifacts in SQL: the files of a run, versioned by write; their bytes are blobs."""

from pathlib import PurePosixPath

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Invalid
from engine.runs import Artifact, RunRef
from engine.values import utc_now
from server.store import tables

MAX_PATH = 400


def checked_path(path: str) -> str:
    """Return `path` if it is a plain relative path of printable segments.

    Raises:
        Invalid: it is absolute, climbs, is empty, too long, or holds a control character or backslash.
    """
    parts = PurePosixPath(path).parts
    plain = path.isprintable() and "\\" not in path and 0 < len(path) <= MAX_PATH
    if not plain or path.startswith("/") or not parts or any(part in ("..", ".") for part in path.split("/")):
        raise Invalid(f"{path!r} is not a path for an artifact; use one like report.md or tables/prices.csv")
    return "/".join(parts)


async def write(
    connection: AsyncConnection, run: RunRef, path: str, digest: str, mime: str, size: int, key: str
) -> Artifact:
    """Add a version of `path`, unless `key` has written one."""
    path = checked_path(path)
    table = tables.artifacts
    of_path = (table.c.tenant == run.tenant, table.c.run_id == run.run_id, table.c.path == path)
    known = (await connection.execute(sa.select(table).where(*of_path, table.c.key == key))).first()
    if known is not None:
        return _artifact(known)
    last = (await connection.execute(sa.select(sa.func.max(table.c.version)).where(*of_path))).scalar() or 0
    await connection.execute(
        table.insert().values(
            tenant=run.tenant,
            run_id=run.run_id,
            path=path,
            version=last + 1,
            key=key,
            digest=digest,
            mime=mime,
            size=size,
            created_at=utc_now(),
        )
    )
    return _artifact((await connection.execute(sa.select(table).where(*of_path, table.c.key == key))).one())


async def adopt(connection: AsyncConnection, run: RunRef, child: RunRef, name: str) -> list[Artifact]:
    """Add the newest versions of another run's files to `run`, below the folder `name`; the bytes are shared.

    A path that would become too long stays with the other run alone.
    """
    found = [one for one in await newest(connection, child) if len(name) + 1 + len(one.path) <= MAX_PATH]
    return [
        await write(
            connection,
            run,
            f"{name}/{one.path}",
            one.digest,
            one.mime,
            one.size,
            f"{child.run_id}/{one.version}",
        )
        for one in found
    ]


async def newest(connection: AsyncConnection, run: RunRef) -> list[Artifact]:
    """Return the newest version of each path, by path."""
    table = tables.artifacts
    rows = await connection.execute(
        sa.select(table)
        .where(table.c.tenant == run.tenant, table.c.run_id == run.run_id)
        .order_by(table.c.path, table.c.version)
    )
    return list({row.path: _artifact(row) for row in rows}.values())


def _artifact(row: "sa.Row[tuple[object, ...]]") -> Artifact:
    found = row._mapping  # pyright: ignore[reportPrivateUsage] # SQLAlchemy's documented name
    return Artifact(**{name: found[name] for name in Artifact.model_fields})
