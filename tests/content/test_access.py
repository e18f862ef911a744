"""Access lists: who reaches what, by name, role, group, collection and nesting, and what stays hidden."""

from pathlib import Path

import pytest

from content.access import Access, Grantees
from content.blobs import Blobs
from content.collections import Collections
from content.database import Database
from content.description import describe_collection
from content.objects import ContentStore
from content.search import ContentSearch
from engine.errors import Denied, Invalid, NotFound, Problem
from tests.content.support import Words, create_tables, document, person, publish, put

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(database: Database, tmp_path: Path) -> ContentStore:
    await create_tables(database)
    return ContentStore(database, Blobs(tmp_path / "blobs"))


async def test_grants_reach_people_by_name_role_group_and_tenant(store: ContentStore) -> None:
    owner = person("ann", "author")
    collections = Collections(store.database)
    lists = {
        "user": (Grantees(users=("ben",)), person("ben"), person("cid")),
        "role": (Grantees(roles=("finance",)), person("ben", "finance"), person("ben", "author")),
        "group": (Grantees(groups=("g1",)), person("ben", groups=["g1"]), person("g1")),
        "all": (Grantees(everyone=True), person("ben"), person("ben", "administrator", tenant="other")),
    }
    for name, (grantees, inside, outside) in lists.items():
        await collections.create(owner, name, access=Access(read=grantees))
        made = await put(store, owner, "a", "text", collection=name)
        assert (await store.get(inside, made.object_id)).name == "a"
        with pytest.raises(NotFound):
            await store.get(outside, made.object_id)
        with pytest.raises(Denied):
            await store.receive(inside, "b", b"x", collection=name)
        with pytest.raises(NotFound):
            await store.receive(outside, "b", b"x", collection=name)


async def test_the_right_to_write_holds_the_right_to_add_and_that_to_read(store: ContentStore) -> None:
    owner, ben, cid = person("ann", "author"), person("ben"), person("cid")
    access = Access(add=Grantees(users=("ben",)), write=Grantees(users=("cid",)))
    await Collections(store.database).create(owner, "box", access=access)
    made = await put(store, owner, "a", "text", collection="box")
    assert (await store.read_text(ben, made.object_id)).text == "a\n\ntext"
    await store.receive(ben, "from-ben", b"x", collection="box")
    with pytest.raises(Denied):
        await store.receive(ben, "a", b"changed", collection="box")
    assert (await store.receive(cid, "a", b"changed", collection="box")).number == 2


async def test_a_further_collection_shares_an_object_with_its_readers_but_not_with_its_writers(
    store: ContentStore,
) -> None:
    ann, ben, cid = person("ann", "author"), person("ben"), person("cid")
    collections = Collections(store.database)
    for name in ("home", "first", "second"):
        access = Access(read=Grantees(users=("ben",)), write=Grantees(users=("cid",))) if name == "second" else None
        await collections.create(ann, name, access=access)
    made = await put(store, ann, "a", "zebra", collection="home")
    await collections.add(ann, "first", made.object_id)
    with pytest.raises(NotFound):
        await store.get(ben, made.object_id)
    await collections.add(ann, "second", made.object_id)
    for reader in (ben, cid):
        assert (await store.get(reader, made.object_id)).name == "a"
        hits = await ContentSearch(store.database).search(reader, "zebra", collection="second", embedder=Words())
        assert [hit.citation.object_id for hit in hits] == [made.object_id]
        with pytest.raises(Denied):
            await store.mark(reader, made.object_id, 1, "rejected")
    await collections.remove(ann, "second", made.object_id)
    with pytest.raises(NotFound):
        await store.get(ben, made.object_id)


async def test_an_objects_own_list_replaces_what_its_collections_give(store: ContentStore) -> None:
    ann, ben, cid, dan = person("ann", "author"), person("ben"), person("cid"), person("dan", "author")
    access = Access(read=Grantees(users=("ben",)), write=Grantees(users=("cid",)))
    made = await store.receive(ann, "plan", b"x", access=access)
    assert (await store.get(ben, made.object_id)).inherits is False
    with pytest.raises(Denied):
        await store.update(ben, made.object_id, tags=["mine"])
    assert (await store.update(cid, made.object_id, tags=["ours"])).tags == ("ours",)
    with pytest.raises(NotFound):
        await store.get(dan, made.object_id)
    assert await store.get_access(cid, made.object_id) == access
    await store.set_access(ann, made.object_id, None)
    assert (await store.get(dan, made.object_id)).inherits is True
    assert await store.get_access(ann, made.object_id) is None


async def test_what_one_may_not_read_does_not_crowd_out_what_one_may(store: ContentStore) -> None:
    """Were access a filter behind the search, the hidden ones would be all it has found."""
    ann = person("ann", "author")
    await Collections(store.database).create(ann, "hidden")
    paragraphs = ["zebra zebra zebra"] * 70
    hidden = await store.receive(ann, "many", b"x", collection="hidden")
    await publish(store, ann, hidden, document(("Zebra", paragraphs)), size=3)
    foreign = await store.receive(person("eve", "author", tenant="other"), "many", b"x")
    await publish(store, person("eve", "author", tenant="other"), foreign, document(("Zebra", paragraphs)), size=3)
    shown = await put(store, ann, "one", "among many other animals a zebra is seen in this long text")
    for mode in ("lexical", "semantic", "hybrid"):
        hits = await ContentSearch(store.database).search(person("ben"), "zebra", mode=mode, embedder=Words())
        assert [hit.citation.object_id for hit in hits] == [shown.object_id]


async def test_an_administrator_reaches_everything_of_the_tenant_and_nothing_else(store: ContentStore) -> None:
    await Collections(store.database).create(person("ann", "author"), "secret")
    made = await put(store, person("ann", "author"), "a", "zebra", collection="secret")
    boss, foreign = person("boss", "administrator"), person("boss", "administrator", tenant="other")
    search = ContentSearch(store.database)
    assert len(await search.search(boss, "zebra", embedder=Words())) == 1
    assert await search.search(foreign, "zebra", embedder=Words()) == []
    with pytest.raises(NotFound):
        await store.delete(foreign, made.object_id)
    await store.delete(boss, made.object_id)


async def test_a_name_that_a_hidden_object_has_is_free_for_others(store: ContentStore) -> None:
    ann, ben = person("ann", "author"), person("ben", "author")
    hidden = await store.receive(ann, "plan", b"hers", access=Access())
    mine = await store.receive(ben, "plan", b"his")
    assert hidden.object_id != mine.object_id
    assert (await store.receive(ann, "plan", b"hers")).object_id == hidden.object_id
    assert await store.source(ben, mine.object_id) == b"his"
    collections = Collections(store.database)
    await collections.create(ann, "box")
    assert (await collections.create(ben, "box")).owner == "ben"


async def test_a_list_that_would_put_two_objects_under_one_name_is_refused(store: ContentStore) -> None:
    ann = person("ann", "author")
    hidden = await store.receive(ann, "plan", b"hers", access=Access())
    await store.receive(person("ben", "author"), "plan", b"his")
    with pytest.raises(Problem, match="another object is called 'plan'"):
        await store.set_access(ann, hidden.object_id, None)


async def test_collections_cannot_hold_each_other(store: ContentStore) -> None:
    ann = person("ann", "author")
    collections = Collections(store.database)
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        await collections.create(ann, name, parent=parent)
    for inner in ("a", "b", "c"):
        with pytest.raises(Invalid, match="cannot hold each other"):
            await collections.nest(ann, "c", inner)


async def test_nesting_someone_elses_collection_needs_the_right_to_write_in_it(store: ContentStore) -> None:
    """Otherwise whoever may read could pass on the reading."""
    ann, ben, cid = person("ann", "author"), person("ben", "author"), person("cid")
    collections = Collections(store.database)
    await collections.create(ann, "hers", access=Access(read=Grantees(users=("ben",))))
    made = await put(store, ann, "a", "text", collection="hers")
    await collections.create(ben, "his", access=Access(read=Grantees(everyone=True)))
    with pytest.raises(Denied):
        await collections.nest(ben, "his", "hers")
    with pytest.raises(Denied):
        await collections.add(ben, "his", made.object_id)
    with pytest.raises(NotFound):
        await store.get(cid, made.object_id)


async def test_a_collection_is_described_as_far_as_the_reader_sees_it(store: ContentStore) -> None:
    ann, ben = person("ann", "author"), person("ben", "author")
    await store.receive(ann, "a.csv", b"1", "text/csv", tags=["x", "y"], properties={"year": 2024})
    await store.receive(ann, "b.png", b"22", "image/png", tags=["x"], properties={"year": 2025, "who": ["p", "q"]})
    await store.receive(ann, "hidden", b"3", access=Access(), tags=["secret"])
    seen = await describe_collection(store.database, ben, "default")
    assert (seen.objects, seen.kinds) == (2, {"data": 1, "image": 1})
    assert [(tag.name, tag.objects) for tag in seen.tags] == [("x", 2), ("y", 1)]
    assert [(facet.name, facet.objects, facet.values) for facet in seen.properties] == [
        ("year", 2, ("2024", "2025")),
        ("who", 1, ('"p"', '"q"')),
    ]
    assert (seen.may_add, seen.may_write) == (True, False)
    assert {example.name for example in seen.examples} == {"a.csv", "b.png"}
    assert (await describe_collection(store.database, ann, "default")).objects == 3
    await put(store, ann, "c", "Some text.")
    assert (await describe_collection(store.database, ben, "default")).passages == 1
