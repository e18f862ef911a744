"""What an agent's tool calls come to: results, refusals, failures and approvals, on a real Temporal and real stores."""

import itertools
from pathlib import Path

import pytest
from pydantic import JsonValue

from engine.errors import Conflict, Denied
from engine.runs import Run
from engine.transcript import ModelRequest, ToolCall
from engine.values import Principal
from providers.scripted import Line
from tests.server.agent_house import LEARN, AgentHouse, call, calling, check_log, results

pytestmark = pytest.mark.anyio


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    return path


async def test_calls_of_a_turn_run_side_by_side_and_their_answers_stand_in_the_order_of_the_calls(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(
        LEARN,
        # The first call can end only if the second one runs beside it.
        calling(call("desk.wait_for", {"flag": "side"}), call("desk.raise_flag", {"flag": "side"})),
        "done",
    )
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.result) == ("completed", "done")
    assert run.spent.turns == 3
    learned, asked = talk.requests[1], talk.requests[2]
    assert [part.name for part in results(learned)] == ["learn_desk"]
    assert "desk.add" in {spec.name for spec in results(learned)[0].reveals}
    assert [message.role for message in asked.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert [(part.name, part.text) for part in results(asked)[1:]] == [
        ("desk.wait_for", "seen side"),
        ("desk.raise_flag", "raised side"),
    ]
    # What was sent once comes again in the same bytes, and the list of tools never changes.
    for earlier, later in itertools.pairwise(talk.requests):
        assert later.messages[: len(earlier.messages)] == earlier.messages
        assert later.tools == earlier.tools
    events = await house.events(run)
    check_log(events)
    assert next(event.data["tool"] for event in events if event.type == "tool.finished") == "learn_desk"
    assert len(await house.messages(run, "tool")) == 3


async def test_a_tool_is_callable_once_its_skill_is_learned_by_name_and_by_ticket(
    house: AgentHouse, alice: Principal
) -> None:
    def by_ticket(request: ModelRequest) -> Line:
        (lesson,) = [part for part in results(request) if part.name == "learn_desk"]
        ticket = lesson.text.strip().rpartition("ticket: ")[2]
        wanted: dict[str, JsonValue] = {"ticket": ticket, "tool": "add", "arguments": {"a": 20, "b": 22}}
        stale: dict[str, JsonValue] = {**wanted, "ticket": "desk@0000000000000000"}
        return calling(call("use_tool", wanted), call("use_tool", stale))

    talk = house.talk(
        calling(call("desk.add", {"a": 1, "b": 1})),
        LEARN,
        calling(call("desk.add", {"a": 1, "b": 2})),
        by_ticket,
        "done",
    )
    run = await house.finished(await house.start(alice, talk))
    early, _, named, ticketed, stale = results(talk.requests[-1])
    assert early.is_error
    assert "learn_desk" in early.text
    assert (named.text, named.is_error) == ("3", False)
    assert (ticketed.text, ticketed.is_error) == ("42", False)
    assert stale.is_error
    assert "is stale" in stale.text
    assert run.status == "completed"


async def test_calls_that_go_wrong_are_told_to_the_model_and_the_run_goes_on(
    house: AgentHouse, alice: Principal
) -> None:
    wrong = calling(
        call("desk.multiply", {"a": 1}),
        ToolCall(id="", name="desk.add", malformed='{"a": 1,'),
        call("desk.add", {"a": "one", "b": -1}),
        call("desk.fail"),
        call("desk.hang"),
        call("search_content", {"query": "rain"}),
        call("desk.add", {"a": 1, "b": 1}, call_id="an id/with ../ everything in it"),
    )
    talk = house.talk(LEARN, wrong, "done")
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.result) == ("completed", "done")
    unknown, malformed, unfit, raised, hung, barred, odd = results(talk.requests[-1])[1:]
    assert "there is no tool 'desk.multiply'" in unknown.text
    assert '{"a": 1,' in malformed.text
    assert "Make the call again" in malformed.text
    assert "$.a" in unfit.text
    assert "$.b" in unfit.text
    assert "failed unexpectedly" in raised.text
    assert "drawer" not in raised.text
    assert "did not finish within 0.3 s" in hung.text
    assert "not among the tools of this run" in barred.text
    assert all(part.is_error for part in (unknown, malformed, unfit, raised, hung, barred))
    assert (odd.text, odd.is_error) == ("2", False)


async def test_an_answer_of_five_megabytes_is_cut_and_kept_whole_as_an_artifact(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(LEARN, calling(call("desk.page", {"number": 7, "size": 5_000_000})), "done")
    run = await house.finished(await house.start(alice, talk))
    flooded = results(talk.requests[-1])[-1]
    assert len(flooded.text) < 50_000
    assert not flooded.is_error
    (artifact,) = await house.platform.runs.artifacts(alice, run.run_id)
    assert f"run://{run.run_id}/artifacts/{artifact.path}" in flooded.text
    found, content = await house.platform.runs.read_artifact(alice, run.run_id, artifact.path)
    assert found.size == 5_000_000
    assert content.decode() == "page 7 ".ljust(5_000_000, "x")


def noting(ledger: Path, *texts: str) -> Line:
    """Return a turn that writes to the ledger."""
    return calling(*(call("desk.note", {"ledger": str(ledger), "text": text}) for text in texts))


async def test_a_call_with_effects_waits_for_the_starter_and_happens_once(
    house: AgentHouse, alice: Principal, ledger: Path
) -> None:
    talk = house.talk(LEARN, noting(ledger, "first", "second"), "done")
    started = await house.start(alice, talk)
    first, second = sorted(await house.asked(started, 2), key=lambda task: task.description)
    assert (first.kind, first.title, first.seat.users) == ("approval", "Allow desk.note?", ("alice",))
    assert first.decisions == ("allow", "allow_for_run", "deny")
    assert "first" in first.description
    assert ledger.read_text() == ""
    agent = alice.model_copy(update={"kind": "agent"})
    with pytest.raises(Denied, match="agent"):
        await house.decide(agent, first, "allow")
    bob = Principal(tenant="local", subject="bob", roles=frozenset({"operator"}))
    with pytest.raises(Denied, match="does not hold the seat"):
        await house.decide(bob, first, "allow")
    assert (await house.decide(alice, first, "allow")).answered_by == "alice"
    await house.decide(alice, second, "deny", "not today")
    run = await house.finished(started)
    assert run.status == "completed"
    assert ledger.read_text().splitlines() == ["first"]
    noted, denied = results(talk.requests[-1])[1:]
    assert noted.text == "noted first"
    assert (denied.text, denied.is_error) == ("desk.note was refused by alice and was not run: not today", True)
    with pytest.raises(Conflict, match=r"already decided by alice \(deny\)"):
        await house.decide(alice, second, "allow")
    actions = [record.action for record in await house.platform.runs.audit(alice, run.run_id)]
    assert actions.count("task.approval") == 2


async def test_an_allowance_for_the_run_holds_for_this_tool_and_target_only(
    house: AgentHouse, alice: Principal, ledger: Path
) -> None:
    long = "x" * 400
    talk = house.talk(
        LEARN,
        noting(ledger, long + "a"),
        noting(ledger, long + "a"),
        noting(ledger, long + "b"),
        calling(call("desk.erase", {"ledger": str(ledger)})),
        "done",
    )
    started = await house.start(alice, talk)
    (task,) = await house.asked(started)
    await house.decide(alice, task, "allow_for_run")
    (other,) = await house.asked(started)
    assert other.node == "turn 4"
    assert other.description != task.description
    assert [line[-1] for line in ledger.read_text().splitlines()] == ["a", "a"]
    await house.decide(alice, other, "deny")
    (erase,) = await house.asked(started)
    assert erase.decisions == ("allow", "deny")
    await house.decide(alice, erase, "allow")
    run = await house.finished(started)
    assert run.status == "completed"
    assert ledger.read_text() == ""


async def test_full_approval_asks_only_where_a_tool_always_asks(
    house: AgentHouse, alice: Principal, ledger: Path
) -> None:
    talk = house.talk(LEARN, noting(ledger, "one"), calling(call("desk.erase", {"ledger": str(ledger)})), "done")
    started = await house.start(alice, talk, approval="full")
    (task,) = await house.asked(started)
    assert task.title == "Allow desk.erase?"
    assert ledger.read_text() == "one\n"
    await house.decide(alice, task, "deny")
    assert (await house.finished(started)).status == "completed"
    assert ledger.read_text() == "one\n"


async def test_a_short_name_behind_a_ticket_is_approved_like_the_tool_it_means(
    house: AgentHouse, alice: Principal, ledger: Path
) -> None:
    def pay(request: ModelRequest) -> Line:
        ticket = results(request)[0].text.strip().rpartition("ticket: ")[2]
        arguments: dict[str, JsonValue] = {"ledger": str(ledger), "text": "sneaked in"}
        return calling(call("use_tool", {"ticket": ticket, "tool": "note", "arguments": arguments}))

    talk = house.talk(LEARN, pay, "done")
    started = await house.start(alice, talk)
    (task,) = await house.asked(started)
    assert task.title == "Allow desk.note?"
    await house.decide(alice, task, "deny")
    await house.finished(started)
    assert ledger.read_text() == ""


async def test_a_call_that_would_be_refused_anyway_asks_nobody(
    house: AgentHouse, alice: Principal, ledger: Path
) -> None:
    unlearned = noting(ledger, "too early")
    unfit = calling(call("desk.note", {"ledger": str(ledger)}))
    talk = house.talk(unlearned, LEARN, unfit, "done")
    run: Run = await house.finished(await house.start(alice, talk))
    assert run.status == "completed"
    assert await house.platform.runs.tasks(alice, status=None, run_id=run.run_id) == []
    early, _, wrong = results(talk.requests[-1])
    assert "learn_desk" in early.text
    assert "do not fit" in wrong.text
    assert ledger.read_text() == ""
