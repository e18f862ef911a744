"""The hub of one process: joining of pieces, readers that come late or fall behind, what a change makes void."""

import asyncio
from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runs import RunRef
from engine.transcript import Delta
from server.hub import MOST_STOPPING, Hub, TurnStream
from server.hub_joining import MOST_IDLE, Joining
from server.hub_reader import BACKLOG, Deltas
from server.hub_turns import LiveTurns
from server.hub_values import END, Changed, LiveDelta, Place, settled_by

pytestmark = pytest.mark.anyio

RUN = RunRef(tenant="local", run_id="run_1")
LATER = 3600.0
"""Longer than any test: what waits for this timer never leaves by it."""


def piece(text: str, offset: int, *, turn: int = 1, attempt: int = 1, kind: str = "text", **data: str) -> LiveDelta:
    return LiveDelta(
        run=RUN, type=f"{kind}.delta", turn=turn, attempt=attempt, offset=offset, data={"text": text, **data}
    )


def marker(type: str, *, turn: int = 1, attempt: int = 1, offset: int = 0) -> LiveDelta:
    return LiveDelta(run=RUN, type=type, turn=turn, attempt=attempt, offset=offset)


def brief(deltas: Sequence[LiveDelta]) -> list[tuple[str, int, str]]:
    """Type, offset and text of each."""
    return [(one.type, one.offset, one.text) for one in deltas]


async def test_the_first_piece_goes_at_once_and_those_that_follow_go_together() -> None:
    handed: list[LiveDelta] = []
    joining = Joining(handed.append, seconds=LATER)
    for offset, text in enumerate("abcd"):
        joining.add(piece(text, offset))
    assert brief(handed) == [("text.delta", 0, "a")]
    joining.flush(RUN)
    assert brief(handed) == [("text.delta", 0, "a"), ("text.delta", 1, "bcd")]


async def test_what_waits_goes_by_its_timer_and_the_next_piece_waits_again() -> None:
    handed: list[LiveDelta] = []
    gone = asyncio.Event()

    def hand_on(delta: LiveDelta) -> None:
        handed.append(delta)
        if len(handed) == 2:
            joining.add(piece("d", 3))
        if len(handed) == 3:
            gone.set()

    joining = Joining(hand_on, seconds=0.001)
    for offset, text in enumerate("abc"):
        joining.add(piece(text, offset))
    with anyio.fail_after(10):
        await gone.wait()
    assert brief(handed) == [("text.delta", 0, "a"), ("text.delta", 1, "bc"), ("text.delta", 3, "d")]


async def test_what_comes_after_the_time_goes_at_once_and_runs_that_are_quiet_are_forgotten() -> None:
    handed: list[LiveDelta] = []
    joining = Joining(handed.append, seconds=0.0)
    for offset, text in enumerate("abc"):
        joining.add(piece(text, offset))
    assert [one.text for one in handed] == ["a", "b", "c"]
    for number in range(3 * MOST_IDLE):
        run = RunRef(tenant="local", run_id=f"run_{number}")
        joining.add(piece("x", 0).model_copy(update={"run": run}))
    assert len(handed) == 3 + 3 * MOST_IDLE
    assert len(vars(joining)["_open"]) <= MOST_IDLE


async def test_another_kind_another_call_another_attempt_and_a_marker_send_off_what_waits() -> None:
    handed: list[LiveDelta] = []
    joining = Joining(handed.append, seconds=LATER)
    for one in (
        piece("a", 0),
        piece("b", 1),
        piece("c", 2, kind="reasoning"),
        piece("d", 3, kind="tool", call_id="one"),
        piece("e", 4, kind="tool", call_id="one"),
        piece("f", 5, kind="tool", call_id="two"),
        piece("g", 0, attempt=2),
        marker("tool.started"),
    ):
        joining.add(one)
    assert brief(handed) == [
        ("text.delta", 0, "a"),
        ("text.delta", 1, "b"),
        ("reasoning.delta", 2, "c"),
        ("tool.delta", 3, "de"),
        ("tool.delta", 5, "f"),
        ("text.delta", 0, "g"),
        ("tool.started", 0, ""),
    ]
    assert [one.data.get("call_id") for one in handed[3:5]] == ["one", "two"]


async def test_runs_do_not_wait_for_each_other() -> None:
    handed: list[LiveDelta] = []
    joining = Joining(handed.append, seconds=LATER)
    joining.add(piece("a", 0))
    joining.add(piece("b", 1))
    other = piece("x", 0).model_copy(update={"run": RunRef(tenant="other", run_id=RUN.run_id)})
    joining.add(other)
    assert brief(handed) == [("text.delta", 0, "a"), ("text.delta", 0, "x")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["text", "reasoning", "tool"]), st.text(max_size=4), st.booleans()), max_size=30)
)
def test_nothing_is_lost_or_moved_whenever_the_pieces_are_sent_off(said: list[tuple[str, str, bool]]) -> None:
    async def check() -> None:
        hub = Hub()
        stream = TurnStream(hub, RUN, 1, 1)
        async with hub.watch(RUN) as early:
            for kind, text, change in said:
                stream(Delta.model_validate({"kind": kind, "text": text}))
                if change:
                    hub.changed(RUN)
            hub.changed(RUN)
            async with hub.watch(RUN) as late:
                heard, told = early.ready(), late.ready()
        whole = "".join(text for _, text, _ in said)
        for deltas in (heard, told):
            assert "".join(one.text for one in deltas) == whole
            kinds = [kind for one in deltas for kind in [one.type.removesuffix(".delta")] * len(one.text)]
            assert kinds == [kind for kind, text, _ in said for _ in text]
            texts = [one for one in deltas if one.text]
            assert [one.offset for one in texts] == [sum(len(two.text) for two in texts[:n]) for n in range(len(texts))]
        assert [one.type for one in told][:1] == (["turn.retold"] if whole else [])

    asyncio.run(check())


async def test_who_comes_in_the_middle_of_a_turn_is_told_it_from_its_start_and_then_what_comes() -> None:
    hub = Hub()
    for one in (piece("Once ", 0), piece("upon", 5), piece("hm", 9, kind="reasoning")):
        hub.publish(one)
    hub.changed(RUN)
    async with hub.watch(RUN) as late:
        hub.publish(piece("!", 11))
        assert brief(late.ready()) == [
            ("turn.retold", 0, ""),
            ("text.delta", 0, "Once upon"),
            ("reasoning.delta", 9, "hm"),
            ("text.delta", 11, "!"),
        ]


async def test_a_settled_turn_is_not_told_again_and_a_turn_begun_anew_only_from_there() -> None:
    hub = Hub()
    hub.publish(piece("a draft", 0))
    hub.changed(RUN, settled_by("turn.restarted", {"turn": 1, "attempt": 1, "offset": 7}))
    hub.publish(piece("better", 7))
    async with hub.watch(RUN) as after_the_fallback:
        assert brief(after_the_fallback.ready()) == [("turn.retold", 7, ""), ("text.delta", 7, "better")]
    hub.changed(RUN, settled_by("turn.restarted", {"turn": 1, "attempt": 2}))
    hub.publish(piece("third", 0, attempt=2))
    async with hub.watch(RUN) as after_the_crash:
        assert brief(after_the_crash.ready()) == [("turn.retold", 0, ""), ("text.delta", 0, "third")]
        hub.publish(piece(" of a dead attempt", 13))
        hub.changed(RUN)
        assert after_the_crash.ready() == []
    hub.changed(RUN, settled_by("turn.finished", {"turn": 1}))
    async with hub.watch(RUN) as after_the_turn:
        assert after_the_turn.ready() == []
    hub.publish(piece("next", 0, turn=2))
    hub.changed(RUN, END)
    assert list(hub.turns.runs()) == []


async def test_a_reader_that_falls_behind_is_told_the_turn_again_and_holds_a_bounded_number_of_pieces() -> None:
    hub = Hub()
    stream = TurnStream(hub, RUN, 1, 1)
    async with hub.watch(RUN) as slow:
        for number in range(3 * BACKLOG):
            stream(Delta(kind="text", text=f"{number},"))
            hub.changed(RUN)
            assert len(vars(slow)["_waiting"]) <= BACKLOG
        first = await slow.get()
        second = await slow.get()
        assert (first.type, first.offset) == ("turn.retold", 0)
        assert (second.offset, second.text) == (0, "".join(f"{number}," for number in range(3 * BACKLOG)))
        stream(Delta(kind="text", text="and on"))
        assert (await slow.get()).text == "and on"


async def test_a_reader_is_told_that_a_piece_is_lost_and_who_comes_then_too() -> None:
    hub = Hub()
    hub.publish(piece("Once ", 0))
    hub.changed(RUN)
    async with hub.watch(RUN) as reader:
        reader.ready()
        hub.publish(piece("a time", 10))
        hub.changed(RUN)
        assert brief(reader.ready()) == [("turn.gap", 10, ""), ("text.delta", 10, "a time")]
    async with hub.watch(RUN) as late:
        assert brief(late.ready()) == [("turn.gap", 0, "")]
        hub.publish(piece("new", 0, turn=2))
        assert brief(late.ready()) == [("text.delta", 0, "new")]


def test_what_is_known_already_is_not_told_twice_and_an_overlap_only_by_its_end() -> None:
    turns = LiveTurns()
    assert brief(turns.add(piece("Once ", 0))) == [("text.delta", 0, "Once ")]
    assert turns.add(piece("nce", 1)) == ()
    assert brief(turns.add(piece("Once upon", 0))) == [("text.delta", 5, "upon")]
    assert brief(turns.retold(RUN)) == [("turn.retold", 0, ""), ("text.delta", 0, "Once upon")]


def test_what_is_kept_of_turns_is_bounded_and_what_was_forgotten_is_said_to_be_missing() -> None:
    turns = LiveTurns(turn_chars=10, all_chars=25, most=4)
    runs = [RunRef(tenant="local", run_id=f"run_{number}") for number in range(6)]

    def add(run: RunRef, text: str, offset: int = 0) -> Sequence[LiveDelta]:
        return turns.add(piece(text, offset).model_copy(update={"run": run}))

    add(runs[0], "0123456789")
    assert brief(add(runs[0], "x", 10)) == [("text.delta", 10, "x")]
    assert [one.type for one in turns.retold(runs[0])] == ["turn.gap"]
    for run in runs[1:4]:
        add(run, "12345678")
    assert [turns.retold(run)[0].type for run in runs[1:4]] == ["turn.retold"] * 3
    add(runs[3], "90", 8)
    assert [turns.retold(run)[0].type for run in runs[1:4]] == ["turn.gap", "turn.retold", "turn.retold"]
    for run in runs[4:]:
        add(run, "1")
    assert set(turns.runs()) == set(runs[2:])


async def test_a_change_wakes_who_waits_for_the_run_or_its_tenant_after_what_was_said_before_it() -> None:
    hub = Hub()
    woken: list[str] = []

    async def wait(place: RunRef | str, name: str) -> None:
        await hub.wait(place, LATER)
        woken.append(name)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group, hub.watch(RUN) as reader:
            group.start_soon(wait, RUN, "run")
            group.start_soon(wait, "local", "tenant")
            group.start_soon(wait, RunRef(tenant="other", run_id="run_1"), "another tenant")
            while len(vars(hub)["_waiting"]) < 3:
                await anyio.lowlevel.checkpoint()
            hub.publish(piece("a", 0))
            hub.publish(piece("b", 1))
            hub.changed(RUN)
            assert "".join(one.text for one in reader.ready()) == "ab"
            while len(woken) < 2:
                await anyio.lowlevel.checkpoint()
            assert sorted(woken) == ["run", "tenant"]
            group.cancel_scope.cancel()


def test_a_run_is_known_to_be_stopping_until_its_end_is_on_record_and_only_so_many_are() -> None:
    hub = Hub()
    others = [RunRef(tenant="local", run_id=f"run_{number}") for number in range(2, 2 + MOST_STOPPING)]
    hub.stopping(RUN)
    hub.changed(RUN)
    assert hub.is_stopping(RUN)
    assert not hub.is_stopping(others[0])
    hub.changed(RUN, END)
    assert not hub.is_stopping(RUN)
    for run in (RUN, *others):
        hub.stopping(run)
    assert [hub.is_stopping(run) for run in (RUN, others[0], others[-1])] == [False, True, True]


async def test_a_reader_that_is_poked_looks_up_although_nothing_came() -> None:
    reader = Deltas(tuple)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(reader.arrived)
            while vars(reader)["_reader"] is None:
                await anyio.lowlevel.checkpoint()
            reader.poke()
    assert reader.ready() == []


def test_two_changes_said_together_keep_the_later_place() -> None:
    early, late = (Changed(run=RUN, settled=Place(turn, 0, 0)) for turn in (2, 3))
    assert late.after(early) == early.after(late) == Changed(run=RUN).after(late) == late
    assert early.after(None) == early


def test_only_whole_restarts_and_ends_of_turns_settle_something() -> None:
    assert settled_by("turn.finished", {"turn": 3}) == Place(4, 0, 0)
    assert settled_by("turn.restarted", {"turn": 3, "attempt": 2}) == Place(3, 2, 0)
    assert settled_by("turn.restarted", {"turn": 3, "attempt": 2, "offset": 9}) == Place(3, 2, 9)
    assert settled_by("turn.finished", {}) is None
    assert settled_by("tool.finished", {"turn": 3}) is None
