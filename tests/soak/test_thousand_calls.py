"""One agent makes a thousand calls beside a transcript of 200,000 tokens; `make test` does the first 150 of them.

Peers that carry messages in the workflow's history are ended by the server after some 50 to 100 such calls.
"""

import re
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from engine.runs import Run
from engine.transcript import ModelRequest, ToolResult
from engine.values import Principal
from providers.scripted import ScriptedReply
from tests.server.agent_house import AgentHouse, agent_house, call, calling, check_log, results

pytestmark = pytest.mark.anyio

CHARS_PER_TOKEN = 4
"""What the scripted model counts by."""

LEAST_TOKENS = 200_000
WINDOW = 300_000
HANDBOOK = "river stone window bridge garden letter market winter candle harbour forest engine silver meadow " * 8_400
"""What the agent is told to know, in the words of its tool: over 200,000 tokens, which no checkpoint makes smaller."""

WORDS = 730
RESULT_CHARS = 5_000
CHAPTER = re.compile(r"Chapter (\d+)\. [a-z ]+\.  [a-z ]+\.")

FLAT = 1.1
"""What a late call may take of history at the most, by an early one."""

RENEWED = 1.5
"""The same for whole histories by the calls in them: with their checkpoints, and all that a history begins with."""

SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED


class Reader:
    """A model that reads chapter after chapter up to `last`.

    It notes each chapter that stands whole at the end of a request, and the tokens of each request.
    """

    def __init__(self, last: int) -> None:
        self.last = last
        self.read: list[int] = []
        self.tokens: list[int] = []

    def __call__(self, request: ModelRequest) -> ScriptedReply | str:
        """Call for the chapter after the one that was just read, or sum up."""
        if request.messages[0].text.startswith("You write the checkpoint"):
            return f"The chapters up to {self.read[-1]} were read."
        self.tokens.append(tokens_of(request))
        number = 0
        if len(request.messages) > 2:
            (part,) = request.messages[-1].parts
            assert isinstance(part, ToolResult)
            number = chapter_of(part)
            self.read.append(number)
        if number == self.last:
            return f"all {self.last} chapters are read"
        return calling(call("desk.chapter", {"number": number + 1, "words": WORDS}, call_id=f"read_{number + 1}"))


def tokens_of(request: ModelRequest) -> int:
    """Return the tokens of what is said in a request, by the scripted model's measure."""
    chars = sum(len(message.text) for message in request.messages) + sum(len(one.text) for one in results(request))
    return chars // CHARS_PER_TOKEN


def chapter_of(result: ToolResult) -> int:
    """Return the number of the chapter that a result holds whole."""
    found = CHAPTER.fullmatch(result.text)
    assert found is not None, f"{result.call_id} holds no whole chapter: {result.text[:200]}"
    assert len(result.text) >= RESULT_CHARS
    return int(found.group(1))


def bytes_of_calls(histories: Sequence[WorkflowHistory]) -> list[int]:
    """Return the bytes of history of each call with its tool, from the order of one model turn to the next order."""
    calls: list[int] = []
    for history in histories:
        begins = [
            at
            for at, event in enumerate(history.events)
            if event.event_type == SCHEDULED
            and event.activity_task_scheduled_event_attributes.activity_type.name in ("model_turn", "make_checkpoint")
        ]
        for begin, end in pairwise([*begins, len(history.events)]):
            ordered = [
                event.activity_task_scheduled_event_attributes.activity_type.name
                for event in history.events[begin:end]
                if event.event_type == SCHEDULED
            ]
            if ordered[:2] == ["model_turn", "agent_tools"]:
                calls.append(sum(event.ByteSize() for event in history.events[begin:end]))
    return calls


@pytest.mark.parametrize(
    ("calls", "renewals"), [(150, 4), pytest.param(1_000, 25, marks=pytest.mark.soak)], ids=["150", "1000"]
)
async def test_calls_at_a_transcript_of_200_000_tokens_are_all_answered_and_history_stays_flat(
    tmp_path: Path, alice: Principal, calls: int, renewals: int
) -> None:
    reader = Reader(calls)
    with anyio.fail_after(300 + 2 * calls):
        async with agent_house(tmp_path / "data") as house:
            talk = house.talk(reader)
            run = await house.start(
                alice,
                talk,
                task="Read every chapter.",
                instructions=HANDBOOK,
                model=({"model": talk.route, "max_context": WINDOW},),
                skills=(),
                tools=("desk.chapter",),
            )
            run = await ended(house, run)
            await check_answered(house, run, calls)
            check_requests(reader, calls)
            check_histories(await house.histories(run), calls, renewals)


async def ended(house: AgentHouse, run: Run) -> Run:
    """Wait until a run has ended, for as long as the test may take."""
    while not run.finished:
        run = await house.platform.runs.wait(run.principal, run.run_id, after=run.events, timeout_s=30)
    await house.platform.control.result(run)
    return run


async def check_answered(house: AgentHouse, run: Run, calls: int) -> None:
    """Check that each call was made once and answered once, with all of its result, and that the run is done."""
    assert (run.status, run.error) == ("completed", None)
    assert run.result == f"all {calls} chapters are read"
    assert run.spent.turns == calls + 1
    check_log(await house.events(run))
    asked = [one.id for message in await house.messages(run, "assistant") for one in message.tool_calls]
    answers = [part for message in await house.messages(run, "tool") for part in message.parts]
    answered = {part.call_id: chapter_of(part) for part in answers if isinstance(part, ToolResult)}
    assert asked == [f"read_{number}" for number in range(1, calls + 1)]
    assert len(answers) == calls
    assert answered == {f"read_{number}": number for number in range(1, calls + 1)}


def check_requests(reader: Reader, calls: int) -> None:
    """Check that every request was large but fitted, and that each result reached the model next, whole."""
    assert reader.read == list(range(1, calls + 1))
    assert len(reader.tokens) == calls + 1
    assert min(reader.tokens) >= LEAST_TOKENS
    assert max(reader.tokens) < WINDOW


def check_histories(histories: Sequence[WorkflowHistory], calls: int, renewals: int) -> None:
    """Check that the run went on in new histories, and that late calls take as many bytes of them as early ones."""
    assert len(histories) > renewals
    taken = bytes_of_calls(histories)
    assert len(taken) == calls
    early, late = taken[9:20], taken[-10:]
    assert statistics.mean(late) < statistics.mean(early) * FLAT
    assert max(taken) < max(early) * 2
    # The second one is the first that begins with what the run remembers, the last one may be short.
    whole = [sum(event.ByteSize() for event in one.events) / len(bytes_of_calls([one])) for one in histories[1:-1]]
    assert max(whole) < whole[0] * RENEWED
    print(
        f"\n{calls} calls, {len(histories)} histories, {sum(taken) // calls} bytes a call; calls 10 to 20 "
        f"{statistics.mean(early):.0f}, last ten {statistics.mean(late):.0f}; whole histories, bytes a call: "
        f"{whole[0]:.0f} to begin with, {max(whole):.0f} at most"
    )
