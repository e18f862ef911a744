"""The rules over labelled traces: how many of the loops they find, and how much of what they find is one."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.agent.stuck import REMEMBERED, Round, Seen, call_print, finding, result_print, round_of
from tests.agents.make_traces import TRACES, made, text_of

WANTED = 0.95


def traces() -> list[dict[str, Any]]:
    """Return all labelled traces."""
    return [one for file in sorted(TRACES.glob("*.json")) for one in json.loads(file.read_text(encoding="utf-8"))]


def round_in(turn: int, calls: list[dict[str, Any]]) -> Round:
    """Return a turn of a trace as a run remembers it."""
    seen = [
        Seen(
            call_id=f"call_{turn}_{at}",
            tool=one["tool"],
            call=call_print(one["tool"], one["arguments"]),
            result=result_print(one["result"], is_error=one.get("error", False)),
            error=one.get("error", False),
            fault=result_print(one["fault"], is_error=True) if "fault" in one else "",
            polls=one.get("polls", False),
        )
        for at, one in enumerate(calls)
    ]
    return round_of(turn, seen)


def stops_at(trace: dict[str, Any]) -> int | None:
    """Return after which turn the rules call a run stuck, or None."""
    rounds = [round_in(turn, calls) for turn, calls in enumerate(trace["turns"], start=1)]
    for turn in range(1, len(rounds) + 1):
        checkpoints = [one for one in trace.get("checkpoints", ()) if one <= turn]
        found = finding(rounds[max(0, turn - REMEMBERED) : turn], checkpoints)
        if found is not None and found.level == "stuck":
            return turn
    return None


def test_loops_are_found_and_honest_work_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    labelled = traces()
    assert len(labelled) >= 120
    assert len({one["name"] for one in labelled}) == len(labelled)
    called = {one["name"]: stops_at(one) is not None for one in labelled}
    loops = {one["name"] for one in labelled if one["label"] == "loop"}
    assert len(loops) >= 60
    found = {name for name, stuck in called.items() if stuck}
    precision, recall = len(found & loops) / len(found), len(found & loops) / len(loops)
    with capsys.disabled():
        print(f"\nstuck rules: {len(labelled)} traces, {len(loops)} loops: {precision=:.3f} {recall=:.3f}")
        print(f"  missed: {', '.join(sorted(loops - found)) or 'none'}")
        print(f"  wrongly called stuck: {', '.join(sorted(found - loops)) or 'none'}")
    assert precision >= WANTED
    assert recall >= WANTED


def test_the_generated_traces_are_those_of_the_seed() -> None:
    assert Path(TRACES / "generated.json").read_text(encoding="utf-8") == text_of(list(made()))
