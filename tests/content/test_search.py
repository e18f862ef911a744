"""Search: what is allowed, by words and by meaning, quoted to the letter, at whatever generation the rows are."""

import string
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from content.blobs import Blobs
from content.collections import Collections
from content.database import Database
from content.index_lexical import Place, query_words, rebuild_full_text
from content.index_vector import VectorIndex, unit_rows
from content.objects import ContentStore
from content.records import Filters
from content.search import ContentSearch, fuse
from content.structure import Anchor
from content.tables import passages
from engine.errors import Invalid, NotFound, Unavailable
from tests.content.support import Words, create_tables, document, person, publish, put

pytestmark = pytest.mark.anyio

ANN = person("ann", "author")


@pytest.fixture
async def store(database: Database, tmp_path: Path) -> ContentStore:
    await create_tables(database)
    return ContentStore(database, Blobs(tmp_path / "blobs"))


@pytest.fixture
async def lite(tmp_path: Path) -> AsyncGenerator[ContentStore]:
    """A store on SQLite, for what does not depend on the kind of database."""
    database = Database(f"sqlite:///{tmp_path / 'lite.db'}")
    await create_tables(database)
    yield ContentStore(database, Blobs(tmp_path / "blobs"))
    await database.close()


async def _library(store: ContentStore) -> dict[str, str]:
    """Publish three documents; return their ids by name."""
    texts = {
        "cats": [("Cats", ["Cats purr and sleep all day.", "Kittens are young cats."])],
        "law": [("Payment", ["The buyer pays within thirty days.", "Late payment bears interest."]),
                ("Law", ["The law of Utopia governs this contract."])],
        "soup": [("Soup", ["Boil the lentils until they are soft."])],
    }  # fmt: skip
    ids: dict[str, str] = {}
    for name, sections in texts.items():
        version = await store.receive(ANN, name, name.encode(), tags=[name], properties={"size": len(sections)})
        await publish(store, ANN, version, document(*sections), size=8)
        ids[name] = version.object_id
    return ids


@pytest.mark.parametrize("mode", ["lexical", "semantic", "hybrid"])
async def test_each_mode_finds_the_passage_and_says_why(store: ContentStore, mode: str) -> None:
    ids = await _library(store)
    search = ContentSearch(store.database)
    hits = await search.search(ANN, "When is late payment charged interest?", mode=mode, embedder=Words())  # type: ignore[arg-type]
    best = hits[0].citation
    assert best.object_id == ids["law"]
    assert "Late payment bears interest." in hits[0].text
    assert best.heading_path == ("Payment",)
    assert (best.why.lexical is not None) == (mode != "semantic")
    assert (best.why.semantic is not None) == (mode != "lexical")
    assert [hit.citation.score for hit in hits] == sorted((hit.citation.score for hit in hits), reverse=True)


async def test_words_match_by_their_stem_and_in_headings(store: ContentStore) -> None:
    ids = await _library(store)
    search = ContentSearch(store.database)
    for query, name in (("sleeping kitten", "cats"), ("paying buyers", "law"), ("soups", "soup")):
        hits = await search.search(ANN, query, mode="lexical")
        assert hits[0].citation.object_id == ids[name], query


async def test_every_answer_is_exactly_the_text_at_its_anchor(store: ContentStore) -> None:
    await _library(store)
    search = ContentSearch(store.database)
    async with store.database.read() as connection:
        rows = (await connection.execute(sa.select(passages))).mappings().all()
    assert len(rows) >= 5
    for row in rows:
        anchor = Anchor(object_id=row["object_id"], version=row["version"], span=(row["start"], row["end"]))
        assert await store.resolve(ANN, anchor) == row["text"]
        for mode in ("lexical", "hybrid"):
            hits = await search.search(ANN, row["text"], mode=mode, embedder=Words())
            assert any(row["text"] in hit.text for hit in hits)
            for hit in hits:
                assert await store.resolve(ANN, hit.citation.anchor) == hit.text
                parsed = Anchor.parse(hit.citation.anchor)
                assert (parsed.page, parsed.box) == (hit.citation.page, hit.citation.box)
                assert hit.citation.page is not None


async def test_neighbours_of_one_section_are_answered_as_one(store: ContentStore) -> None:
    version = await store.receive(ANN, "a", b"x")
    structure = document(
        ("One", ["apple first line here", "apple second line here"]), ("Two", ["apple third line here"])
    )
    await publish(store, ANN, version, structure, size=6)
    hits = await ContentSearch(store.database).search(ANN, "apple", mode="lexical")
    assert sorted(hit.text for hit in hits) == [
        "One\n\napple first line here\n\napple second line here",
        "Two\n\napple third line here",
    ]
    for hit in hits:
        assert await store.resolve(ANN, hit.citation.anchor) == hit.text


async def test_answers_keep_within_the_budget_and_the_first_is_cut_to_it(store: ContentStore) -> None:
    await _library(store)
    search = ContentSearch(store.database)
    query = "cats law lentils payment"
    for budget in (1, 5, 12, 30):
        hits = await search.search(ANN, query, tokens=budget, embedder=Words())
        assert hits
        assert sum(hit.tokens for hit in hits) <= budget
        for hit in hits:
            assert hit.text
            assert await store.resolve(ANN, hit.citation.anchor) == hit.text
    assert len(await search.search(ANN, query, limit=2, embedder=Words())) <= 2


async def test_filters_and_collections_narrow_every_mode(store: ContentStore) -> None:
    ids = await _library(store)
    collections = Collections(store.database)
    outer = await collections.create(ANN, "outer")
    inner = await collections.create(ANN, "inner", parent="outer")
    await collections.add(ANN, "inner", ids["soup"])
    search = ContentSearch(store.database)
    for mode in ("lexical", "semantic", "hybrid"):
        for narrowed in (
            {"collection": outer.name},
            {"collection": inner.collection_id},
            {"filters": Filters(tags=("soup",))},
            {"filters": Filters(object_ids=(ids["soup"],), properties={"size": 1})},
        ):
            hits = await search.search(ANN, "lentils cats law", mode=mode, embedder=Words(), **narrowed)  # type: ignore[arg-type]
            assert {hit.citation.object_id for hit in hits} == {ids["soup"]}
    assert not await search.search(ANN, "cats", filters=Filters(tags=("none",)), embedder=Words())
    with pytest.raises(NotFound):
        await search.search(ANN, "cats", collection="nowhere")


HOSTILE = [
    '"', '""', "'", "a OR", "AND", "NOT cats", "cats NEAR/2 law", "heading:cats", "{heading text}: cats", "cats*",
    "^cats", "cats -law", "(((", "cats) OR (law", "%", "\\", "cats\x00law", "cats; DROP TABLE passages", ":tenant",
    "a & b | !c", "cats:*", "<->", "🐈", "été", "‮cats", "＂cats＂", "_", "___", "the of and",
]  # fmt: skip


async def test_no_query_is_an_error_or_syntax(store: ContentStore) -> None:
    ids = await _library(store)
    search = ContentSearch(store.database)
    for query in HOSTILE:
        for mode in ("lexical", "hybrid"):
            hits = await search.search(ANN, query, mode=mode, embedder=Words())
            if "cats" in query and mode == "lexical":
                assert ids["cats"] in {hit.citation.object_id for hit in hits}, query


@given(query=st.text(max_size=60) | st.text(alphabet=string.punctuation + "cats ORND", max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_query(query: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")

    async def run() -> None:
        database = Database(f"sqlite:///{folder / 'any.db'}")
        try:
            await create_tables(database)
            search = ContentSearch(database)
            if query.strip():
                assert await search.search(ANN, query, mode="lexical") == []
            else:
                with pytest.raises(Invalid):
                    await search.search(ANN, query, mode="lexical")
        finally:
            await database.close()

    anyio.run(run)


def test_stop_words_count_only_where_there_is_nothing_else() -> None:
    assert query_words("What is the Law of the law?") == ["law"]
    assert query_words("to be or not to be") == ["to", "be", "or", "not"]
    assert query_words("_ __ ?!") == []
    assert len(query_words(" ".join(f"word{number}" for number in range(500)))) == 64


def test_fusion_prefers_what_both_lists_hold_and_is_stable() -> None:
    places: list[Place] = [(f"obj_{letter}", 1, 0) for letter in "abc"]
    a, b, c = places
    assert [found.place for found in fuse([a, b], [c, b])] == [b, a, c]
    assert [found.place for found in fuse([b], [a])] == [a, b]
    assert fuse([a], [a])[0].score == pytest.approx(2 / 61)


async def test_a_wrong_bound_or_an_absent_model_is_said(lite: ContentStore) -> None:
    search = ContentSearch(lite.database)
    for arguments in ({"query": " "}, {"query": "x" * 9000}, {"limit": 0}, {"limit": 51}, {"tokens": 0}):
        with pytest.raises(Invalid):
            await search.search(ANN, **{"query": "x", **arguments})  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="embedding model"):
        await search.search(ANN, "x", mode="semantic")


async def test_a_new_version_replaces_the_old_one_for_every_reader(store: ContentStore) -> None:
    """Two searches with copies of their own stand for two processes."""
    here, there = ContentSearch(store.database), ContentSearch(store.database)
    await put(store, ANN, "a", "zebra crossing")
    for search in (here, there):
        assert [hit.citation.version for hit in await search.search(ANN, "zebra", embedder=Words())] == [1]
    await put(store, ANN, "a", "zebra stripes")
    for search in (here, there):
        for mode in ("lexical", "semantic"):
            (hit,) = await search.search(ANN, "zebra", mode=mode, embedder=Words())
            assert (hit.citation.version, hit.text) == (2, "a\n\nzebra stripes")


async def test_a_rebuilt_index_gives_the_same_answers(store: ContentStore) -> None:
    await _library(store)
    await put(store, ANN, "soup", "Boil the beans instead.")
    queries = ["cats", "payment law", "boil lentils", "beans"]

    async def answers() -> list[object]:
        search = ContentSearch(store.database)
        return [await search.search(ANN, query, embedder=Words()) for query in queries]

    before = await answers()
    async with store.database.write() as connection:
        await connection.run_sync(rebuild_full_text)
    assert await answers() == before
    assert not await ContentSearch(store.database).search(ANN, "lentils", mode="lexical")


async def test_the_full_text_index_agrees_with_its_rows(lite: ContentStore) -> None:
    ids = await _library(lite)
    await put(lite, ANN, "soup", "Boil the beans instead.")
    await lite.delete(ANN, ids["cats"])
    async with lite.database.write() as connection:
        found = await connection.execute(
            sa.text("SELECT rowid FROM passages_fts WHERE passages_fts MATCH 'the OR cats'")
        )
        indexed = set(found.scalars())
        current = await connection.execute(
            sa.text(
                'SELECT p."row" FROM passages p JOIN objects o ON o.object_id = p.object_id '
                "AND o.current_version = p.version WHERE p.text LIKE '%the %'"
            )
        )
        assert indexed == set(current.scalars())


async def test_nearest_vectors_are_exact_under_every_restriction(lite: ContentStore) -> None:
    """Compare with a plain computation over the same rows, for all objects, for many and for few."""
    random = np.random.default_rng(7)
    for number in range(30):
        await put(lite, ANN, f"{number}", " ".join(f"word{value}" for value in random.integers(0, 40, 12)))
    items = (await lite.list(ANN, limit=200)).objects
    model = Words()
    index = VectorIndex()
    for kept in (30, 20, 3):
        allowed = {item.object_id: 1 for item in items[:kept]}
        for word in ("word1 word2 word3", "word30", "word7 word8"):
            query = model.embed([word])[0]
            async with lite.database.read() as connection:
                found = await index.search(connection, "acme", model.model_id, query, allowed, 5)
                rows = (await connection.execute(sa.select(passages))).mappings().all()
            scores = {
                (row["object_id"], row["version"], row["number"]): float(
                    model.embed([f"{row['heading']}\n{row['text']}"])[0] @ query
                )
                for row in rows
                if row["object_id"] in allowed
            }
            assert len(found) == min(5, len(scores))
            best = sorted(scores.values(), reverse=True)[: len(found)]
            assert [scores[place] for place in found] == pytest.approx(best, abs=1e-5)


async def test_copies_beyond_the_memory_bound_are_dropped_and_made_again(lite: ContentStore) -> None:
    search = ContentSearch(lite.database, vectors=VectorIndex(max_bytes=1))
    bob = person("bob", "author", tenant="other")
    await put(lite, ANN, "a", "zebra")
    await put(lite, bob, "b", "zebra")
    for _ in range(2):
        for who, name in ((ANN, "a"), (bob, "b")):
            assert [hit.citation.name for hit in await search.search(who, "zebra", embedder=Words())] == [name]


async def test_a_query_of_other_dimensions_is_refused(lite: ContentStore) -> None:
    await put(lite, ANN, "a", "zebra")

    class Short(Words):
        dimensions = 8

    with pytest.raises(Invalid, match="8 dimensions"):
        await ContentSearch(lite.database).search(ANN, "zebra", embedder=Short())


def test_vectors_are_stored_at_unit_length() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0]], np.float32), 2)
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
