"""Who allows what an agent does: people, a reviewing model, or nobody; and what they have allowed for a run."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.ports import Control
from engine.runs import Run
from engine.transcript import ModelRequest
from engine.values import Budget, Principal
from providers.errors import Unauthorized
from providers.scripted import Line, ScriptedReply, answer
from skills.services import ToolContext
from tests.agents.house import BOTH, LEARN_HOSTILE
from tests.server.agent_house import PATIENCE_S, AgentHouse, Held, Said, Talk, call, calling, results

pytestmark = pytest.mark.anyio

ALLOW = answer({"verdict": "allow", "reason": "the task asks for it"})
DENY = answer({"verdict": "deny", "reason": "the task does not ask for it"})
UNSURE = answer({"verdict": "ask", "reason": "the task does not say"})


def writing(path: Path, *texts: str) -> Line:
    """Return a turn that writes into a file."""
    return calling(*(call("hostile.write", {"path": str(path), "text": text}) for text in texts))


async def start_reviewed(
    house: AgentHouse, who: Principal, talk: Talk, *verdicts: Said, **task: Any
) -> tuple[Run, Talk]:
    """Start an agent whose calls with effects are reviewed by a model that says `verdicts`."""
    reviewer = house.talk(*verdicts)
    given: dict[str, Any] = {"skills": BOTH, "approval": "auto_review", "reviewer": reviewer.route}
    return await house.start(who, talk, **(given | task)), reviewer


async def reviews(house: AgentHouse, run: Run) -> list[tuple[Any, ...]]:
    """Return verdict and reason of each review."""
    return [(one.data["verdict"], one.data["reason"]) for one in await house.events(run, "approval.reviewed")]


async def test_what_the_reviewer_allows_is_made_and_its_verdict_model_and_cost_are_on_the_record(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    started, reviewer = await start_reviewed(
        house, alice, talk, ALLOW, task="Write one line.", facts={"colour": "blue"}
    )
    run = await house.finished(started)
    assert (run.status, (place / "out").read_text()) == ("completed", "one\n")
    assert await house.platform.runs.tasks(alice, status=None, run_id=run.run_id) == []
    (event,) = await house.events(run, "approval.reviewed")
    reviewed: Any = event.data["reviewed"]
    assert (reviewed["verdict"], reviewed["reason"]) == ("allow", "the task asks for it")
    assert reviewed["model"] == reviewer.route
    turns = [one.data["reply"]["usage"] for one in await house.events(run, "turn.finished")]  # type: ignore[index,call-overload]
    paid = sum(one["input_total"] for one in turns)  # type: ignore[index,misc]
    assert run.spent.input_tokens == paid + reviewed["spent"]["input_tokens"]
    assert reviewed["spent"]["input_tokens"] > 0
    assert run.spent.turns == 3
    audit = [one for one in await house.platform.runs.audit(alice, run.run_id) if one.action == "approval.reviewed"]
    assert [one.actor for one in audit] == [f"model:{reviewer.route}"]
    (request,) = reviewer.requests
    said = "".join(part.text for part in request.messages[1].parts if part.type == "text" and not part.data)
    data = "".join(part.text for part in request.messages[1].parts if part.type == "text" and part.data)
    assert "Write one line." in said
    assert '"text":"one"' in data
    assert "blue" in data
    assert "one" not in said.replace("Write one line.", "")
    assert request.tools == ()


async def test_what_the_reviewer_denies_is_not_made_and_the_model_is_told_why(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    started, _ = await start_reviewed(house, alice, talk, DENY)
    assert (await house.finished(started)).status == "completed"
    assert not (place / "out").exists()
    denied = results(talk.requests[-1])[-1]
    assert (denied.text, denied.is_error) == (
        "hostile.write was refused by the reviewer of this run and was not run: the task does not ask for it",
        True,
    )


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (UNSURE, "the task does not say"),
        (answer({"verdict": "allow"}), "the reviewer gave no readable verdict"),
        ("allow it", "the reviewer gave no readable verdict"),
        (ScriptedReply(text='{"verdict": "allow", "reason": ""}', finish="length"), "the reviewer ended with length"),
        (ScriptedReply(text="no", finish="refusal"), "the reviewer ended with refusal"),
        (Unauthorized("The key is wrong.", provider="scripted"), "the reviewer failed: "),
    ],
)
async def test_a_reviewer_that_is_unsure_or_fails_leaves_it_to_a_person(
    house: AgentHouse, alice: Principal, place: Path, verdict: Line, reason: str
) -> None:
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    started, _ = await start_reviewed(house, alice, talk, verdict)
    (task,) = await house.asked(started)
    assert not (place / "out").exists()
    review: Any = task.context["review"]
    assert review["verdict"] == "ask"
    assert review["reason"].startswith(reason)
    await house.decide(alice, task, "allow")
    run = await house.finished(started)
    assert (run.status, (place / "out").read_text()) == ("completed", "one\n")
    ((asked, why),) = await reviews(house, run)
    assert asked == "ask"
    assert str(why).startswith(reason)


async def test_a_tool_that_always_asks_is_not_left_to_a_reviewer_and_what_only_reads_asks_nobody(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    both = calling(call("desk.erase", {"ledger": str(place / "ledger")}), call("desk.add", {"a": 1, "b": 1}))
    talk = house.talk(LEARN_HOSTILE, calling(call("learn_desk")), both, "done")
    started, reviewer = await start_reviewed(house, alice, talk, ALLOW)
    (task,) = await house.asked(started)
    assert task.decisions == ("allow", "deny")
    await house.decide(alice, task, "deny", "keep it")
    await house.finished(started)
    refused, added = results(talk.requests[-1])[2:]
    assert refused.text == "desk.erase was refused by alice and was not run: keep it"
    assert added.text == "2"
    assert reviewer.requests == []


async def test_the_reviewer_reads_what_people_say_and_nothing_that_tools_have_said(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    held = Held(calling(call("desk.page", {"number": 666, "size": 20})))
    talk = house.talk(LEARN_HOSTILE, calling(call("learn_desk")), held, writing(place / "out", "one"), "done")
    started, reviewer = await start_reviewed(house, alice, talk, DENY)
    await held.reached()
    await house.say(started, "you may write to the file", "k1")
    held.released.set()
    await house.finished(started)
    told = "".join(part.text for part in reviewer.requests[0].messages[1].parts if part.type == "text")
    assert "you may write to the file" in told
    assert "page 666" not in told


async def test_reviews_of_one_turn_keep_to_the_budget_together_and_leave_the_rest_to_a_person(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    long = "x" * 6_000
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", *(f"{one}{long}" for one in range(6))), "done")
    started, reviewer = await start_reviewed(house, alice, talk, ALLOW, budget=Budget(tokens=45_000))
    tasks = await house.asked(started)
    assert 0 < len(reviewer.requests) < 6
    assert (await reviews(house, started))[-1][1].startswith("the budget of tokens leaves no room")  # type: ignore[union-attr]
    for task in tasks:
        await house.decide(alice, task, "deny")
    await house.control(started, "stop")
    run = await house.finished(started)
    assert run.spent.input_tokens + run.spent.output_tokens <= 45_000


async def test_a_share_of_the_budget_is_given_away_only_when_the_review_beside_it_has_taken_its_own(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    both = calling(
        call("hostile.write", {"path": str(place / "out"), "text": "x" * 16_000}),
        call("launch_subagent", {"task": "Take it.", "name": "greedy", "budget": {"tokens": 32_000}}),
    )
    talk, held = house.talk(LEARN_HOSTILE, both, "done"), Held(ALLOW)
    run, _ = await start_reviewed(
        house, alice, talk, held, tools=("launch_subagent",), budget=Budget(tokens=50_000), task="Write and share."
    )
    await held.reached()
    handle = house.handle(run)
    with anyio.fail_after(PATIENCE_S):
        while not await _only_reviewing(house, run):
            await anyio.sleep(0.02)
        # The call has ordered its share, and gets none while the review may still take what is left.
        assert await handle.query("workstreams") == []
    held.released.set()
    ended = await house.finished(run)
    refused = results(talk.requests[-1])[-1]
    assert refused.is_error
    assert "32000 tokens are wanted and" in refused.text
    assert ended.spent.input_tokens + ended.spent.output_tokens <= 50_000


async def _only_reviewing(house: AgentHouse, run: Run) -> bool:
    """Tell whether the call that starts a subagent has been read, and only the review is still under way."""
    under_way = (await house.handle(run).describe()).raw_description.pending_activities
    started = [event.data["tool"] for event in await house.events(run, "tool.started")]
    return "launch_subagent" in started and [one.activity_type.name for one in under_way] == ["review_call"]


async def test_a_person_changes_the_mode_from_the_next_call_on_and_it_is_in_the_audit(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    held, later = Held(writing(place / "out", "two")), Held(writing(place / "out", "three"))
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), held, later, "done")
    started = await house.start(alice, talk, skills=BOTH)
    (task,) = await house.asked(started)
    await steer(house, alice, started, "full", "I trust it")
    # What was asked before stays asked.
    assert [one.task_id for one in await house.asked(started)] == [task.task_id]
    await house.decide(alice, task, "allow")
    await held.reached()
    held.released.set()
    await later.reached()
    assert (place / "out").read_text() == "one\ntwo\n"
    await steer(house, alice, started, "ask", "no more")
    later.released.set()
    (last,) = await house.asked(started)
    await house.decide(alice, last, "deny")
    run = await house.finished(started)
    assert (run.status, (place / "out").read_text()) == ("completed", "one\ntwo\n")
    changed = [(one.data["from"], one.data["to"]) for one in await house.events(run, "approval.mode")]
    assert changed == [("ask", "full"), ("full", "ask")]
    audit = [one for one in await house.platform.runs.audit(alice, run.run_id) if one.action == "run.approval"]
    assert [(one.actor, one.data["to"], one.data["reason"]) for one in audit] == [
        ("alice", "full", "I trust it"),
        ("alice", "ask", "no more"),
    ]


async def steer(house: AgentHouse, who: Principal, run: Run, mode: str, reason: str = "") -> Run:
    """Change the mode of a run."""
    control = Control.model_validate({"action": "approval", "by": who, "approval": mode, "reason": reason})
    return await house.platform.control.control(who, run.run_id, control)


async def test_only_people_who_may_decide_change_who_decides(house: AgentHouse, alice: Principal, place: Path) -> None:
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    run = await house.start(alice, talk, skills=BOTH)
    (task,) = await house.asked(run)
    agent = alice.model_copy(update={"kind": "agent"})
    with pytest.raises(Denied, match="settled by people"):
        await steer(house, agent, run, "full")
    ctx = ToolContext(principal=agent, services=house.platform.services, key="k", run=run.ref)
    with pytest.raises(Denied, match="settled by people"):
        await house.platform.toolbox.call(
            ctx, "control_run", {"run_id": run.run_id, "action": "approval", "approval": "full"}
        )
    viewer = Principal(tenant="local", subject="vera", roles=frozenset({"viewer"}))
    with pytest.raises((Denied, NotFound)):
        await steer(house, viewer, run, "full")
    with pytest.raises(Invalid, match="needs a mode"):
        await house.platform.control.control(alice, run.run_id, Control(action="approval", by=alice))
    operator = Principal(tenant="local", subject="olga", roles=frozenset({"operator"}))
    await steer(house, operator, run, "auto_review")
    await house.decide(alice, task, "deny")
    await house.finished(run)
    assert not (place / "out").exists()
    assert [one.data["by"] for one in await house.events(run, "approval.mode")] == ["olga"]


async def test_a_grant_is_for_the_target_that_the_tool_names_is_listed_and_can_be_withdrawn(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    here, there = place / "here", place / "there"
    pause = Held(writing(here, "four"))
    talk = house.talk(LEARN_HOSTILE, writing(here, "one"), writing(here, "two"), writing(there, "three"), pause, "done")
    started = await house.start(alice, talk, skills=BOTH)
    (first,) = await house.asked(started)
    assert str(here) in str(first.context["allow_for_run"])
    await house.decide(alice, first, "allow_for_run")
    # Another text into the same file is covered, another file is not.
    (other,) = await house.asked(started)
    assert str(there) in other.description
    assert here.read_text() == "one\ntwo\n"
    await house.decide(alice, other, "allow")
    await pause.reached()
    ctx = ToolContext(principal=alice, services=house.platform.services, key="k")
    view: Any = (await house.platform.toolbox.call(ctx, "get_run", {"run_id": started.run_id})).value
    (grant,) = view["grants"]
    assert (grant["tool"], grant["by"]) == ("hostile.write", "alice")
    assert str(here) in grant["covers"]
    assert [one["grant_id"] for one in await house.handle(started).query("grants")] == [grant["grant_id"]]
    with pytest.raises(NotFound, match="has no grant"):
        await revoke(house, alice, started, "grant_none")
    await revoke(house, alice, started, grant["grant_id"])
    assert await house.handle(started).query("grants") == []
    pause.released.set()
    (again,) = await house.asked(started)
    assert str(here) in again.description
    view = (await house.platform.toolbox.call(ctx, "get_run", {"run_id": started.run_id})).value
    assert view["grants"] == []
    await house.decide(alice, again, "deny")
    run = await house.finished(started)
    assert here.read_text() == "one\ntwo\n"
    actions = [one.action for one in await house.platform.runs.audit(alice, run.run_id)]
    assert (actions.count("grant.given"), actions.count("run.revoke")) == (1, 1)


async def revoke(house: AgentHouse, who: Principal, run: Run, grant_id: str) -> Run:
    """Withdraw a grant."""
    control = Control(action="revoke", by=who, target=grant_id)
    return await house.platform.control.control(who, run.run_id, control)


async def test_an_approval_while_the_run_is_paused_is_taken_and_the_call_waits_for_the_run_to_go_on(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    run = await house.start(alice, talk, skills=BOTH)
    (task,) = await house.asked(run)
    await house.control(run, "pause")
    assert (await house.decide(alice, task, "allow")).status == "answered"
    assert (await house.platform.runs.load(run.ref)).status == "paused"
    assert (await house.handle(run).query("status"))["paused"]
    assert not (place / "out").exists()
    await house.control(run, "resume")
    ended = await house.finished(run)
    assert (ended.status, (place / "out").read_text()) == ("completed", "one\n")
    order = [one.type for one in await house.events(run) if one.type in ("task.closed", "run.resume", "tool.started")]
    assert order[-3:] == ["task.closed", "run.resume", "tool.started"]


async def test_a_run_that_is_stopped_withdraws_what_it_asks_and_an_answer_then_changes_nothing(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    run = await house.start(alice, talk, skills=BOTH)
    (task,) = await house.asked(run)
    await house.control(run, "stop")
    await house.finished(run)
    assert (await house.platform.runs.task(alice, task.task_id)).status == "cancelled"
    with pytest.raises(Conflict):
        await house.decide(alice, task, "allow")
    with pytest.raises(Conflict, match="is cancelled already"):
        await steer(house, alice, run, "full")
    assert not (place / "out").exists()


async def test_calls_of_a_closing_turn_ask_nobody_and_are_not_reviewed(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    def write(request: ModelRequest) -> Line:
        return ScriptedReply(
            text="here", tool_calls=(call("hostile.write", {"path": str(place / "out"), "text": "x"}),)
        )

    talk = house.talk(LEARN_HOSTILE, write)
    started, reviewer = await start_reviewed(house, alice, talk, ALLOW, budget=Budget(turns=2))
    run = await house.finished(started)
    assert run.status == "completed", run.error
    assert reviewer.requests == []
    assert await house.platform.runs.tasks(alice, status=None, run_id=run.run_id) == []
    assert not (place / "out").exists()
