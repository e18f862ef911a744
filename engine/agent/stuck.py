"""Done and stuck told apart: rules over the latest calls of a run, and what is done about what they find.

A call is known by three digests: what was asked, what came back without what changes by itself, and why it was
refused, if it was. The rules compare turns of such calls. They see no text, so they neither judge nor guess.

| rule | what repeats at the end | nudge at | stuck at |
|---|---|---|---|
| `same_result` | the same calls with the same results | 3 turns | 4 |
| `same_error` | the same calls, all of them failing | 3 turns | 4 |
| `cycle` | a circle of 2 to 5 turns with the same results | 2 rounds | 3 |
| `monologue` | turns without a call that end nothing | 3 turns | 4 |
| `low_novelty` | fewer than 30 % different calls among the last 20 | | 20 calls |
| `thrash` | a checkpoint that is full again within 3 turns | | 3 checkpoints |
| `refused` | the same call that can't be made: no such tool, arguments that don't fit | 2 turns | 3 |
| `barred` | calls of tools that were taken away for going round in circles | | 2 turns |

Polling is not a loop while its answer changes; one that doesn't change has 20 turns.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from pydantic import JsonValue

from engine.values import Value, digest

REMEMBERED = 20
"""As many turns are compared."""

KEPT_CALLS = 8
"""As many calls of a turn are kept one by one; the others count together as one."""

MAX_CYCLE = 5
NOVELTY_CALLS, NOVELTY = 20, 0.3
THRASH_CHECKPOINTS, THRASH_TURNS = 3, 3

POLL_NUDGE_AT, POLL_STUCK_AT = 10, 20
"""Turns of polling for which the answer may stay the same."""

BARRED_FOR = 5
"""For how many turns a tool is refused that leads nowhere."""

NOVELTY_GRACE = 5
"""How many turns new calls have to show among the last 20."""

CALM = 10
"""After as many turns without a finding, the next one begins with a nudge again."""

_CHANGING = re.compile(
    r"\b[a-z]{2,12}_[0-9a-hjkmnp-tv-z]{26}\b"  # ids of ours
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"  # ids of others
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d[:.\dZ+-]*"  # moments
    r"|(?<=/artifacts/tools/)\d+-[\w.-]+"  # where the whole of a long answer lies
)


class Seen(Value):
    """A call with its answer, as the rules see it; the digests are made by `call_print` and `result_print`.

    `fault` is the digest of why it was refused before it was made; `barred`: because the tool was taken away.
    """

    call_id: str
    tool: str
    call: str
    result: str
    error: bool = False
    fault: str = ""
    barred: bool = False
    polls: bool = False


class Round(Value):
    """A turn of the model and its calls; none: it said something that was not the end."""

    turn: int
    calls: tuple[Seen, ...] = ()


Rule = Literal["same_result", "same_error", "cycle", "monologue", "low_novelty", "thrash", "refused", "barred"]


class Finding(NamedTuple):
    """What a rule found: how sure it is, in words, the tools at fault (none: no tool is), and the turns it rests on."""

    level: Literal["nudge", "stuck"]
    rule: Rule
    what: str
    tools: tuple[str, ...]
    turns: tuple[int, ...]


class Ladder(Value):
    """How far the measures went: 0 none, 1 nudged, 2 tools refused; `barred` holds the last turn of each refusal.

    `at` is the turn of the last measure, `why` what tools were refused for.
    """

    rung: int = 0
    at: int = 0
    why: str = ""
    barred: dict[str, int] = {}


Step = Literal["nudge", "refuse", "escalate"]


def call_print(tool: str, arguments: JsonValue) -> str:
    """Return what makes a call the same as another."""
    return digest([tool, arguments])[:16]


def result_print(text: str, *, is_error: bool) -> str:
    """Return what makes a result the same as another; ids, moments and places of storage make no difference."""
    return digest([_CHANGING.sub("*", text), is_error])[:16]


def round_of(turn: int, calls: Sequence[Seen]) -> Round:
    """Return the round of a turn: each different call once, in the order of the digests."""
    distinct = {(one.call, one.result): one for one in calls}
    ordered = [distinct[key] for key in sorted(distinct)]
    kept, rest = ordered[:KEPT_CALLS], ordered[KEPT_CALLS:]
    if rest:
        together = digest([[one.call, one.result] for one in rest])[:16]
        same = {"polls": all(one.polls for one in rest), "error": all(one.error for one in rest)}
        kept.append(rest[0].model_copy(update={"call": together, "result": together, "fault": "", **same}))
    return Round(turn=turn, calls=tuple(kept))


def finding(rounds: Sequence[Round], checkpoints: Sequence[int] = ()) -> Finding | None:
    """Return the gravest of what the rules find at the end of `rounds`, or None.

    `checkpoints` are the turns before which the transcript was made smaller.
    """
    found = (
        _barred(rounds),
        _refused(rounds),
        _same_result(rounds),
        _same_error(rounds),
        _cycle(rounds),
        _monologue(rounds),
        thrash(checkpoints),
        _low_novelty(rounds),
    )
    there = [one for one in found if one is not None]
    return next((one for one in there if one.level == "stuck"), there[0] if there else None)


def climb(ladder: Ladder, found: Finding | None, turn: int) -> tuple[Ladder, Step | None]:
    """Return the next measure against what was found after `turn`, and how far the measures went then.

    First the model is told, then the tools at fault are refused for a while, then the run is stopped or a person is
    asked. Each measure has a turn to work before the next one is taken.
    """
    barred = {tool: last for tool, last in ladder.barred.items() if last > turn}
    grace = NOVELTY_GRACE if found is not None and found.rule == "low_novelty" and ladder.rung else 1
    if found is None or turn - ladder.at < grace:
        calm = ladder.rung and turn - ladder.at >= CALM
        return ladder.model_copy(update={"rung": 0 if calm else ladder.rung, "barred": barred}), None
    if ladder.rung == 0:
        return Ladder(rung=1, at=turn, barred=barred), "nudge"
    if found.level == "nudge":
        return ladder.model_copy(update={"barred": barred}), None
    if ladder.rung == 1 and found.tools:
        refused = dict.fromkeys(found.tools, turn + BARRED_FOR)
        return Ladder(rung=2, at=turn, why=found.what, barred=barred | refused), "refuse"
    return Ladder(rung=2, at=turn, why=ladder.why, barred=barred), "escalate"


def thrash(checkpoints: Sequence[int]) -> Finding | None:
    """Tell whether the transcript is full again right after each of the last checkpoints."""
    last = tuple(checkpoints[-THRASH_CHECKPOINTS:])
    close = all(later - earlier <= THRASH_TURNS for earlier, later in itertools.pairwise(last))
    if len(last) < THRASH_CHECKPOINTS or not close:
        return None
    what = f"{len(last)} checkpoints in {last[-1] - last[0] + 1} turns: the transcript is full again right after each"
    return Finding("stuck", "thrash", what, (), last)


def _same_result(rounds: Sequence[Round]) -> Finding | None:
    tail = _tail(rounds, lambda one: None if all(call.barred for call in one.calls) else _same(one))
    nudge, stuck = (POLL_NUDGE_AT, POLL_STUCK_AT) if _polling(tail) else (3, 4)
    return _found("same_result", tail, nudge, stuck, f"the same call with the same result {len(tail)} times in a row")


def _same_error(rounds: Sequence[Round]) -> Finding | None:
    tail = _tail(rounds, lambda one: _all(call.call if call.error and not call.barred else "" for call in one.calls))
    return _found("same_error", tail, 3, 4, f"the same call failed {len(tail)} times in a row")


def _refused(rounds: Sequence[Round]) -> Finding | None:
    tail = _tail(rounds, lambda one: _all(call.fault and call.tool + call.fault for call in one.calls))
    found = _found("refused", tail, 2, 3, f"the same call that can't be made {len(tail)} times in a row")
    # A call that can't be made needs no refusing.
    return found and found._replace(tools=())


def _barred(rounds: Sequence[Round]) -> Finding | None:
    tail = _tail(rounds, lambda one: _all("barred" if call.barred else "" for call in one.calls))
    found = _found("barred", tail, 2, 2, f"nothing but calls of refused tools for {len(tail)} turns")
    return found and found._replace(tools=())


def _monologue(rounds: Sequence[Round]) -> Finding | None:
    turns = _trailing(rounds, lambda one: not one.calls)
    return _found("monologue", turns, 3, 4, f"{len(turns)} turns in a row that neither called a tool nor ended")


def _cycle(rounds: Sequence[Round]) -> Finding | None:
    best: Finding | None = None
    for length in range(2, MAX_CYCLE + 1):
        tail = _circle(rounds, length)
        if _polling(tail) and len(tail) < POLL_STUCK_AT:
            continue
        times = len(tail) // length
        found = _found("cycle", tail, 2 * length, 3 * length, f"the same {length} turns in a circle {times} times")
        if found is not None and (best is None or (found.level == "stuck" and best.level == "nudge")):
            best = found
    return best


def _low_novelty(rounds: Sequence[Round]) -> Finding | None:
    made = ((one, call) for one in rounds for call in one.calls)
    calls = [(one, call) for one, call in made if not call.polls and not call.barred][-NOVELTY_CALLS:]
    if len(calls) < NOVELTY_CALLS:
        return None
    often = Counter((call.call, call.result) for _, call in calls)
    if len(often) >= NOVELTY * NOVELTY_CALLS:
        return None
    tools = tuple(dict.fromkeys(call.tool for _, call in calls if often[call.call, call.result] > 2))
    what = f"only {len(often)} different calls among the last {len(calls)}"
    return Finding("stuck", "low_novelty", what, tools, tuple(dict.fromkeys(one.turn for one, _ in calls)))


def _found(rule: Rule, tail: Sequence[Round], nudge: int, stuck: int, what: str) -> Finding | None:
    if len(tail) < nudge:
        return None
    tools = tuple(dict.fromkeys(call.tool for one in tail for call in one.calls))
    return Finding("stuck" if len(tail) >= stuck else "nudge", rule, what, tools, tuple(one.turn for one in tail))


def _tail(rounds: Sequence[Round], key: Callable[[Round], frozenset[str] | None]) -> Sequence[Round]:
    """Return the rounds at the end that have the same key as the last one; none where that has no key."""
    last = key(rounds[-1]) if rounds else None
    return _trailing(rounds, lambda one: key(one) == last) if last else ()


def _trailing(rounds: Sequence[Round], holds: Callable[[Round], bool]) -> Sequence[Round]:
    count = next((at for at, one in enumerate(reversed(rounds)) if not holds(one)), len(rounds))
    return rounds[len(rounds) - count :]


def _same(one: Round) -> frozenset[str]:
    return frozenset(call.call + call.result for call in one.calls)


def _all(marks: Iterable[str]) -> frozenset[str] | None:
    """Return the marks where every call has one."""
    found = list(marks)
    return frozenset(found) if all(found) else None


def _circle(rounds: Sequence[Round], length: int) -> Sequence[Round]:
    """Return the rounds at the end that repeat the last `length` of them, as many whole times as they stand there."""
    keys = [_same(one) for one in rounds]
    last, times = keys[-length:], 0
    while len(keys) >= length * (times + 1) and keys[len(keys) - length * (times + 1) :][:length] == last:
        times += 1
    return rounds[len(rounds) - length * times :] if times else ()


def _polling(rounds: Sequence[Round]) -> bool:
    return all(call.polls for one in rounds for call in one.calls)
