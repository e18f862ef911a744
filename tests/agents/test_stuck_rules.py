"""The rules that tell a run that leads nowhere, and the measures, one after the other, against it."""

import pytest

from engine.agent.stuck import (
    CALM,
    KEPT_CALLS,
    Finding,
    Ladder,
    Round,
    Seen,
    call_print,
    climb,
    finding,
    result_print,
    round_of,
    thrash,
)
from engine.values import new_id


def turns(letters: str, *, error: bool = False, polls: bool = False) -> list[Round]:
    """Return a turn for each letter: the same letter is the same call with the same result; a dot is no call."""
    seen = [
        Seen(call_id=f"c{at}", tool=one, call=one, result=one, error=error, polls=polls)
        for at, one in enumerate(letters)
    ]
    return [Round(turn=at, calls=() if one.tool == "." else (one,)) for at, one in enumerate(seen, start=1)]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("", None),
        ("aa", None),
        ("aaa", ("nudge", "same_result", "the same call with the same result 3 times in a row")),
        ("baaa", ("nudge", "same_result", "the same call with the same result 3 times in a row")),
        ("aaab", None),
        ("aaaa", ("stuck", "same_result", "the same call with the same result 4 times in a row")),
        ("abab", ("nudge", "cycle", "the same 2 turns in a circle 2 times")),
        ("ababab", ("stuck", "cycle", "the same 2 turns in a circle 3 times")),
        ("xabcdeabcdeabcde", ("stuck", "cycle", "the same 5 turns in a circle 3 times")),
        ("abcdefabcdefabcdef", None),
        ("abcabdabc", None),
        ("a..", None),
        ("a...", ("nudge", "monologue", "3 turns in a row that neither called a tool nor ended")),
        ("a....", ("stuck", "monologue", "4 turns in a row that neither called a tool nor ended")),
        ("a..b..", None),
        ("abcdaacbdabdcabdcdbca", ("stuck", "low_novelty", "only 4 different calls among the last 20")),
    ],
)
def test_what_repeats_is_found_at_the_end_and_nowhere_else(letters: str, expected: tuple[str, str, str] | None) -> None:
    found = finding(turns(letters))
    assert (found and (found.level, found.rule, found.what)) == expected


def test_the_same_call_that_fails_is_a_loop_whatever_it_says_and_another_call_that_fails_alike_is_none() -> None:
    same = [
        Round(turn=at, calls=(Seen(call_id="c", tool="a", call="a", result=str(at), error=True),)) for at in range(4)
    ]
    assert finding(same[:2]) is None
    found = finding(same)
    assert found is not None
    assert (found.level, found.rule, found.tools, found.turns) == ("stuck", "same_error", ("a",), (0, 1, 2, 3))
    varied = [
        Round(turn=at, calls=(Seen(call_id="c", tool="a", call=str(at), result="no", error=True),)) for at in range(9)
    ]
    assert finding(varied) is None


@pytest.mark.parametrize(("count", "level"), [(1, None), (2, "nudge"), (3, "stuck")])
def test_a_call_that_can_not_be_made_is_a_loop_whatever_its_arguments(count: int, level: str | None) -> None:
    def refused(at: int, fault: str) -> Round:
        return Round(turn=at, calls=(Seen(call_id="c", tool="a", call=str(at), result="no", error=True, fault=fault),))

    found = finding([refused(at, "no such tool") for at in range(count)])
    assert (found and found.level) == level
    assert finding([refused(at, f"field {at} is missing") for at in range(count)]) is None


def test_polling_is_a_loop_only_when_it_has_not_changed_for_long() -> None:
    assert finding(turns("a" * 9, polls=True)) is None
    assert finding(turns("a" * 19 + "b", polls=True)) is None
    assert finding(turns("a" * 5 + "b" * 9, polls=True)) is None
    slow = finding(turns("a" * 19, polls=True))
    assert slow is not None
    assert slow.level == "nudge"
    found = finding(turns("a" * 20, polls=True))
    assert found is not None
    assert (found.level, found.rule) == ("stuck", "same_result")


def test_checkpoints_that_are_full_again_at_once_are_found() -> None:
    assert thrash((2, 20, 23)) is None
    assert thrash((20, 23, 27)) is None
    found = thrash((2, 20, 23, 26))
    assert found is not None
    assert (found.level, found.turns) == ("stuck", (20, 23, 26))
    assert finding(turns("abc"), (20, 23, 26)) == found


def test_a_turn_is_the_same_in_any_order_and_however_often_a_call_stands_in_it() -> None:
    a, b = (Seen(call_id=one, tool=one, call=one, result=one) for one in "ab")
    assert round_of(1, [a, b, a]).calls == round_of(1, [b, a]).calls
    many = [Seen(call_id=f"c{at}", tool="t", call=f"{at:03}", result="r") for at in range(100)]
    kept = round_of(1, many)
    assert len(kept.calls) == KEPT_CALLS + 1
    assert kept == round_of(1, many[::-1])
    assert kept != round_of(1, many[:-1])


def test_what_changes_by_itself_makes_no_difference_between_results() -> None:
    def of(text: str) -> str:
        return result_print(text, is_error=False)

    assert of(f"failed, see {new_id('ref')}") == of(f"failed, see {new_id('ref')}")
    assert of("at 2026-01-01T10:00:00Z: no news") == of("at 2026-01-01T10:00:07Z: no news")
    assert of("id 7c9e6679-7425-40de-944b-e07fc1f90ae7") == of("id 00000000-7425-40de-944b-e07fc1f90ae7")
    whole = "the whole text is at run://run_1/artifacts/tools/{}-call_{}.txt"
    assert of(whole.format(3, "a")) == of(whole.format(4, "b"))
    assert of("3 of 10 done") != of("4 of 10 done")
    assert of("no") != result_print("no", is_error=True)
    assert call_print("a", {"x": 1, "y": 2}) == call_print("a", {"y": 2, "x": 1}) != call_print("b", {"x": 1, "y": 2})


STUCK = Finding("stuck", "same_result", "the same call 4 times", ("a",), (1, 2, 3, 4))


def test_first_the_model_is_told_then_tools_are_refused_for_a_while_then_it_ends() -> None:
    ladder, step = climb(Ladder(), STUCK._replace(level="nudge"), 3)
    assert (step, ladder.barred) == ("nudge", {})
    ladder, step = climb(ladder, STUCK, 4)
    assert (step, ladder.barred, ladder.why) == ("refuse", {"a": 9}, "the same call 4 times")
    ladder, step = climb(ladder, None, 5)
    assert (step, ladder.barred) == (None, {"a": 9})
    _, step = climb(ladder, STUCK, 6)
    assert step == "escalate"
    assert climb(ladder, None, 9)[0].barred == {}


def test_a_finding_without_a_tool_at_fault_skips_the_refusal() -> None:
    ladder, step = climb(Ladder(), STUCK._replace(tools=()), 4)
    assert step == "nudge"
    assert climb(ladder, STUCK._replace(tools=()), 5)[1] == "escalate"


def test_a_nudge_is_not_repeated_and_begins_anew_after_a_calm_time() -> None:
    ladder, _ = climb(Ladder(), STUCK, 4)
    assert climb(ladder, STUCK._replace(level="nudge"), 6)[1] is None
    ladder, _ = climb(ladder, None, 4 + CALM)
    assert climb(ladder, STUCK, 5 + CALM)[1] == "nudge"


def test_few_different_calls_have_some_turns_to_become_more() -> None:
    few = STUCK._replace(rule="low_novelty")
    ladder, step = climb(Ladder(), few, 20)
    assert step == "nudge"
    assert [climb(ladder, few, turn)[1] for turn in (21, 24, 25)] == [None, None, "refuse"]


def test_calls_that_were_refused_for_leading_nowhere_count_as_that_and_as_nothing_else() -> None:
    refused = Seen(call_id="c", tool="a", call="a", result="refused", error=True, barred=True)
    failing = refused.model_copy(update={"result": "no", "barred": False})
    rounds = [Round(turn=at, calls=(failing,)) for at in range(4)] + [Round(turn=4, calls=(refused,))]
    assert finding(rounds) is None
    found = finding([*rounds, Round(turn=5, calls=(refused,))])
    assert found is not None
    assert (found.level, found.rule, found.tools) == ("stuck", "barred", ())
