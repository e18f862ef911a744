"""Objects and versions: received once, published whole or not at all, readable for ever, erased without a trace."""

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from content.blobs import Blobs
from content.collections import Collections
from content.database import Database
from content.erasure import sweep_all
from content.objects import ContentStore
from content.passages import cut_passages
from content.records import Filters, Range
from content.search import ContentSearch
from content.structure import Anchor, Box
from content.tables import doomed_blobs, passages, vectors, versions
from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.values import new_id
from tests.content.support import Words, create_tables, document, person, publish, put

pytestmark = pytest.mark.anyio

ANN = person("ann", "author")
BEN = person("ben", "author")


@pytest.fixture
async def store(database: Database, tmp_path: Path) -> ContentStore:
    await create_tables(database)
    return ContentStore(database, Blobs(tmp_path / "blobs"))


async def test_received_bytes_are_version_one_and_come_back_whole(store: ContentStore) -> None:
    version = await store.receive(ANN, "terms.pdf", b"%PDF-", "application/pdf", tags=["legal"], source="mail")
    assert (version.number, version.state, version.size, version.current) == (1, "received", 5, False)
    item = await store.get(ANN, version.object_id)
    assert (item.name, item.kind, item.tags, item.owner) == ("terms.pdf", "document", ("legal",), "ann")
    assert item.provenance["from"] == "mail"
    assert await store.source(ANN, version.object_id) == b"%PDF-"


async def test_the_same_bytes_under_the_same_name_are_the_same_version(store: ContentStore) -> None:
    first = await store.receive(ANN, "a.txt", b"one")
    second = await store.receive(ANN, "a.txt", b"two")
    again = await store.receive(ANN, "a.txt", b"one")
    assert (first.object_id, first.number) == (again.object_id, again.number)
    assert (second.object_id, second.number) == (first.object_id, 2)
    assert [version.number for version in await store.versions(ANN, first.object_id)] == [1, 2]


async def test_the_same_bytes_under_another_name_are_another_object(store: ContentStore) -> None:
    first = await store.receive(ANN, "a.txt", b"one")
    assert (await store.receive(ANN, "b.txt", b"one")).object_id != first.object_id


async def test_publishing_makes_a_version_current_and_readable(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    await store.mark(ANN, version.object_id, 1, "processing")
    with pytest.raises(NotFound, match="processing"):
        await store.read_text(ANN, version.object_id)
    done = await publish(store, ANN, version, document(("Terms", ["Pay in thirty days."])))
    assert (done.state, done.current, done.passage_count, done.page_count) == ("ready", True, 1, 1)
    assert (await store.read_text(ANN, version.object_id)).text == "Terms\n\nPay in thirty days."


async def test_publishing_the_same_reading_twice_adds_nothing(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    structure = document(("Terms", ["Pay in thirty days."]))
    assert await publish(store, ANN, version, structure) == await publish(store, ANN, version, structure)
    async with store.database.read() as connection:
        for table in (passages, vectors):
            assert (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one() == 1


async def test_a_published_version_never_changes_but_can_be_reopened_as_a_new_one(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    await publish(store, ANN, version, document(("Terms", ["Read badly."])))
    with pytest.raises(Conflict, match="reopen"):
        await publish(store, ANN, version, document(("Terms", ["Read well."])))
    again = await store.reopen(ANN, version.object_id, 1)
    assert (again.number, again.digest) == (2, version.digest)
    await publish(store, ANN, again, document(("Terms", ["Read well."])))
    assert await store.resolve(ANN, f"{version.object_id}@1#;7-18") == "Read badly."
    assert (await store.read_text(ANN, version.object_id)).text == "Terms\n\nRead well."


async def test_a_second_models_vectors_stand_beside_the_first(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    structure = document(("Terms", ["Pay in thirty days."]))
    await publish(store, ANN, version, structure)
    await publish(store, ANN, version, structure, embedder=Words("test/other"))
    search = ContentSearch(store.database)
    for model in ("test/words", "test/other"):
        assert await search.search(ANN, "pay", mode="semantic", embedder=Words(model))
    assert not await search.search(ANN, "pay", mode="semantic", embedder=Words("test/unknown"))


async def test_old_versions_stay_readable_and_an_older_one_published_late_does_not_become_current(
    store: ContentStore,
) -> None:
    first = await store.receive(ANN, "a.txt", b"one")
    second = await store.receive(ANN, "a.txt", b"two")
    await publish(store, ANN, second, document(("New", ["The second text."])))
    late = await publish(store, ANN, first, document(("Old", ["The first text."])))
    assert not late.current
    assert (await store.get(ANN, first.object_id)).current_version == 2
    assert (await store.read_text(ANN, f"{first.object_id}@1")).text == "Old\n\nThe first text."


async def test_rejecting_the_current_version_falls_back_to_the_one_before_and_search_follows(
    store: ContentStore,
) -> None:
    version = await put(store, ANN, "a.txt", "The zebra text.")
    await put(store, ANN, "a.txt", "The okapi text.")
    search = ContentSearch(store.database)

    async def found(word: str) -> list[int]:
        hits = await search.search(ANN, word, mode="lexical")
        return [hit.citation.version for hit in hits]

    assert (await found("okapi"), await found("zebra")) == ([2], [])
    await store.mark(ANN, version.object_id, 2, "rejected", "wrong file")
    assert (await store.get(ANN, version.object_id)).current_version == 1
    assert (await found("okapi"), await found("zebra")) == ([], [1])
    await store.mark(ANN, version.object_id, 1, "rejected", "wrong too")
    assert (await store.get(ANN, version.object_id)).current_version is None
    assert (await found("okapi"), await found("zebra")) == ([], [])
    await store.mark(ANN, version.object_id, 1, "ready")
    assert await found("zebra") == [1]
    await store.mark(ANN, version.object_id, 2, "ready")
    await store.switch_version(ANN, version.object_id, 1)
    assert (await found("okapi"), await found("zebra")) == ([], [1])


async def test_a_structure_with_reasons_is_published_for_review(store: ContentStore) -> None:
    version = await store.receive(ANN, "scan.pdf", b"x", "application/pdf")
    done = await publish(store, ANN, version, document(("A", ["Blurred."]), reasons=["Page 1 was hard to read."]))
    assert (done.state, done.reason, done.current) == ("needs_review", "Page 1 was hard to read.", True)
    (hit,) = await ContentSearch(store.database).search(ANN, "blurred")
    assert hit.citation.state == "needs_review"
    assert (await store.mark(ANN, version.object_id, 1, "ready", "compared by eye")).state == "ready"


@pytest.mark.parametrize("state", ["ready", "needs_review"])
async def test_a_state_that_cannot_follow_is_refused(store: ContentStore, state: str) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    with pytest.raises(Conflict, match="cannot become"):
        await store.mark(ANN, version.object_id, 1, state)  # type: ignore[arg-type]


async def test_a_rejected_version_is_published_only_after_it_is_taken_up_again(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    await store.mark(ANN, version.object_id, 1, "rejected", "the file is encrypted")
    with pytest.raises(Conflict, match="the file is encrypted"):
        await publish(store, ANN, version, document(("A", ["text"])))
    await store.mark(ANN, version.object_id, 1, "processing")
    assert (await publish(store, ANN, version, document(("A", ["text"])))).current


async def test_passages_or_vectors_that_do_not_fit_publish_nothing(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    structure = document(("Terms", ["Pay in thirty days."]))
    cut = cut_passages(structure)
    wrong = [cut[0].model_copy(update={"text": "Pay in ninety days."})]
    good = Words().embed([cut[0].text])
    for given, matrix in ((wrong, good), (cut, good[:0]), (cut, good * np.float32("nan"))):
        with pytest.raises(Invalid):
            await store.publish_version(ANN, version.object_id, 1, structure, given, matrix, "test/words")
    with pytest.raises(Invalid, match="both or neither"):
        await store.publish_version(ANN, version.object_id, 1, structure, cut, good)
    assert (await store.get(ANN, version.object_id)).state == "received"


async def test_reading_is_cut_to_the_budget_and_continues_where_it_stopped(store: ContentStore) -> None:
    text = "".join(f"Sentence number {number} says a thing. " for number in range(80)).strip()
    version = await put(store, ANN, "long.txt", text)
    read, start = "", 0
    while True:
        part = await store.read_text(ANN, version.object_id, start=start, tokens=50)
        assert part.text
        assert await store.resolve(ANN, part.anchor) == part.text
        read += part.text
        if part.next_start is None:
            break
        start = part.next_start
    assert read == f"long.txt\n\n{text}"


async def test_a_part_is_read_by_section_page_and_range(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    await publish(store, ANN, version, document(("Terms", ["Pay."]), ("Law", ["Of Utopia.", "Nowhere."])))
    read, item = store.read_text, version.object_id
    assert (await read(ANN, item, section="law")).text == "Law\n\nOf Utopia.\n\nNowhere."
    assert (await read(ANN, item, page=1)).text == "Terms\n\nPay."
    assert (await read(ANN, item, start=7, end=11)).text == "Pay."
    with pytest.raises(NotFound, match="Terms; Law"):
        await read(ANN, item, section="Prices")
    with pytest.raises(NotFound, match="there are 0"):
        await read(ANN, item, table=1)
    with pytest.raises(Invalid, match="one way"):
        await read(ANN, item, page=1, section="Law")


async def test_an_anchor_resolves_by_span_by_box_and_by_page(store: ContentStore) -> None:
    version = await store.receive(ANN, "a.txt", b"x")
    await publish(store, ANN, version, document(("Terms", ["Pay."]), ("Law", ["Of Utopia.", "Nowhere."])))
    at = Anchor(object_id=version.object_id, version=1, page=2, box=Box(page=2, x0=70, y0=110, x1=510, y1=145))
    assert await store.resolve(ANN, at) == "Of Utopia."
    assert await store.resolve(ANN, f"{version.object_id}@1#2") == "Law\n\nOf Utopia.\n\nNowhere."
    assert await store.resolve(ANN, f"{version.object_id}@1#;0-5") == "Terms"
    for missing in ("#;0-9999", "#9", "#2:0,0,1,1"):
        with pytest.raises(NotFound):
            await store.resolve(ANN, f"{version.object_id}@1{missing}")
    with pytest.raises(NotFound):
        await store.resolve(ANN, f"{version.object_id}@2")


async def test_objects_are_listed_newest_first_page_by_page(store: ContentStore) -> None:
    made = [(await store.receive(ANN, f"{number}.txt", b"x")).object_id for number in range(5)]
    first = await store.list(ANN, limit=2)
    rest = await store.list(ANN, after=first.after, limit=10)
    listed = [item.object_id for item in (*first.objects, *rest.objects)]
    assert listed == sorted(made, reverse=True)
    assert rest.after is None


async def test_filters_hold_all_at_once(store: ContentStore) -> None:
    async def add(name: str, tags: list[str], **properties: object) -> None:
        await store.receive(ANN, name, b"x", tags=tags, properties=properties)  # type: ignore[arg-type]

    await add("a", ["legal", "2024"], year=2024, country="FR", signed=True, parties=["X", "Y"])
    await add("b", ["legal"], year=2025.0, country="DE", signed=False, date="2025-03-01")
    await add("c", [], year="unknown", country="FR")

    async def names(**wanted: object) -> str:
        found = await store.list(ANN, Filters.model_validate(wanted))
        return "".join(sorted(item.name for item in found.objects))

    assert await names(tags=["legal"]) == "ab"
    assert await names(tags=["legal", "2024"]) == "a"
    assert await names(properties={"country": "FR"}) == "ac"
    assert await names(properties={"country": "FR"}, tags=["legal"]) == "a"
    assert await names(properties={"year": 2025}) == "b"
    assert await names(properties={"year": Range(min=2020)}) == "ab"
    assert await names(properties={"year": Range(min=2020, max=2024)}) == "a"
    assert await names(properties={"date": Range(min="2025-01-01", max="2025-12-31")}) == "b"
    assert await names(properties={"year": Range(min="a")}) == "c"
    assert await names(properties={"signed": True}) == "a"
    assert await names(properties={"signed": 1}) == ""
    assert await names(properties={"parties": "Y"}) == "a"
    assert await names(properties={'x"; DROP TABLE objects; --': "Y"}) == ""
    assert await names(states=["received"], name="b") == "b"
    assert await names(states=["ready"]) == ""


async def test_tags_and_properties_are_replaced_and_found_by_their_new_values(store: ContentStore) -> None:
    version = await store.receive(ANN, "a", b"x", tags=["old"], properties={"n": 1})
    await store.update(ANN, version.object_id, tags=["new"])
    item = (await store.list(ANN, Filters(tags=("new",), properties={"n": 1}))).objects[0]
    assert (item.tags, item.properties) == (("new",), {"n": 1})
    assert not (await store.list(ANN, Filters(tags=("old",)))).objects


async def test_someone_elses_object_in_the_default_collection_is_read_but_not_changed(store: ContentStore) -> None:
    version = await put(store, ANN, "a.txt", "Shared text.")
    assert (await store.read_text(BEN, version.object_id)).text.endswith("Shared text.")
    with pytest.raises(Denied):
        await store.receive(BEN, "a.txt", b"other bytes")
    with pytest.raises(Denied):
        await store.mark(BEN, version.object_id, 1, "rejected")
    with pytest.raises(Denied):
        await store.delete(BEN, version.object_id)
    assert len(await store.versions(ANN, version.object_id)) == 1


async def test_adding_to_the_default_collection_needs_a_role(store: ContentStore) -> None:
    await put(store, ANN, "a.txt", "Text.")
    with pytest.raises(Denied):
        await store.receive(person("guest"), "b.txt", b"x")


async def test_an_erased_object_leaves_no_row_no_byte_and_no_hit(store: ContentStore, tmp_path: Path) -> None:
    version = await put(store, ANN, "a.txt", "The secret zebra.")
    await store.receive(ANN, "copy.txt", b"The secret zebra.")
    search = ContentSearch(store.database)
    assert await search.search(ANN, "zebra", embedder=Words())
    receipt = await store.delete(ANN, version.object_id)
    assert (receipt.versions, receipt.passages) == (1, 1)
    assert not await search.search(ANN, "zebra", embedder=Words())
    with pytest.raises(NotFound):
        await store.resolve(ANN, f"{version.object_id}@1")
    async with store.database.read() as connection:
        for table in (passages, vectors, doomed_blobs):
            assert (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one() == 0
        assert (await connection.execute(sa.select(sa.func.count()).select_from(versions))).scalar_one() == 1
    # The bytes of the copy are the same blob and stay; the structure had no other owner and is gone.
    assert _blob_names(tmp_path) == {version.digest}


def _blob_names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").rglob("*") if path.is_file()}


async def test_what_is_not_there_is_not_found(store: ContentStore) -> None:
    missing = new_id("obj")
    for call in (
        store.get(ANN, missing),
        store.delete(ANN, missing),
        store.read_text(ANN, missing),
        store.receive(ANN, "a", b"x", object_id=missing),
        store.receive(ANN, "a", b"x", collection="nowhere"),
    ):
        with pytest.raises(NotFound):
            await call


@pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 401, "a\x00"])
async def test_a_name_that_cannot_be_shown_is_refused(store: ContentStore, name: str) -> None:
    with pytest.raises(Invalid):
        await store.receive(ANN, name, b"x")


async def test_a_collection_takes_only_its_content_types(store: ContentStore) -> None:
    collections = Collections(store.database)
    await collections.create(ANN, "contracts", content_types=("contract",))
    with pytest.raises(Invalid, match="takes contract"):
        await store.receive(ANN, "a", b"x", collection="contracts", content_type="letter")
    await store.receive(ANN, "a", b"x", collection="contracts", content_type="contract")


async def test_a_sweep_that_a_crash_prevented_is_made_up_for_all_tenants(database: Database, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = await blobs.put("local", b"left behind")
    async with database.write() as connection:
        await connection.execute(sa.insert(doomed_blobs).values(tenant="local", digest=digest))
    assert await sweep_all(database, blobs) == 1
    assert not await blobs.exists("local", digest)
    assert await sweep_all(database, blobs) == 0
