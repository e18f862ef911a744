"""Writes the generated traces of runs, each labelled as a loop or not: `python -m tests.agents.make_traces`.

A trace is a list of turns, a turn a list of calls: tool, arguments, result, and what is special about it. The labels
say what a person would: whether the run should have been stopped by its end. They know nothing of the rules.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

TRACES = Path(__file__).parent / "traces"
SEED = 20261122

Call = dict[str, Any]
Turns = list[list[Call]]
Family = Callable[[random.Random], tuple[Turns, list[int]]]

WORDS = [
    "rain",
    "invoice",
    "harbour",
    "ledger",
    "supplier",
    "pump",
    "valve",
    "contract",
    "winter",
    "bridge",
    "copper",
    "parcel",
    "tariff",
    "engine",
]
TOOLS = ("search", "read_file", "list_dir", "fetch", "query", "lookup", "grep", "summarise")


def call(tool: str, arguments: Any, result: str, **special: Any) -> Call:
    """Return a call; `special` are `error`, `fault` and `polls`."""
    return {"tool": tool, "arguments": arguments, "result": result, **special}


def fresh(rng: random.Random) -> Call:
    """Return a call that no other one is like."""
    about = f"{rng.choice(WORDS)} {rng.randrange(10**5)}"
    return call(rng.choice(TOOLS), {"about": about}, f"{rng.randrange(10**4)} found")


def work(rng: random.Random, low: int, high: int) -> Turns:
    """Return some turns of honest work."""
    return [[fresh(rng)] for _ in range(rng.randint(low, high))]


def noise(rng: random.Random) -> str:
    """Return what changes by itself and means nothing: a moment and an id."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(10**7))
    letters = "".join(rng.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(26))
    return f"at {moment.isoformat()} as ref_{letters}"


# --- loops ------------------------------------------------------------------------------------------------


def same_call(rng: random.Random) -> tuple[Turns, list[int]]:
    """The same call again and again; ids and moments in the result change."""
    one = fresh(rng)
    return work(rng, 0, 8) + [[one | {"result": f"{one['result']} {noise(rng)}"}] for _ in range(rng.randint(5, 9))], []


def same_error(rng: random.Random) -> tuple[Turns, list[int]]:
    """The same call fails again and again, in other words each time."""
    one = fresh(rng)
    tries = rng.randint(5, 8)
    return work(rng, 0, 8) + [
        [one | {"result": f"failed, try {at} {noise(rng)}", "error": True}] for at in range(tries)
    ], []


def circle(rng: random.Random) -> tuple[Turns, list[int]]:
    """Two to five calls in a circle."""
    ring = [[fresh(rng)] for _ in range(rng.randint(2, 5))]
    return work(rng, 0, 8) + ring * rng.randint(4, 6), []


def wide_circle(rng: random.Random) -> tuple[Turns, list[int]]:
    """Six calls in a circle."""
    return work(rng, 0, 3) + [[fresh(rng)] for _ in range(6)] * 6, []


def few_calls(rng: random.Random) -> tuple[Turns, list[int]]:
    """Three or four calls in any order, for a long time."""
    few = [fresh(rng) for _ in range(rng.randint(3, 4))]
    return work(rng, 0, 6) + [[rng.choice(few)] for _ in range(rng.randint(28, 36))], []


def rephrased(rng: random.Random) -> tuple[Turns, list[int]]:
    """One question in ever other words, with the same empty answer."""
    said = rng.sample(WORDS, 12)
    return [[call("search", {"query": f"what about the {word}"}, "nothing found")] for word in said], []


def monologue(rng: random.Random) -> tuple[Turns, list[int]]:
    """Turns that neither call nor end."""
    return work(rng, 0, 6) + [[] for _ in range(rng.randint(5, 8))], []


def idle_poll(rng: random.Random) -> tuple[Turns, list[int]]:
    """Polling of what never changes."""
    job = {"job": rng.randrange(10**6)}
    polls = [[call("job_state", job, f"running {noise(rng)}", polls=True)] for _ in range(rng.randint(24, 32))]
    return work(rng, 0, 6) + polls, []


def unknown_tool(rng: random.Random) -> tuple[Turns, list[int]]:
    """A tool that isn't there, with other arguments each time."""
    name = f"{rng.choice(WORDS)}_{rng.choice(WORDS)}"
    said: Call = {"result": f"there is no tool {name}", "error": True, "fault": f"no tool {name}"}
    calls = [call(name, {"about": rng.choice(WORDS), "try": at}, **said) for at in range(rng.randint(4, 6))]
    return work(rng, 0, 6) + [[one] for one in calls], []


def bad_arguments(rng: random.Random) -> tuple[Turns, list[int]]:
    """Arguments that break the schema in the same way."""
    tool = rng.choice(TOOLS)
    said: Call = {"result": "$.limit: 'all' is not of type 'integer'", "error": True, "fault": "$.limit is no integer"}
    calls = [call(tool, {"limit": "all", "about": rng.choice(WORDS)}, **said) for _ in range(rng.randint(4, 6))]
    return work(rng, 0, 6) + [[one] for one in calls], []


def side_by_side(rng: random.Random) -> tuple[Turns, list[int]]:
    """The same calls side by side, in any order."""
    ring = [fresh(rng) for _ in range(rng.randint(2, 4))]
    return work(rng, 0, 6) + [rng.sample(ring, len(ring)) for _ in range(rng.randint(5, 7))], []


def refilled(rng: random.Random) -> tuple[Turns, list[int]]:
    """Checkpoints that are full again at once."""
    turns = work(rng, 12, 30)
    return turns, [len(turns) - 5, len(turns) - 3, len(turns) - 1]


# --- not loops --------------------------------------------------------------------------------------------


def batch(rng: random.Random) -> tuple[Turns, list[int]]:
    """One tool over many inputs; the answers are alike."""
    tool, count = rng.choice(TOOLS), rng.randint(10, 40)
    answers = ("ok", "ok", "ok", "nothing to do")
    return [[call(tool, {"file": f"{at}.txt"}, rng.choice(answers))] for at in range(count)], []


def batch_that_fails(rng: random.Random) -> tuple[Turns, list[int]]:
    """One tool over many inputs, each missing."""
    paths = [f"{rng.choice(WORDS)}/{at}.csv" for at in range(rng.randint(6, 12))]
    return [[call("read_file", {"path": path}, "no such file", error=True)] for path in paths] + work(rng, 1, 3), []


def side_by_side_batch(rng: random.Random) -> tuple[Turns, list[int]]:
    """Several inputs in each turn."""
    return [[fresh(rng) for _ in range(rng.randint(3, 12))] for _ in range(rng.randint(4, 15))], []


def varied_retry(rng: random.Random) -> tuple[Turns, list[int]]:
    """The same error for other arguments each time, until one works."""
    tries = [
        [call("query", {"sql": f"select {word} from t"}, "no such column", error=True)]
        for word in rng.sample(WORDS, rng.randint(4, 7))
    ]
    return work(rng, 0, 4) + tries + [[call("query", {"sql": "select id from t"}, "1 row")]] + work(rng, 0, 4), []


def mended_arguments(rng: random.Random) -> tuple[Turns, list[int]]:
    """Arguments that break the schema in another way each time."""
    wrong = [
        [call("query", {"try": at}, f"$.{word} is missing", error=True, fault=f"$.{word} is missing")]
        for at, word in enumerate(rng.sample(WORDS, 4))
    ]
    return wrong + work(rng, 2, 4), []


def patient_retry(rng: random.Random) -> tuple[Turns, list[int]]:
    """Two or three tries of the same call, the last one works."""
    one = fresh(rng)
    failing = [[one | {"result": "busy", "error": True}] for _ in range(rng.randint(1, 2))]
    return work(rng, 0, 5) + failing + [[one]] + work(rng, 1, 5), []


def live_poll(rng: random.Random) -> tuple[Turns, list[int]]:
    """Polling of what changes, now and then after a long time."""
    turns: Turns = []
    for percent in range(0, 100, rng.choice((10, 20, 25))):
        stays = rng.randint(1, 12)
        turns += [[call("job_state", {"job": 7}, f"{percent} %", polls=True)] for _ in range(stays)]
    return work(rng, 0, 4) + turns + work(rng, 0, 2), []


def plain_poll(rng: random.Random) -> tuple[Turns, list[int]]:
    """Calling what isn't known as polling; it changes at every call, or at every third."""
    stays = rng.randint(1, 3)
    return [[call("tick", {}, f"{at // stays}")] for at in range(rng.randint(8, 24))], []


def edit_and_test(rng: random.Random) -> tuple[Turns, list[int]]:
    """Edits between runs of the same tests, which fail alike for a while."""
    turns: Turns = []
    for left in range(rng.randint(4, 14), 0, -1):
        turns.append([call("edit", {"file": "a.py", "text": f"version {left} {rng.randrange(10**6)}"}, "saved")])
        turns.append([call("run_tests", {}, f"{max(left // 4, 1)} failed")])
    return [*turns, [call("run_tests", {}, "all passed")]], []


def long_work(rng: random.Random) -> tuple[Turns, list[int]]:
    """A long run, which now and then looks at something again."""
    turns: Turns = []
    for _ in range(rng.randint(50, 80)):
        again = turns and rng.random() < 0.2
        turns.append(list(rng.choice(turns)) if again else [fresh(rng)])
    return turns, []


def pages(rng: random.Random) -> tuple[Turns, list[int]]:
    """Page after page of one list."""
    return [
        [call("list_dir", {"after": at * 100}, f"100 names from {at * 100}")] for at in range(rng.randint(8, 30))
    ], []


def reread(rng: random.Random) -> tuple[Turns, list[int]]:
    """Two files read twice in turn, then work."""
    pair = [[fresh(rng)], [fresh(rng)]]
    return work(rng, 0, 4) + pair * 2 + work(rng, 3, 8), []


def thinking(rng: random.Random) -> tuple[Turns, list[int]]:
    """A turn or two without a call, then work."""
    return work(rng, 1, 3) + [[] for _ in range(rng.randint(1, 2))] + work(rng, 2, 5), []


def wrong_name(rng: random.Random) -> tuple[Turns, list[int]]:
    """A tool that isn't there, once or twice, then the right one."""
    said: Call = {"result": "there is no tool serch", "error": True, "fault": "no tool serch"}
    return [[call("serch", {"try": at}, **said)] for at in range(rng.randint(1, 2))] + work(rng, 2, 6), []


def watched_work(rng: random.Random) -> tuple[Turns, list[int]]:
    """Work with a look at the same state in each turn."""
    state = call("status", {}, "all well")
    return [[fresh(rng), state] for _ in range(rng.randint(8, 20))], []


def spaced_checkpoints(rng: random.Random) -> tuple[Turns, list[int]]:
    """A long run with a checkpoint every so often."""
    turns = work(rng, 40, 50)
    return turns, list(range(12, len(turns), 12))


LOOPS: dict[Family, int] = {
    same_call: 10,
    same_error: 8,
    circle: 14,
    wide_circle: 1,
    few_calls: 8,
    rephrased: 2,
    monologue: 7,
    idle_poll: 8,
    unknown_tool: 7,
    bad_arguments: 6,
    side_by_side: 6,
    refilled: 4,
}
FINE: dict[Family, int] = {
    batch: 8,
    batch_that_fails: 6,
    side_by_side_batch: 5,
    varied_retry: 8,
    mended_arguments: 4,
    patient_retry: 6,
    live_poll: 8,
    plain_poll: 6,
    edit_and_test: 10,
    long_work: 6,
    pages: 5,
    reread: 4,
    thinking: 4,
    wrong_name: 4,
    watched_work: 5,
    spaced_checkpoints: 3,
}


def made() -> Iterator[dict[str, Any]]:
    """Give the traces, always the same ones."""
    for label, families in (("loop", LOOPS), ("fine", FINE)):
        for family, count in families.items():
            for number in range(count):
                turns, checkpoints = family(random.Random(f"{SEED}/{family.__name__}/{number}"))
                trace = {"name": f"{family.__name__}-{number}", "label": label, "turns": turns}
                yield trace | ({"checkpoints": checkpoints} if checkpoints else {})


def text_of(traces: list[dict[str, Any]]) -> str:
    """Return the file of traces: one line each."""
    return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in traces) + "\n]\n"


if __name__ == "__main__":
    TRACES.mkdir(exist_ok=True)
    (TRACES / "generated.json").write_text(text_of(list(made())), encoding="utf-8")
