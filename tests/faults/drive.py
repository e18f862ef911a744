"""Runs driven to their end by clients that don't give up, and cut where a test wants it."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.values import new_id
from server.client import Refused
from tests.faults.house import LOOK_S, OVER, STILL_S, FaultHouse, until

EVENTS = (
    "SELECT count(*) FROM events JOIN runs ON runs.tenant = events.tenant AND runs.run_id = events.run_id "
    "WHERE runs.root_id = (SELECT run_id FROM runs WHERE idempotency_key = ?) AND events.type <> 'turn.restarted'"
)

Look = Callable[..., list[tuple[Any, ...]]]
Attend = Callable[[FaultHouse, Look, str], None]
"""Sees to what a run asks: given the house, a look into its database, and the run."""


@dataclass
class Driven:
    """A run that ended. `recovered`: seconds from each death of the server to the next event, restart included."""

    run_id: str
    deaths: int = 0
    recovered: list[float] = field(default_factory=lambda: [])


def drive(
    house: FaultHouse,
    process: str,
    given: dict[str, Any],
    *,
    cut: Sequence[int] = (),
    kill: Callable[[], None] | None = None,
    deaths: int = 0,
    attend: Attend | None = None,
) -> Driven:
    """Start a process, attend to what it asks, and return it ended, whatever happens to the server meanwhile.

    `attend` is called again and again while the run goes on; without it fay approves whatever is asked.

    `cut` are numbers of events of the run and its agents; right after each of them `kill` is called, which is to kill
    the server and its Temporal unless something else is given. The run is over when the store and Temporal say so and
    the server has died `deaths` times: the last of them may come when the end is already written.
    """
    key = new_id("test")
    with _cutting(house, key, cut, kill or house.kill) as cutter, house.looking() as look:
        starts = len(house.starts)
        started = house.call("start_process", None, process=process, input=given, idempotency_key=key)
        driven = Driven(started["run_id"])
        _follow(house, look, driven, key, starts + deaths, attend or approve_all)
        driven.deaths = len(house.starts) - starts
    until(lambda: house.workflow_over(driven.run_id), STILL_S, "the workflow is over")
    assert cutter.cuts == len(cut), f"the run ended after {cutter.cuts} of {len(cut)} cuts"
    return driven


def _follow(house: FaultHouse, look: Look, driven: Driven, key: str, starts: int, attend: Attend) -> None:
    seen, since = -1, time.monotonic()
    died: float | None = None
    while True:
        if house.ended():
            died = died or time.monotonic()
            house.restart_if_ended()
        events = look(EVENTS, key)[0][0]
        now = time.monotonic()
        if events != seen:
            if died is not None:
                driven.recovered.append(now - died)
            seen, since, died = events, now, None
        status = look("SELECT status FROM runs WHERE run_id = ?", driven.run_id)[0][0]
        if status in OVER and not house.ended() and len(house.starts) >= starts:
            return
        assert now - since < STILL_S, f"run {driven.run_id} stands still as {status}: {house.log()[-3000:]}"
        attend(house, look, driven.run_id)
        time.sleep(LOOK_S)


def approve_all(house: FaultHouse, look: Look, run_id: str) -> None:
    """Have fay approve every open task of a run."""
    for (task_id,) in look("SELECT task_id FROM tasks WHERE run_id = ? AND status = 'open'", run_id):
        decide(house, "fay", run_id, task_id, "approve", {"reason": "confirmed in writing"})


def decide(house: FaultHouse, who: str, run_id: str, task_id: str, decision: str, values: dict[str, Any]) -> None:
    """Answer a task; an answer that was cut off may turn out to have counted already."""

    def answered() -> bool:
        try:
            house.call("answer_run", who, run_id=run_id, task_id=task_id, decision=decision, values=values)
        except Refused as refused:
            if f"already decided by {who} ({decision})" in refused.message:
                return True
            if "try again" not in refused.message:
                raise
            return False
        return True

    until(answered, STILL_S, "the answer is taken")


class _Cutter:
    """Kills right after the given numbers of events, from a thread of its own."""

    def __init__(self, house: FaultHouse, key: str, cut: Sequence[int], kill: Callable[[], None]) -> None:
        self.cuts = 0
        self._house, self._key, self._cut, self._kill = house, key, cut, kill
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        with self._house.looking() as look:
            for number in self._cut:
                while not self._done.wait(LOOK_S):
                    if look(EVENTS, self._key)[0][0] >= number and self._house.up:
                        self._kill()
                        self.cuts += 1
                        break

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._done.set()
        self._thread.join(STILL_S)
        assert not self._thread.is_alive()


@contextmanager
def _cutting(house: FaultHouse, key: str, cut: Sequence[int], kill: Callable[[], None]) -> Generator[_Cutter]:
    cutter = _Cutter(house, key, cut, kill)
    cutter.start()
    try:
        yield cutter
    finally:
        cutter.stop()
