"""Seats of people: how many must agree, who may not, and who sees to a task in another's place."""

import anyio
import pytest

from engine.errors import Conflict, Denied, Invalid
from engine.runs import Change, Recorded, Run
from engine.values import Principal
from tests.processes.seats import move, outcome, person, say, seat
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio


@pytest.fixture
def fay() -> Principal:
    return person("fay")


BO, CY, OLE = person("bo"), person("cy"), person("ole", "operator")
QUORUM = seat("seat: {users: [fay, bo, cy]}", "quorum: 2", "deadline: P2D")


async def test_two_of_three_decide_alike_and_the_edits_of_both_are_written(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, QUORUM)
    (task,) = await house.asked(alice, run)
    assert (task.quorum, task.votes) == (2, ())
    voted = await say(house, fay, task, "approve", amount=70)
    assert (voted.status, [(vote.by, vote.decision) for vote in voted.votes]) == ("open", [("fay", "approve")])
    assert (await house.store.get(alice, run.run_id)).status == "waiting"
    await say(house, BO, task, "reject")
    closed = await say(house, CY, task, "approve", note="fine")
    assert (closed.status, closed.answered_by, len(closed.votes)) == ("answered", "cy", 3)
    ended = await house.finished(alice, run)
    assert ended.result == {"outcome": "paid", "output": 70}
    audit = await house.store.audit(alice, run.run_id)
    assert [(one.actor, one.data["decision"]) for one in audit if one.action == "task.vote"] == [
        ("fay", "approve"),
        ("bo", "reject"),
    ]
    assert [one.actor for one in audit if one.action == "task.decision"] == ["cy"]


async def test_nobody_decides_twice_for_a_quorum(house: EngineHouse, alice: Principal, fay: Principal) -> None:
    run = await house.start(alice, QUORUM)
    (task,) = await house.asked(alice, run)
    await say(house, fay, task, "approve")
    with pytest.raises(Conflict, match=r"fay has decided already \(approve\)"):
        await say(house, fay, task, "approve", note="again")
    assert (await house.store.task(alice, task.task_id)).status == "open"


async def test_a_quorum_that_can_not_be_reached_any_more_is_a_failure_the_definition_can_handle(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, seat("seat: {users: [fay, bo]}", "quorum: 2", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    await say(house, fay, task, "approve")
    await say(house, BO, task, "reject")
    ended = await house.finished(alice, run)
    assert outcome(ended.result) == "undecided"
    with pytest.raises(Conflict, match="cancelled"):
        await say(house, fay, task, "approve", note="late")
    failed = next(one for one in await house.store.audit(alice, run.run_id) if one.action == "node.failed")
    assert failed.data["error"] == {
        "kind": "no_quorum",
        "message": "2 must decide 'Pay 100?' alike, and too few are left (fay: approve, bo: reject)",
    }


async def test_of_many_votes_in_one_moment_each_person_counts_once_and_the_quorum_closes_the_task_once(
    house: EngineHouse, alice: Principal
) -> None:
    run = await house.start(alice, seat("seat: {roles: [finance]}", "quorum: 3", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    taken: list[str] = []
    refused: list[str] = []

    async def vote(who: Principal) -> None:
        try:
            taken.append((await say(house, who, task, "approve")).status)
        except Conflict as conflict:
            refused.append(conflict.message)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(vote, person(f"f{number}"))
    assert len(taken) == 3
    assert all("already decided by" in message for message in refused), refused
    closed = await house.store.task(alice, task.task_id)
    assert (closed.status, len(closed.votes)) == ("answered", 3)
    assert outcome((await house.finished(alice, run)).result) == "paid"


async def test_whoever_started_the_run_has_no_vote_under_four_eyes_even_as_a_named_user(
    house: EngineHouse, fay: Principal
) -> None:
    starter = fay.model_copy(update={"roles": frozenset({"finance", "operator"})})
    run = await house.start(starter, seat("seat: {users: [fay], roles: [finance]}", "four_eyes: true", "deadline: P2D"))
    (task,) = await house.asked(starter, run)
    with pytest.raises(Denied, match="fay is excluded"):
        await say(house, starter, task, "approve")
    with pytest.raises(Denied, match=r"fay is excluded .* can't say who decides"):
        await move(house, starter, task, "reassign", users=("bo",))
    await say(house, BO, task, "approve")
    assert outcome((await house.finished(starter, run)).result) == "paid"


PROPOSED = """
format: 1
process: proposed
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {type: number}, proposal: {type: object}, remark: {type: object}, approval: {type: object}}
start: propose
nodes:
  propose:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: How much?, form: {type: object, properties: {amount: {type: number}}, required: [amount]}}
    decisions: [propose]
    deadline: P2D
    on_timeout: {to: done}
    writes: [proposal, amount]
    next: [{to: remark}]
  remark:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: Anything to say?}
    decisions: [noted]
    deadline: P2D
    on_timeout: {to: done}
    writes: [remark]
    next: [{to: approve}]
  approve:
    type: supervisor
    seat: {roles: [finance]}
    four_eyes: true
    reads: [amount]
    ask: {title: "Pay {{amount}}?"}
    decisions: [approve, again]
    deadline: P2D
    on_timeout: {to: done}
    writes: [approval]
    next: [{to: approve, when: {"==": [{var: approval.decision}, again]}}, {to: done}]
  done: {type: end, outcome: done}
"""


async def test_four_eyes_bar_whoever_put_in_what_is_decided_but_not_whoever_decided_something_else_before(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, PROPOSED)
    await house.decide(fay, run, "propose", amount=10)
    await house.decide(BO, run, "noted")
    (task,) = await house.asked(alice, run)
    assert set(task.seat.excluded) == {"alice", "fay"}
    with pytest.raises(Denied, match="fay is excluded"):
        await say(house, fay, task, "approve")
    await say(house, BO, task, "again")
    # Having decided in this very seat before bars nobody from deciding in it again.
    await house.decide(BO, run, "approve")
    assert (await house.finished(alice, run)).status == "completed"


async def test_whoever_holds_the_seat_gives_the_task_to_another_who_decides_in_their_place(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, seat("seat: {users: [fay]}", "four_eyes: true", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    with pytest.raises(Denied, match="bo does not hold the seat"):
        await move(house, BO, task, "delegate", users=("cy",))
    with pytest.raises(Denied, match="alice is excluded"):
        await move(house, fay, task, "delegate", users=("alice",))
    with pytest.raises(Invalid, match="needs to whom"):
        await move(house, fay, task, "delegate")
    moved = await move(house, fay, task, "delegate", users=("bo",))
    assert (moved.seat.users, moved.seat.delegated) == (("fay", "bo"), ("fay",))
    with pytest.raises(Denied, match="fay has given it to somebody else"):
        await say(house, fay, task, "approve")
    unseeing = BO.model_copy(update={"roles": frozenset()})
    assert task.task_id in [one.task_id for one in await house.store.tasks(unseeing)]
    await say(house, BO, task, "approve")
    await house.finished(alice, run)
    (given,) = [one for one in await house.store.audit(alice, run.run_id) if one.action == "task.delegated"]
    assert (given.actor, given.data["to"]) == ("fay", {"users": ["bo"]})


async def test_what_is_given_away_can_be_given_back_and_delegation_false_forbids_it(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, seat("seat: {users: [fay]}", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    await move(house, fay, task, "delegate", users=("bo",))
    await move(house, BO, task, "delegate", users=("fay",))
    await say(house, fay, task, "approve")
    assert outcome((await house.finished(alice, run)).result) == "paid"
    fixed = await house.start(alice, seat("seat: {users: [fay]}", "delegation: false", "deadline: P2D"))
    (task,) = await house.asked(alice, fixed)
    with pytest.raises(Denied, match="delegation: false"):
        await move(house, fay, task, "delegate", users=("bo",))


async def test_a_claimed_task_is_decided_by_its_claimer_until_it_is_released_or_an_operator_reassigns_it(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, seat("seat: {roles: [finance]}", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    assert (await move(house, fay, task, "claim")).claimed_by == "fay"
    with pytest.raises(Conflict, match="claimed by fay"):
        await say(house, BO, task, "approve")
    with pytest.raises(Conflict, match="claimed by fay"):
        await move(house, BO, task, "claim")
    with pytest.raises(Denied, match="only they and operators release it"):
        await move(house, BO, task, "release")
    assert (await move(house, fay, task, "release")).claimed_by is None
    await move(house, fay, task, "claim")
    with pytest.raises(Denied, match="role operator"):
        await move(house, fay, task, "reassign", users=("bo",))
    moved = await move(house, OLE, task, "reassign", users=("bo",))
    assert (moved.seat.users, moved.seat.roles, moved.claimed_by) == (("bo",), (), None)
    with pytest.raises(Denied, match="fay does not hold the seat"):
        await say(house, fay, task, "approve")
    await say(house, BO, task, "approve")
    await house.finished(alice, run)
    done = [one.action for one in await house.store.audit(alice, run.run_id) if one.action.startswith("task.")]
    assert done == [
        "task.opened", "task.claimed", "task.released", "task.claimed", "task.reassigned", "task.decision"
    ]  # fmt: skip


async def test_an_edit_is_written_where_the_node_declares_it_and_refused_where_the_context_does_not_take_it(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, seat("seat: {roles: [finance]}", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    with pytest.raises(Invalid, match=r"the values can't be written.*9000.*5000"):
        await say(house, fay, task, "approve", amount=9000)
    with pytest.raises(Invalid, match=r"values\.amount"):
        await say(house, fay, task, "approve", amount="much")
    assert (await house.store.task(alice, task.task_id)).status == "open"
    await say(house, fay, task, "approve", amount=80)
    assert (await house.finished(alice, run)).result == {"outcome": "paid", "output": 80}
    finished = next(one for one in await house.store.audit(alice, run.run_id) if one.action == "node.finished")
    patch = finished.data["patch"]
    assert isinstance(patch, list)
    assert {"op": "replace", "path": "/amount", "value": 80} in patch


async def test_an_agent_neither_answers_nor_moves_a_task_of_people(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, seat("seat: {roles: [finance]}", "deadline: P2D"))
    (task,) = await house.asked(alice, run)
    agent = fay.model_copy(update={"kind": "agent"})
    with pytest.raises(Denied, match="an agent can't answer it"):
        await say(house, agent, task, "approve")
    with pytest.raises(Denied, match="an agent can't change it"):
        await move(house, agent, task, "claim")
    assert (await house.store.task(alice, task.task_id)).status == "open"


async def test_others_who_are_let_in_before_the_task_is_written_down_are_let_in(
    house: EngineHouse, alice: Principal, fay: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for longer than the first rung takes must not make the rung forgotten."""
    go = anyio.Event()
    apply = house.store.apply

    async def held(change: Change) -> Recorded:
        if change.opened:
            await go.wait()
        return await apply(change)

    monkeypatch.setattr(house.store, "apply", held)
    definition = seat("seat: {roles: [nobody]}", "escalate: [{after: PT1S, to: {roles: [finance]}}]", "deadline: P2D")
    with anyio.fail_after(BOUND_S):
        run = await house.start(alice, definition)
        while not await rung_reached(house, run):
            await anyio.sleep(0.05)
        go.set()
        while not await house.store.events(alice, run.run_id, types=["task.moved"]):
            await anyio.sleep(0.05)
    (task,) = await house.asked(alice, run)
    await say(house, fay, task, "approve")
    assert outcome((await house.finished(alice, run)).result) == "paid"
    told = await house.store.events(alice, run.run_id, types=["task.opened", "task.moved", "task.closed"])
    assert [event.type for event in told] == ["task.opened", "task.moved", "task.closed"]


async def rung_reached(house: EngineHouse, run: Run) -> bool:
    """Tell whether the workflow has had a task since a timer of it has fired."""
    fired = False
    async for event in house.client.get_workflow_handle(run.ref.workflow_id).fetch_history_events():
        fired = fired or event.HasField("timer_fired_event_attributes")
        if fired and event.HasField("workflow_task_completed_event_attributes"):
            return True
    return False
