"""Runs of the example's process, driven to their end by clients that don't give up, and cut where a test wants it."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.values import new_id
from server.client import Refused
from tests.faults.house import LOOK_S, OVER, STILL_S, FaultHouse, Row

EVENTS = (
    "SELECT count(*) FROM events JOIN runs ON runs.tenant = events.tenant AND runs.run_id = events.run_id "
    "WHERE runs.root_id = (SELECT run_id FROM runs WHERE idempotency_key = ?)"
)


@dataclass
class Driven:
    """A run that ended. `recovered` are the seconds from each restart to the next event of the run."""

    run_id: str
    kills: int = 0
    recovered: list[float] = field(default_factory=lambda: [])


def drive(house: FaultHouse, process: str, document: str, *, cut: tuple[int, ...] = (), user: str = "fay") -> Driven:
    """Start a process, have `user` approve what it asks, and return it ended, whatever happens to the server.

    `cut` are numbers of events of the run and its agents: right after each of them the server and Temporal are killed.
    """
    key = new_id("test")
    with _cutter(house, key, cut) as cutter:
        started = house.call("start_process", None, process=process, input={"document": document}, idempotency_key=key)
        driven = Driven(started["run_id"])
        with house.looking() as look:
            _follow(house, look, driven, key, user)
        driven.kills = cutter.kills
    return driven


def _follow(house: FaultHouse, look: Any, driven: Driven, key: str, user: str) -> None:
    seen, since = -1, time.monotonic()
    restarted: float | None = None
    while True:
        if house.restart_if_ended():
            restarted = time.monotonic()
        events = look(EVENTS, key)[0][0]
        now = time.monotonic()
        if events != seen:
            if restarted is not None:
                driven.recovered.append(now - restarted)
                restarted = None
            seen, since = events, now
        status = look("SELECT status FROM runs WHERE run_id = ?", driven.run_id)[0][0]
        if status in OVER and not house.ended():
            return
        assert now - since < STILL_S, f"run {driven.run_id} stands still as {status}: {house.log()[-3000:]}"
        for (task_id,) in look("SELECT task_id FROM tasks WHERE run_id = ? AND status = 'open'", driven.run_id):
            approve(house, driven.run_id, task_id, user)
        time.sleep(LOOK_S)


def approve(house: FaultHouse, run_id: str, task_id: str, user: str) -> Row | None:
    """Approve a task; an answer that was cut off may turn out to have counted already."""
    try:
        reason = {"reason": "confirmed in writing"}
        return house.call("answer_run", user, run_id=run_id, task_id=task_id, decision="approve", values=reason)
    except Refused as refused:
        assert f"already decided by {user} (approve)" in refused.message, refused.message
        return None


class _Cutter:
    """Kills the server right after the given numbers of events, from a thread of its own."""

    def __init__(self, house: FaultHouse, key: str, cut: tuple[int, ...]) -> None:
        self.kills = 0
        self._house, self._key, self._cut = house, key, cut
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        with self._house.looking() as look:
            for number in self._cut:
                while not self._done.wait(LOOK_S):
                    if look(EVENTS, self._key)[0][0] >= number and not self._house.ended():
                        self._house.kill()
                        self.kills += 1
                        break

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(STILL_S)
        assert not self._thread.is_alive()


@contextmanager
def _cutter(house: FaultHouse, key: str, cut: tuple[int, ...]) -> Generator[_Cutter]:
    cutter = _Cutter(house, key, cut)
    cutter.start()
    try:
        yield cutter
    finally:
        cutter.stop()
