"""Programs that the tests of the content store run as processes of their own: writers, and publishers that are killed.

`python -m tests.content.processes write <folder> <who> <times>` writes and prints what was acknowledged.
`python -m tests.content.processes kill <folder>` publishes a second version again and again, killed at each statement.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.event import listen

from content.blobs import Blobs
from content.database import Database
from content.objects import ContentStore
from content.search import ContentSearch
from content.versioned import Draft
from content.versions import VersionStore
from engine.errors import Conflict, NotFound
from tests.content.support import Words, document, person, publish, put

ANN = person("ann", "author", "publisher")


def open_store(folder: Path) -> ContentStore:
    return ContentStore(Database(f"sqlite:///{folder / 'test.db'}"), Blobs(folder / "blobs"))


async def write(folder: Path, who: str, times: int) -> None:
    """Write objects of its own, versions of a shared one, and edits of a shared draft; find each at once."""
    store = open_store(folder)
    versions = VersionStore(store.database, "interaction")
    search = ContentSearch(store.database)
    objects: list[str] = []
    shared: list[int] = []
    published: list[int] = []
    for number in range(times):
        word = f"{who}x{number}"
        made = await put(store, ANN, word, f"{word} stands here.")
        (hit,) = await search.search(ANN, word, mode="lexical", embedder=Words())
        assert hit.citation.object_id == made.object_id
        objects.append(made.object_id)
        shared.append((await put(store, ANN, "shared", f"{word} shared")).number)
        await _edit(versions, f"{word}\n")
        published.append((await versions.publish(ANN, "shared")).number)
        await versions.move_label(ANN, "shared", "production", published[-1])
    print(json.dumps({"objects": objects, "shared": shared, "published": published}))


async def _edit(versions: VersionStore, line: str) -> None:
    """Add a line to the shared draft, as often as somebody else was faster."""
    while True:
        try:
            found = await versions.find(ANN, "shared@draft")
        except NotFound:
            found = None
        text = "" if found is None else found.text
        revision = found.revision if isinstance(found, Draft) else None
        try:
            await versions.put_draft(ANN, "shared", text + line, revision=revision)
        except Conflict:
            continue
        return


async def _publish_killed_at(folder: Path, statement: int) -> None:
    """Publish version 2 and die just before the given statement of it, if there are as many."""
    store = open_store(folder)
    version = (await store.versions(ANN, await _only_object(store)))[1]
    count = 0

    def strike(*_: object) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    listen(Engine, "before_cursor_execute", strike)
    listen(Engine, "commit", strike)
    await publish(store, ANN, version, document(("New", ["The okapi text.", "With a second part of it."])), size=8)


async def _look(folder: Path) -> None:
    """Print what a reader sees: the current version, its text, what both words find, how many rows there are."""
    store = open_store(folder)
    item = await store.get(ANN, await _only_object(store))
    search = ContentSearch(store.database)
    found: dict[str, list[int]] = {}
    for word in ("zebra", "okapi"):
        for mode in ("lexical", "semantic"):
            hits = await search.search(ANN, word, mode=mode, embedder=Words())
            for hit in hits:
                assert await store.resolve(ANN, hit.citation.anchor) == hit.text
            found[f"{word} {mode}"] = sorted({hit.citation.version for hit in hits})
    async with store.database.read() as connection:
        rows = await connection.execute(
            sa.text("SELECT count(*) FROM passages UNION ALL SELECT count(*) FROM passage_vectors")
        )
        counts = list(rows.scalars())
        check = await connection.execute(sa.text("PRAGMA integrity_check"))
        healthy = check.scalar_one()
    text = (await store.read_text(ANN, item.object_id)).text
    print(
        json.dumps({"current": item.current_version, "text": text, "found": found, "rows": counts, "healthy": healthy}),
        flush=True,
    )


async def _only_object(store: ContentStore) -> str:
    (item,) = (await store.list(ANN)).objects
    return item.object_id


def _in_child(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run `work` in a forked process, which is quick once everything is imported; return its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(work())
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(folder: Path) -> None:
    """Print after each kill what is left; end when a publication got through."""
    for statement in range(1, 200):
        status = _in_child(lambda at=statement: _publish_killed_at(folder, at))
        print(json.dumps({"statement": statement, "status": status}), flush=True)
        if _in_child(lambda: _look(folder)) or status != -signal.SIGKILL:
            return


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    if command == "write":
        asyncio.run(write(Path(place), rest[0], int(rest[1])))
    else:
        kill(Path(place))
