"""Events in answers: bounded, whatever a run has written, so that the status beside them is never cut away."""

from pydantic import JsonValue

from engine.runs import Event
from engine.values import utc_now
from skills.run_events import MAX_PAGE, page_of


def event(seq: int, data: dict[str, JsonValue], kind: str = "message") -> Event:
    return Event(run_id="run_1", seq=seq, key=str(seq), type=kind, at=utc_now(), data=data)


def test_a_long_event_is_shown_by_its_beginning_and_says_where_the_whole_is() -> None:
    short, long = event(1, {"text": "hi"}), event(2, {"text": "x" * 100_000})
    first, second = page_of([short, long], newest=False)
    assert first.data == {"text": "hi"}
    cut = second.data["cut"]
    assert isinstance(cut, dict)
    assert cut["beginning"] == '{"text": "' + "x" * 990
    assert (cut["chars"], cut["whole"]) == (100_012, "run://run_1/events?after=1")


def test_a_page_holds_what_fits_from_the_side_that_is_asked_for_and_at_least_one() -> None:
    long: dict[str, JsonValue] = {"text": "x" * 7_000}
    events = [event(seq, long) for seq in range(1, 21)]
    fitting = MAX_PAGE // 7_012
    assert [one.seq for one in page_of(events, newest=False)] == list(range(1, fitting + 1))
    assert [one.seq for one in page_of(events, newest=True)] == list(range(21 - fitting, 21))
    assert page_of([], newest=True) == []


def test_of_the_plan_of_an_agent_the_names_of_its_tools_are_shown() -> None:
    tools: JsonValue = [{"name": f"tool_{number}", "description": "x" * 1_000} for number in range(100)]
    (shown,) = page_of([event(1, {"tools": tools, "renderer": 1}, "agent.plan")], newest=True)
    assert shown.data["renderer"] == 1
    assert shown.data["tools"] == [f"tool_{number}" for number in range(100)]
