"""Nobody reaches what is not theirs, whatever was done before; processes that write at once or die lose nothing."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
import pytest
from anyio.to_thread import run_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from content.access import Access, Grantees
from content.blobs import Blobs
from content.collections import Collections, default_id
from content.database import Database
from content.description import describe_collection
from content.objects import ContentStore
from content.search import ContentSearch
from content.versions import VersionStore
from engine.errors import NotFound, Problem
from engine.values import Principal
from tests.content.processes import ANN, open_store
from tests.content.support import Words, create_tables, person, put

pytestmark = pytest.mark.anyio

PEOPLE = [*(person(name, "author") for name in ("ann", "ben", "cid")), person("ann", "author", tenant="other")]
NAMES = ("ann", "ben", "cid")
PLACES = ("c0", "c1", "c2")


@dataclass(frozen=True)
class _Step:
    """One thing somebody tries; `first` and `second` choose collections or objects among those there are."""

    kind: Literal["collection", "put", "private", "share", "add", "nest", "unnest", "remove", "delete"]
    who: int
    first: int
    second: int
    readers: frozenset[str]


STEPS = st.lists(
    st.builds(
        _Step,
        kind=st.sampled_from(
            [
                "collection",
                "collection",
                "put",
                "put",
                "put",
                "private",
                "share",
                "add",
                "nest",
                "unnest",
                "delete",
                "remove",
            ]
        ),
        who=st.integers(0, len(PEOPLE) - 1),
        first=st.integers(0, 5),
        second=st.integers(0, 5),
        readers=st.frozensets(st.sampled_from(NAMES), max_size=2),
    ),
    min_size=6,
    max_size=18,
)


@dataclass
class _Place:
    tenant: str
    owner: str
    readers: frozenset[str]
    everyone: bool = False
    inside: set[str] = field(default_factory=set[str])


@dataclass
class _Thing:
    tenant: str
    owner: str
    home: str
    inherits: bool
    readers: frozenset[str]
    members: set[str] = field(default_factory=set[str])


class _Model:
    """What should be so: collections and objects by id, and who may read them, in plain sets."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.things: dict[str, _Thing] = {}
        for tenant in ("acme", "other"):
            self.places[default_id(tenant)] = _Place(tenant, "", frozenset(), everyone=True)

    def sees_place(self, who: Principal, place_id: str, passed: frozenset[str] = frozenset()) -> bool:
        place = self.places[place_id]
        if place.tenant != who.tenant or place_id in passed:
            return False
        direct = place.everyone or who.subject == place.owner or who.subject in place.readers
        return direct or any(self.sees_place(who, outer, passed | {place_id}) for outer in place.inside)

    def sees(self, who: Principal, thing: _Thing) -> bool:
        if thing.tenant != who.tenant:
            return False
        if who.subject == thing.owner or who.subject in thing.readers:
            return True
        return thing.inherits and any(self.sees_place(who, place) for place in {thing.home, *thing.members})


class _World:
    def __init__(self, store: ContentStore) -> None:
        self.store = store
        self.collections = Collections(store.database)
        self.model = _Model()

    async def take(self, step: _Step, number: int) -> None:
        """Try the step; what succeeds must have been allowed, and is written into the model."""
        who = PEOPLE[step.who]
        try:
            await getattr(self, f"_{step.kind}")(who, step, number)
        except Problem:
            return

    def _place(self, index: int) -> str:
        ids = list(self.model.places)
        return ids[index % len(ids)]

    def _thing(self, index: int) -> str:
        ids = list(self.model.things)
        if not ids:
            raise NotFound("nothing is there yet")
        return ids[index % len(ids)]

    def _owns(self, who: Principal, owned: _Place | _Thing) -> None:
        assert (owned.tenant, owned.owner) == (who.tenant, who.subject)

    async def _collection(self, who: Principal, step: _Step, number: int) -> None:
        access = Access(read=Grantees(users=tuple(step.readers)))
        made = await self.collections.create(who, PLACES[step.first % 3], access=access)
        self.model.places[made.collection_id] = _Place(who.tenant, who.subject, step.readers)

    async def _put(self, who: Principal, step: _Step, number: int) -> None:
        place = self._place(step.first)
        made = await put(self.store, who, f"n{step.second}", f"zebra number {number}", collection=place)
        known = self.model.things.get(made.object_id)
        if known is None:
            home = self.model.places[place]
            assert home.tenant == who.tenant
            assert home.everyone or home.owner == who.subject
            self.model.things[made.object_id] = _Thing(who.tenant, who.subject, place, True, frozenset())
        else:
            self._owns(who, known)

    async def _private(self, who: Principal, step: _Step, number: int) -> None:
        thing = self._thing(step.first)
        await self.store.set_access(who, thing, Access(read=Grantees(users=tuple(step.readers))))
        known = self.model.things[thing]
        assert self.model.sees(who, known)
        known.inherits, known.readers = False, step.readers

    async def _share(self, who: Principal, step: _Step, number: int) -> None:
        thing = self._thing(step.first)
        await self.store.set_access(who, thing, None)
        known = self.model.things[thing]
        assert self.model.sees(who, known)
        known.inherits, known.readers = True, frozenset()

    async def _add(self, who: Principal, step: _Step, number: int) -> None:
        place, thing = self._place(step.first), self._thing(step.second)
        await self.collections.add(who, place, thing)
        assert self.model.sees(who, self.model.things[thing])
        assert self.model.sees_place(who, place)
        self.model.things[thing].members.add(place)

    async def _remove(self, who: Principal, step: _Step, number: int) -> None:
        place, thing = self._place(step.first), self._thing(step.second)
        await self.collections.remove(who, place, thing)
        self.model.things[thing].members.discard(place)

    async def _nest(self, who: Principal, step: _Step, number: int) -> None:
        outer, inner = self._place(step.first), self._place(step.second)
        await self.collections.nest(who, outer, inner)
        assert self.model.sees_place(who, outer)
        assert self.model.sees_place(who, inner)
        self.model.places[inner].inside.add(outer)

    async def _unnest(self, who: Principal, step: _Step, number: int) -> None:
        outer, inner = self._place(step.first), self._place(step.second)
        await self.collections.unnest(who, outer, inner)
        self.model.places[inner].inside.discard(outer)

    async def _delete(self, who: Principal, step: _Step, number: int) -> None:
        thing = self._thing(step.first)
        await self.store.delete(who, thing)
        assert self.model.sees(who, self.model.things[thing])
        del self.model.things[thing]

    async def compare(self) -> None:
        """Ask in every way there is, as everybody, and compare with the model."""
        search = ContentSearch(self.store.database)
        for who in PEOPLE:
            seen = {key for key, thing in self.model.things.items() if self.model.sees(who, thing)}
            assert {item.object_id for item in (await self.store.list(who, limit=200)).objects} == seen
            for mode in ("lexical", "semantic", "hybrid"):
                hits = await search.search(who, "zebra", mode=mode, limit=50, tokens=9999, embedder=Words())
                assert {hit.citation.object_id for hit in hits} == seen
            listed = {item.collection_id for item in await self.collections.list_collections(who)}
            assert listed - {default_id(who.tenant)} == {
                key for key in self.model.places if key != default_id(who.tenant) and self.model.sees_place(who, key)
            }
            for key in self.model.places:
                await self._compare_place(search, who, key, seen, found=key in listed)
            for key in self.model.things.keys() - seen:
                await self._refuses(who, key)

    async def _compare_place(
        self, search: ContentSearch, who: Principal, place: str, seen: set[str], *, found: bool
    ) -> None:
        if place == default_id(who.tenant) and not found:
            # It is made with the first object of the tenant, and nothing is in it before.
            assert not seen
            return
        if not found:
            for call in (
                lambda: describe_collection(self.store.database, who, place),
                lambda: search.search(who, "zebra", collection=place),
                lambda: self.store.list(who, collection=place),
                lambda: self.collections.set_access(who, place, Access()),
                lambda: self.collections.delete(who, place),
            ):
                with pytest.raises(NotFound):
                    await call()
            return
        inside = {item.object_id for item in (await self.store.list(who, collection=place, limit=200)).objects}
        assert inside <= seen
        described = await describe_collection(self.store.database, who, place)
        assert described.objects == len(inside)
        assert {example.object_id for example in described.examples} <= inside

    async def _refuses(self, who: Principal, key: str) -> None:
        store = self.store
        for call in (
            lambda: store.get(who, key),
            lambda: store.get(who, key, 1),
            lambda: store.versions(who, key),
            lambda: store.source(who, key),
            lambda: store.structure(who, key),
            lambda: store.read_text(who, key),
            lambda: store.read_text(who, f"{key}@1"),
            lambda: store.resolve(who, f"{key}@1"),
            lambda: store.receive(who, "x", b"x", object_id=key),
            lambda: store.mark(who, key, 1, "rejected"),
            lambda: store.switch_version(who, key, 1),
            lambda: store.reopen(who, key, 1),
            lambda: store.update(who, key, tags=["mine"]),
            lambda: store.get_access(who, key),
            lambda: store.set_access(who, key, None),
            lambda: store.delete(who, key),
        ):
            with pytest.raises(NotFound):
                await call()


@given(STEPS)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_everybody_sees_exactly_what_the_access_lists_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[_Step]
) -> None:
    folder = tmp_path_factory.mktemp("world")

    async def run() -> None:
        database = Database(f"sqlite:///{folder / 'test.db'}")
        try:
            await create_tables(database)
            world = _World(ContentStore(database, Blobs(folder / "blobs")))
            for number, step in enumerate(steps):
                await world.take(step, number)
            await world.compare()
        finally:
            await database.close()

    anyio.run(run)


async def _fresh(folder: Path) -> ContentStore:
    store = open_store(folder)
    await create_tables(store.database)
    return store


def _finish(writer: subprocess.Popen[str]) -> tuple[str, str, int]:
    output, errors = writer.communicate(timeout=90)
    return output, errors, writer.returncode


async def test_four_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    store = await _fresh(tmp_path)
    times = 5
    program = [sys.executable, "-m", "tests.content.processes", "write", str(tmp_path)]
    writers = [
        subprocess.Popen([*program, who, str(times)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for who in "abcd"
    ]
    results = [await run_sync(_finish, writer) for writer in writers]
    for _, errors, status in results:
        assert status == 0, errors
    reports = [json.loads(output) for output, _, _ in results]
    objects = [key for report in reports for key in report["objects"]]
    assert len(set(objects)) == 4 * times
    items = (await store.list(ANN, limit=200)).objects
    assert {item.object_id for item in items if item.name != "shared"} == set(objects)
    assert sorted(number for report in reports for number in report["shared"]) == list(range(1, 4 * times + 1))
    (shared,) = [item for item in items if item.name == "shared"]
    assert shared.current_version == 4 * times
    search = ContentSearch(store.database)
    for who in "abcd":
        for number in range(times):
            hits = await search.search(ANN, f"{who}x{number}", mode="lexical")
            assert any(hit.citation.name == f"{who}x{number}" for hit in hits)
    versions = VersionStore(store.database, "interaction")
    draft = await versions.find(ANN, "shared@draft")
    assert sorted(draft.text.split()) == sorted(f"{who}x{number}" for who in "abcd" for number in range(times))
    numbers = [version.number for version in await versions.list_versions(ANN, "shared")]
    assert numbers == list(range(1, len(numbers) + 1))
    moves = await versions.list_moves(ANN, "shared")
    assert [move.from_number for move in moves] == [None, *(move.to_number for move in moves[:-1])]
    await store.database.close()


async def test_a_publisher_killed_at_any_statement_leaves_the_old_version_whole(tmp_path: Path) -> None:
    store = await _fresh(tmp_path)
    made = await put(store, ANN, "a", "The zebra text.")
    await store.receive(ANN, "a", b"second")
    await store.database.close()
    program = [sys.executable, "-m", "tests.content.processes", "kill", str(tmp_path)]
    killer = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors, status = await run_sync(_finish, killer)
    assert status == 0, errors
    lines = [json.loads(line) for line in output.splitlines()]
    outcomes, views = lines[::2], lines[1::2]
    assert len(outcomes) == len(views) > 10
    assert {outcome["status"] for outcome in outcomes[:-1]} == {-signal.SIGKILL}
    assert outcomes[-1]["status"] == 0, errors
    for view in views[:-1]:
        assert view == {
            "current": 1,
            "text": "a\n\nThe zebra text.",
            "found": {"zebra lexical": [1], "zebra semantic": [1], "okapi lexical": [], "okapi semantic": [1]},
            "rows": [1, 1],
            "healthy": "ok",
        }
    last = views[-1]
    assert last["current"] == 2
    assert last["found"]["okapi lexical"] == [2]
    assert last["found"]["zebra lexical"] == []
    assert last["rows"][0] == last["rows"][1] > 1
    reopened = open_store(tmp_path)
    assert (await reopened.read_text(ANN, f"{made.object_id}@1")).text == "a\n\nThe zebra text."
    await reopened.database.close()
