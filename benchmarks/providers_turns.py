"""What a turn costs on this side of the wire: ours beside bare HTTP, the plain SDKs, litellm and pydantic-ai.

`deploy/peers.sh --bench`, then `python benchmarks/providers_turns.py [--json FILE] [--rounds N] [--turns N]
[--only …]`; prints a table, then the error of the token estimate, then what the first use of each wire costs. Each
client is a process of its own and talks with one server on loopback, which answers with canned turns; they hold the
same tool loop turn by turn, each one turn after the other. A peer that is not installed is left out, and said so.
"""

import argparse
import json
import os
import platform as machine
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Report, Row, Sample, line
from benchmarks.providers_estimate import measure_estimates
from benchmarks.providers_imports import measure_imports
from benchmarks.providers_loop import Json

ROOT = Path(__file__).parents[1]
WIRES = ("anthropic", "openai", "chat", "gemini")
HERE = {"ours": "ours", "httpx2": "httpx2, bare", "sdk": "the SDK"}
PEERS = {"litellm": "litellm", "pydantic-ai": "pydantic-ai, direct"}
SPOKEN = {"litellm": ("anthropic", "chat")}
"""The wires of a peer that doesn't hold the loop on all of them."""

GOAL_RATIO = 2.0
CASES = ("turns", "estimates", "imports")
FIRST, LAST = 10, 10
"""How many turns of a loop stand for its beginning and its end."""


class Client:
    """A client's process: told to begin a conversation and to make turns of it, it says how long each took."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Speak with a process that was just started."""
        self._process = process
        self.ms: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def begin(self, wire: str, url: str) -> None:
        """Begin a conversation."""
        self._tell({"wire": wire, "url": url})

    def turn(self, wire: str, counted: bool) -> None:
        """Make the next turn; what it took is kept if `counted`."""
        took = self._tell({})
        if counted:
            self.ms.setdefault(wire, []).append(took["ms"])
            self.cpu.setdefault(wire, []).append(took["cpu_ms"])

    def _tell(self, what: Json) -> Json:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise SystemExit("a client ended before its loop did; its reason stands above")
        return json.loads(said)


@contextmanager
def process(python: Path | str, script: str, *arguments: str) -> Generator["subprocess.Popen[str]"]:
    """Give a process that ends with its input."""
    command = [str(python), str(Path(__file__).parent / script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    try:
        yield started
    finally:
        started.communicate(timeout=30)


def measure_turns(turns: int, rounds: int) -> list[Row]:
    """Return a turn of each wire beside each client that holds the loop on it: time, and processor time."""
    with ExitStack() as stack:
        server = stack.enter_context(process(sys.executable, "providers_server.py"))
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        clients = {
            name: Client(stack.enter_context(process(sys.executable, "providers_clients.py", name))) for name in HERE
        }
        for name in PEERS:
            python = ROOT / ".tools" / "peers" / name / "bin" / "python"
            if python.exists():
                script = f"providers_{name.replace('-', '_')}.py"
                clients[name] = Client(stack.enter_context(process(python, script)))
            else:
                print(f"{name} is left out: deploy/peers.sh --bench installs it")
        for place in range(rounds + 1):
            for wire in WIRES:
                talking = [client for name, client in clients.items() if wire in SPOKEN.get(name, WIRES)]
                for client in talking:
                    client.begin(wire, url)
                for number in range(turns):
                    # Nobody is always the one that comes after the same other.
                    first = number % len(talking)
                    for client in talking[first:] + talking[:first]:
                        client.turn(wire, counted=place > 0)
    return [row for wire in WIRES for row in _rows(wire, turns, clients)]


def _rows(wire: str, turns: int, clients: dict[str, Client]) -> list[Row]:
    mine = clients["ours"]
    rows: list[Row] = []
    for name, client in clients.items():
        if name != "ours" and wire in client.ms:
            goal = GOAL_RATIO if name == "httpx2" else None
            title = (HERE | PEERS)[name]
            rows.append(Row(f"turn, {wire}", "ms", Sample(mine.ms[wire]), title, Sample(client.ms[wire]), None, goal))
            used = Sample(mine.cpu[wire]), Sample(client.cpu[wire])
            rows.append(Row(f"turn, {wire}, CPU", "CPU ms", used[0], title, used[1], None, goal))
    first, last = _ends(mine.ms[wire], turns)
    rows.append(Row(f"last {LAST} of {turns}, {wire}", "ms", last, f"ours, first {FIRST}", first))
    return rows


def _ends(taken: Sequence[float], turns: int) -> tuple[Sample, Sample]:
    """Return the beginnings and the ends of all loops."""
    loops = [taken[start : start + turns] for start in range(0, len(taken), turns)]
    first = [one for loop in loops for one in loop[:FIRST]]
    return Sample(first), Sample([one for loop in loops for one in loop[-LAST:]])


def about(report: Report) -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": machine.python_version(),
        **{name: version(name) for name in ("anthropic", "openai", "google-genai", "httpx2")},
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in report.loads],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--rounds", type=int, default=3, help="loops of each client on each wire")
    parser.add_argument("--turns", type=int, default=51, help="turns of a loop")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    report = Report()
    if "turns" in options.only:
        report.add(measure_turns(options.turns, options.rounds))
    told: dict[str, list[Json]] = {}
    for case, measured in (("estimates", measure_estimates), ("imports", measure_imports)):
        if case in options.only:
            told[case] = measured()
            print("", line(list(told[case][0])), line(["---"] * len(told[case][0])), sep="\n")
            for row in told[case]:
                print(line([str(value) for value in row.values()]), flush=True)
    facts = about(report)
    print(json.dumps(facts))
    if options.json:
        rows = [row.as_json() for row in report.rows]
        options.json.write_text(json.dumps({**facts, "rows": rows, **told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
