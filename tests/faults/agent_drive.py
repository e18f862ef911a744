"""An agent driven to its end, whatever dies meanwhile, and cut where a test wants it."""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.values import new_id
from tests.faults.agent_house import AgentHouse
from tests.faults.agent_script import SKILL, TOOLS, gate_of
from tests.faults.drive import EVENTS, Look, decide
from tests.faults.house import LOOK_S, OVER, STILL_S, until

Cut = tuple[int, str]
"""Right after which event of the run and its subagents, counted together, what is killed."""

TREE = "(SELECT run_id FROM runs WHERE root_id = ?)"
WAITS = "SELECT 1 FROM runs WHERE run_id = ? AND waits_for LIKE 'subagents: %'"
"""The chief waits for its subagents: from here on it hears of them in one way only."""


@dataclass
class Ended:
    """A run that ended. `recovered`: seconds from each death to the next event, restart included."""

    run_id: str
    case: str
    recovered: list[float] = field(default_factory=lambda: [])


def drive_agent(house: AgentHouse, *, cut: Sequence[Cut] = (), deaths: int = 0) -> Ended:
    """Start the chief, have fay allow what it asks, and return it ended, with server and worker as before.

    `cut` says what is killed when. Over means that the store and Temporal say so, that all cuts were made, and that
    server and worker have died `deaths` times by traps.
    """
    case = new_id("case").replace("_", "-").lower()
    before = house.deaths
    with _cutting(house, case, cut) as cutter, house.looking() as look:
        run_id = house.call("start_agent", "fay", **_start(case))["run_id"]
        ended = Ended(run_id, case)
        _follow(house, look, ended, cutter, before + deaths)
    for below in tree_of(house, run_id):
        until(lambda below=below: house.workflow_over(below), STILL_S, "the workflow is over")
    return ended


def tree_of(house: AgentHouse, run_id: str) -> list[str]:
    """Return the ids of a run and of everything below it, oldest first."""
    rows = house.rows("SELECT run_id FROM runs WHERE root_id = ? ORDER BY created_at, run_id", run_id)
    return [str(row["run_id"]) for row in rows]


def _start(case: str) -> dict[str, Any]:
    return {
        "task": f"Settle {case}.",
        "skills": [SKILL],
        "tools": list(TOOLS),
        "model": "scripted/chief",
        "approval": "auto_review",
        "reviewer": "scripted/reviewer",
        "budget": {"turns": 40, "tokens": 2_000_000},
        "idempotency_key": case,
    }


def _follow(house: AgentHouse, look: Look, ended: Ended, cutter: "_Cutter", deaths: int) -> None:
    seen, since, died = -1, time.monotonic(), None
    gate = gate_of(house.gate, ended.case)
    while True:
        if not house.whole:
            died = died or time.monotonic()
            house.restart_if_ended()
        events = look(EVENTS, ended.case)[0][0]
        now = time.monotonic()
        if events != seen:
            if died is not None and seen >= 0:
                ended.recovered.append(now - died)
            seen, since, died = events, now, None
        ((status,),) = look("SELECT status FROM runs WHERE run_id = ?", ended.run_id)
        if status in OVER and cutter.made and house.whole and house.deaths >= deaths:
            return
        assert now - since < STILL_S, f"run {ended.run_id} stands still as {status}: {house.log()[-3000:]}"
        if not gate.exists() and look(WAITS, ended.run_id):
            gate.touch()
        open_ones = f"SELECT run_id, task_id FROM tasks WHERE status = 'open' AND run_id IN {TREE}"
        for run_id, task_id in look(open_ones, ended.run_id):
            decide(house, "fay", run_id, task_id, "allow", {})
        time.sleep(LOOK_S)


class _Cutter:
    """Kills right after the given events, from a thread of its own. `made`: it has nothing left to kill."""

    def __init__(self, house: AgentHouse, case: str, cut: Sequence[Cut]) -> None:
        self.made = not cut
        self._house, self._case, self._cut = house, case, cut
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        with self._house.looking() as look:
            for number, victim in self._cut:
                while not (look(EVENTS, self._case)[0][0] >= number and self._house.whole):
                    if self._done.wait(LOOK_S):
                        return
                self._house.kill_one(victim)
        self.made = True

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._done.set()
        self._thread.join(STILL_S)
        assert not self._thread.is_alive()


@contextmanager
def _cutting(house: AgentHouse, case: str, cut: Sequence[Cut]) -> Generator[_Cutter]:
    cutter = _Cutter(house, case, cut)
    cutter.start()
    try:
        yield cutter
    finally:
        cutter.stop()
