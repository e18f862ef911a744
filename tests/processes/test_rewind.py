"""Going back: a run stands as it stood before a step, what it did since is undone, and every value says where from."""

import pytest
from pydantic import JsonValue

from engine.errors import Invalid
from engine.ports import Control, ToolInvocation, ToolOutcome
from engine.process.patches import apply_patch, difference
from engine.process.provenance import explain, provenance
from engine.process.rewind import rewind, standing
from engine.runs import Run
from engine.values import Principal
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

CLAIM = """
format: 1
process: claim
input: {type: object, properties: {amount: {type: number}}, required: [amount]}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      amount: {type: number}
      offer: {type: object, properties: {sum: {type: number}}, required: [sum]}
      payment: {type: object}
      answer: {type: object}
start: offer
nodes:
  offer:
    type: interaction
    interaction: make_offer
    input: {amount: {var: amount}}
    writes: [offer]
    max_visits: 2
    next: [{to: pay, when: {"<=": [{var: offer.sum}, {var: amount}]}}, {to: refused}]
  pay:
    type: tool
    tool: pay
    input: {sum: {var: offer.sum}}
    writes: [payment]
    compensate: refund
    next: [{to: ask}]
  refund: {type: tool, tool: refund, input: {sum: {var: payment.sum}}}
  ask:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Is {{offer.sum}} right?"}
    decisions: [yes, no]
    deadline: P2D
    on_timeout: {to: done}
    writes: [answer]
    next: [{to: done}]
  done: {type: end, outcome: done, output: {var: offer.sum}}
  refused: {type: end, outcome: refused}
"""


class Desk:
    """Offers in turn what it was told to, pays and takes back."""

    def __init__(self, house: EngineHouse, *offers: float) -> None:
        self.left = list(offers)
        self.moved: list[JsonValue] = []
        house.answers["make_offer"] = lambda call: {"offer": {"sum": self.left.pop(0)}}
        house.tools["pay"] = lambda invocation: self.move(invocation, 1)
        house.tools["refund"] = lambda invocation: self.move(invocation, -1)

    def move(self, invocation: ToolInvocation, sign: int) -> ToolOutcome:
        amount = invocation.arguments["sum"]
        assert isinstance(amount, int | float)
        self.moved.append(sign * amount)
        return ToolOutcome(outcome="ok", value={"sum": amount})


async def steer(house: EngineHouse, who: Principal, run: Run, target: str) -> None:
    control = Control(action="rewind", by=who, target=target, reason="a wrong offer")
    await house.control.control(who, run.run_id, control)


async def asked_anew(house: EngineHouse, who: Principal, run: Run, old: str) -> str:
    """Return the id of the task that is open once `old` is withdrawn."""
    task = old
    while task == old:
        (open_task,) = await house.asked(who, run)
        task = open_task.task_id
    return task


async def test_a_run_goes_back_before_a_step_undoes_what_it_did_since_and_goes_on_from_there(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    desk = Desk(house, 80, 50, 20)
    run = await house.start(alice, CLAIM, {"amount": 100})
    (task,) = await house.asked(alice, run)
    await steer(house, alice, run, "offer")
    second = await asked_anew(house, alice, run, task.task_id)
    assert desk.moved == [80, -80, 50]
    assert (await house.store.task(alice, task.task_id)).status == "cancelled"
    # It may be visited twice; going back made the first visit undone, so it may be gone back to once more.
    await steer(house, alice, run, "offer")
    await asked_anew(house, alice, run, second)
    assert desk.moved == [80, -80, 50, -50, 20]
    await house.decide(fay, run, "yes")
    run = await house.finished(alice, run)
    assert run.result == {"outcome": "done", "output": 20}
    records = await house.store.audit(alice, run.run_id)
    assert [one.action for one in records if one.action.startswith(("process.", "node.comp"))] == [
        "process.started",
        "node.compensated",
        "process.rewound",
        "node.compensated",
        "process.rewound",
        "process.completed",
    ]
    back = next(one for one in records if one.action == "process.rewound")
    assert (back.actor, back.data["to_node"], back.data["reason"]) == ("alice", "offer", "a wrong offer")
    assert back.data["patch"] == [{"op": "remove", "path": "/offer"}, {"op": "remove", "path": "/payment"}]
    assert (await house.store.verify_audit(alice, run.run_id)).anchored
    assert standing(records).context["offer"] == {"sum": 20}


async def test_a_wrong_target_is_refused_and_the_run_stays_where_it_is(house: EngineHouse, alice: Principal) -> None:
    Desk(house, 80)
    run = await house.start(alice, CLAIM, {"amount": 100})
    (task,) = await house.asked(alice, run)
    for target in ("ask", "nowhere"):
        with pytest.raises(Invalid, match=r"no completed step.*1\.offer, 2\.pay"):
            await steer(house, alice, run, target)
    assert (await house.asked(alice, run))[0].task_id == task.task_id
    await house.control.control(alice, run.run_id, Control(action="stop", by=alice))


async def test_every_value_says_where_it_is_from_and_every_turn_says_why(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    Desk(house, 80)
    run = await house.start(alice, CLAIM, {"amount": 100})
    await house.decide(fay, run, "yes")
    await house.finished(alice, run)
    records = await house.store.audit(alice, run.run_id)
    (offer,) = provenance(records, "offer")
    assert (offer.op, offer.node, offer.attempt, offer.prompt, offer.model, offer.value) == (
        "add",
        "offer",
        1,
        "make_offer@1",
        "test/test",
        {"sum": 80},
    )
    (answer,) = provenance(records, "answer")
    assert (answer.node, answer.by) == ("ask", "fay")
    assert [(write.action, write.actor) for write in provenance(records, "amount")] == [("process.started", "alice")]
    (turn,) = explain(records, "offer")
    assert (turn.to, turn.guards[0].holds) == ("pay", True)
    assert "offer.sum = 80" in turn.because
    assert "amount = 100" in turn.because
    with pytest.raises(Invalid, match="nowhere"):
        explain(records, "nowhere")
    assert rewind(records, "ask").context["payment"] == {"sum": 80}


def test_a_patch_leads_from_one_context_to_the_other_and_says_replace_where_a_key_was() -> None:
    before: dict[str, JsonValue] = {"a": 1, "b/c": {"d": [1, 2]}, "gone": None}
    after: dict[str, JsonValue] = {"a": 2, "b/c": {"d": [1, 2]}, "new": [3]}
    patch = difference(before, after)
    assert patch == [
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/a", "value": 2},
        {"op": "add", "path": "/new", "value": [3]},
    ]
    assert apply_patch(before, patch) == after
    assert before["gone"] is None, "what was given stays as it is"
    deep: list[JsonValue] = [{"op": "add", "path": "/b~1c/d/-", "value": 3}, {"op": "remove", "path": "/b~1c/d/0"}]
    assert apply_patch(before, deep)["b/c"] == {"d": [2, 3]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/list/5", "value": 1},
        {"op": "remove", "path": "/list/-"},
        {"op": "move", "path": "/a", "from": "/list"},
        {"op": "replace", "path": "", "value": {}},
        "add",
    ],
)
def test_a_patch_that_fits_nothing_is_refused(operation: JsonValue) -> None:
    with pytest.raises(Invalid):
        apply_patch({"a": 1, "list": [1]}, [operation])
