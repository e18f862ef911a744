"""Named versions: drafts with an optimistic lock, versions that never change, labels whose moves are kept."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.database import Database
from content.definitions import ProcessDefinitions
from content.versioned import LARGEST_TEXT, Address, Draft, Version
from content.versions import VersionStore
from engine.errors import Conflict, Denied, Exhausted, Invalid, NotFound
from engine.process.findings import Finding, error, warning
from engine.values import Principal
from tests.content.support import create_tables, person

pytestmark = pytest.mark.anyio

ANN = person("ann", "author")
PAT = person("pat", "publisher")
VIC = person("vic", "viewer")
EVE = person("eve", "administrator", tenant="other")


@pytest.fixture
async def store(database: Database) -> VersionStore:
    await create_tables(database)
    return VersionStore(database, "interaction")


async def _publish(store: VersionStore, name: str, *texts: str) -> None:
    draft = None
    for text in texts:
        draft = await store.put_draft(ANN, name, text, revision=draft and draft.revision)
        await store.publish(PAT, name)


async def test_a_draft_is_edited_in_place_from_the_revision_it_was_read_at(store: VersionStore) -> None:
    first = await store.put_draft(ANN, "greet", "Hello")
    second = await store.put_draft(PAT, "greet", "Hi", revision=1)
    assert (first.revision, second.revision, second.author) == (1, 2, "pat")
    assert await store.get_draft(ANN, "greet") == second


@pytest.mark.parametrize("revision", [None, 1, 3])
async def test_an_edit_from_another_revision_is_refused_and_says_which_one_stands(
    store: VersionStore, revision: int | None
) -> None:
    await store.put_draft(ANN, "greet", "Hello")
    await store.put_draft(ANN, "greet", "Hi", revision=1)
    with pytest.raises(Conflict, match="revision 2 by 'ann'") as caught:
        await store.put_draft(PAT, "greet", "Hey", revision=revision)
    assert caught.value.details["revision"] == 2
    assert (await store.get_draft(ANN, "greet")).text == "Hi"


async def test_a_revision_of_a_draft_that_is_not_there_is_refused(store: VersionStore) -> None:
    with pytest.raises(Conflict, match="no draft"):
        await store.put_draft(ANN, "greet", "Hello", revision=1)


async def test_putting_the_same_text_again_changes_nothing(store: VersionStore) -> None:
    first = await store.put_draft(ANN, "greet", "Hello")
    assert await store.put_draft(PAT, "greet", "Hello", revision=None) == first


async def test_of_edits_made_at_once_exactly_one_wins(store: VersionStore) -> None:
    await store.put_draft(ANN, "greet", "start")
    results: list[object] = []

    async def edit(number: int) -> None:
        try:
            results.append(await store.put_draft(ANN, "greet", f"text {number}", revision=1))
        except Conflict as refused:
            results.append(refused)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(edit, number)
    (winner,) = [result for result in results if isinstance(result, Draft)]
    assert await store.get_draft(ANN, "greet") == winner


async def test_first_drafts_made_at_once_are_one_draft(store: VersionStore) -> None:
    made: list[Draft] = []

    async def start(number: int) -> None:
        try:
            made.append(await store.put_draft(ANN, "greet", f"text {number}"))
        except Conflict:
            return

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(start, number)
    assert made == [await store.get_draft(ANN, "greet")]


async def test_a_published_version_is_numbered_and_stays_as_it_is(store: VersionStore) -> None:
    await store.put_draft(ANN, "greet", "Hello")
    first = await store.publish(PAT, "greet", comment="the first")
    await store.put_draft(ANN, "greet", "Hi", revision=1)
    second = await store.publish(PAT, "greet", comment="shorter", revision=2)
    assert (first.number, second.number) == (1, 2)
    assert (first.author, first.publisher, first.comment) == ("ann", "pat", "the first")
    assert await store.find(VIC, "greet@1") == first
    assert [version.text for version in await store.list_versions(VIC, "greet")] == ["Hello", "Hi"]


async def test_publishing_an_unchanged_draft_gives_the_version_there_is(store: VersionStore) -> None:
    await store.put_draft(ANN, "greet", "Hello")
    assert await store.publish(PAT, "greet") == await store.publish(PAT, "greet", comment="again")
    assert len(await store.list_versions(VIC, "greet")) == 1


async def test_publishing_another_revision_than_the_reviewed_one_is_refused(store: VersionStore) -> None:
    await store.put_draft(ANN, "greet", "Hello")
    await store.put_draft(ANN, "greet", "Changed behind your back", revision=1)
    with pytest.raises(Conflict, match="revision 2"):
        await store.publish(PAT, "greet", revision=1)
    assert not await store.list_versions(VIC, "greet")


async def test_a_text_that_is_published_in_one_go_becomes_draft_and_version(store: VersionStore) -> None:
    for number, text in enumerate(("Hello", "Hi", "Hi"), 1):
        version = await store.publish_text(PAT, "greet", text, comment="from a file")
        assert (version.number, version.text) == (min(number, 2), text)
    assert (await store.get_draft(PAT, "greet")).text == "Hi"


async def test_a_draft_that_changes_while_it_is_checked_is_checked_again(database: Database) -> None:
    await create_tables(database)
    checked: list[str] = []

    async def check(who: Principal, name: str, text: str) -> None:
        checked.append(text)
        if len(checked) == 1:
            await store.put_draft(ANN, name, "changed meanwhile", revision=1)

    store = VersionStore(database, "interaction", check=check)
    await store.put_draft(ANN, "greet", "Hello")
    assert (await store.publish(PAT, "greet")).text == "changed meanwhile"
    assert checked == ["Hello", "changed meanwhile"]


async def test_publications_made_at_once_are_one_version_without_gap(store: VersionStore) -> None:
    await store.put_draft(ANN, "greet", "Hello")
    numbers: list[int] = []

    async def publish() -> None:
        numbers.append((await store.publish(PAT, "greet")).number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(publish)
    assert numbers == [1] * 6


async def test_an_address_means_production_or_else_the_newest(store: VersionStore) -> None:
    await _publish(store, "greet", "one", "two", "three")

    async def number(address: str) -> int:
        found = await store.find(VIC, address)
        assert isinstance(found, Version)
        return found.number

    assert await number("greet") == 3
    await store.move_label(PAT, "greet", "staging", 3)
    await store.move_label(PAT, "greet", "production", 1)
    assert [await number(f"greet{end}") for end in ("", "@production", "@staging", "@2")] == [1, 1, 3, 2]
    draft = await store.find(ANN, "greet@draft")
    assert isinstance(draft, Draft)
    for missing in ("greet@9", "greet@nightly", "other", "greet@draft"):
        with pytest.raises(NotFound):
            await store.find(VIC, missing)


async def test_every_move_of_a_label_is_kept(store: VersionStore) -> None:
    await _publish(store, "greet", "one", "two")
    await store.move_label(PAT, "greet", "production", 1)
    await store.move_label(PAT, "greet", "production", 2, comment="release")
    assert await store.move_label(PAT, "greet", "production", 2) is None
    await store.move_label(PAT, "greet", "production", 1, comment="roll back")
    moves = await store.list_moves(VIC, "greet")
    assert [(move.seq, move.from_number, move.to_number, move.by, move.comment) for move in moves] == [
        (1, None, 1, "pat", ""),
        (2, 1, 2, "pat", "release"),
        (3, 2, 1, "pat", "roll back"),
    ]
    assert (await store.list_names(VIC))[0].labels == {"production": 1}


async def test_moves_made_at_once_are_all_numbered_in_one_chain(store: VersionStore) -> None:
    await _publish(store, "greet", *(f"text {number}" for number in range(1, 7)))

    async def move(number: int) -> None:
        await store.move_label(PAT, "greet", "production", number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(1, 7):
                group.start_soon(move, number)
    moves = await store.list_moves(VIC, "greet")
    assert [move.seq for move in moves] == list(range(1, 7))
    assert [move.from_number for move in moves] == [None, *(move.to_number for move in moves[:-1])]


async def test_a_label_cannot_be_moved_to_what_is_not_there_or_be_called_draft(store: VersionStore) -> None:
    await _publish(store, "greet", "one")
    with pytest.raises(NotFound):
        await store.move_label(PAT, "greet", "production", 2)
    with pytest.raises(NotFound):
        await store.move_label(PAT, "other", "production", 1)
    for label in ("draft", "12", "Production", "", "a b"):
        with pytest.raises(Invalid):
            await store.move_label(PAT, "greet", label, 1)


async def test_what_changed_between_two_addresses_is_shown(store: VersionStore) -> None:
    await _publish(store, "greet", "Dear {{name}}\nBye", "Hi {{name}}\nBye")
    assert await store.diff(VIC, "greet@1", "greet@2") == (
        "--- greet@1\n+++ greet@2\n@@ -1,2 +1,2 @@\n-Dear {{name}}\n+Hi {{name}}\n Bye"
    )
    assert await store.diff(ANN, "greet@2", "greet@draft") == ""


async def test_each_role_may_do_its_part_only(store: VersionStore) -> None:
    await store.put_draft(ANN, "greet", "Hello")
    for call in (
        store.put_draft(VIC, "greet", "x", revision=1),
        store.publish(ANN, "greet"),
        store.publish(VIC, "greet"),
        store.move_label(ANN, "greet", "production", 1),
    ):
        with pytest.raises(Denied):
            await call
    with pytest.raises(NotFound):
        await store.get_draft(VIC, "greet")
    assert await store.list_names(VIC) == ()
    assert [listed.draft_revision for listed in await store.list_names(ANN)] == [1]


async def test_another_tenant_and_another_kind_see_nothing(store: VersionStore, database: Database) -> None:
    await _publish(store, "greet", "secret")
    await store.move_label(PAT, "greet", "production", 1)
    other_kind = VersionStore(database, "process")
    for stranger, other in ((EVE, store), (PAT, other_kind)):
        for address in ("greet", "greet@1", "greet@production", "greet@draft"):
            with pytest.raises(NotFound):
                await other.find(stranger, address)
        with pytest.raises(NotFound):
            await other.publish(stranger, "greet")
        assert await other.list_names(stranger) == ()
        assert await other.list_versions(stranger, "greet") == ()
        assert await other.list_moves(stranger, "greet") == ()
        assert (await other.put_draft(stranger, "greet", "theirs")).revision == 1
    assert (await store.find(PAT, "greet")).text == "secret"


@pytest.mark.parametrize("name", ["", "Greet", "1st", "a b", "a/b", "../a", "a" * 65, "é", "a\n", "_a"])
async def test_a_name_that_is_none_is_refused(store: VersionStore, name: str) -> None:
    with pytest.raises(Invalid):
        await store.put_draft(ANN, name, "x")
    with pytest.raises(Invalid):
        await store.find(ANN, name)


async def test_a_text_that_no_database_keeps_is_refused(store: VersionStore) -> None:
    for text in ("a\x00b", "a\ud800b"):
        with pytest.raises(Invalid):
            await store.put_draft(ANN, "greet", text)
    with pytest.raises(Exhausted):
        await store.put_draft(ANN, "greet", "x" * (LARGEST_TEXT + 1))


@given(st.from_regex(r"[a-z][a-z0-9_-]{0,63}(@([1-9][0-9]{0,8}|[a-z][a-z0-9_-]{0,63}))?", fullmatch=True))
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "@1", "a@", "a@0", "a@-1", "a@1@2", "A@1", "a@Production", "a@ 1", "a@１"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Address.parse(text)


async def test_a_process_with_errors_is_kept_as_a_draft_and_not_published(database: Database) -> None:
    await create_tables(database)

    async def verifier(_: Principal, text: str) -> list[Finding]:
        found = [warning("unused", "/nodes/a", "Nothing leads to it.")]
        return [*found, error("missing", "/start", "Name a start node.")] if "start" not in text else found

    processes = ProcessDefinitions(database, verifier)
    await processes.put_draft(ANN, "approve", "nodes: []")
    with pytest.raises(Invalid, match="Name a start node") as caught:
        await processes.publish(PAT, "approve")
    assert [finding["severity"] for finding in caught.value.details["findings"]] == ["warning", "error"]
    assert [finding.code for finding in await processes.verify(ANN, "approve@draft")] == ["unused", "missing"]
    sound = "{format: 1, process: approve, start: a, nodes: {a: {type: end}}}"
    await processes.put_draft(ANN, "approve", sound, revision=1)
    assert (await processes.publish(PAT, "approve")).number == 1
