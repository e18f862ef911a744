"""What people see of a task, and how they say who sees to it: the core tools, the page, the form in the client."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import anyio
import mcp_types as types
import pytest

from engine.errors import Conflict
from engine.runs import Run, Seat, StartRun, Task, Vote
from engine.values import Principal
from server.mcp.task_forms import ask
from server.pages.inbox import task_page
from skills.runs import control_run
from skills.services import ToolContext
from skills.tasks import answer_run, list_tasks, seat_of
from tests.processes.seats import outcome, person, seat
from tests.server.agent_house import AgentHouse, agent_house

pytestmark = pytest.mark.anyio

FAY, BO, OLE = person("fay"), person("bo"), person("ole", "operator")


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[AgentHouse]:
    async with agent_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened


@pytest.fixture
async def house(shared: AgentHouse) -> AsyncGenerator[AgentHouse]:
    with anyio.fail_after(60):
        yield shared


async def start(house: AgentHouse, who: Principal, *more: str) -> Run:
    """Publish a process with a seat and start it."""
    version = await house.platform.definitions.publish_text(who, "seat", seat(*more, "deadline: P2D"))
    return await house.platform.control.start(
        who, StartRun(kind="process", definition="seat", version=str(version.number))
    )


def of(house: AgentHouse, who: Principal, key: str = "k") -> ToolContext:
    """Return the context of a call."""
    return ToolContext(principal=who, services=house.platform.services, key=key)


async def test_the_inbox_tells_how_far_a_quorum_is_and_whose_turn_it_is(house: AgentHouse, alice: Principal) -> None:
    run = await start(house, alice, "seat: {roles: [finance]}", "quorum: 2")
    await house.asked(run)
    said = await answer_run(of(house, FAY), run.run_id, decision="approve")
    assert (said.status, said.accepted) == (
        "open",
        "Pay 100?: approve (2 must decide alike; so far fay: approve)",
    )
    for who, yours in ((FAY, False), (BO, True)):
        (task,) = (await list_tasks(of(house, who), run.run_id, mine=False)).tasks
        assert (task.progress, task.yours) == ("2 must decide alike; so far fay: approve", yours)
        assert task.seat == {"roles": ["finance"]}
        assert task.deadline is not None
    await answer_run(of(house, BO), run.run_id, decision="approve")
    assert outcome((await house.finished(run)).result) == "paid"


async def test_a_task_is_claimed_given_away_and_reassigned_by_the_tool_that_steers(
    house: AgentHouse, alice: Principal
) -> None:
    run = await start(house, alice, "seat: {roles: [finance]}")
    await house.asked(run)
    assert (await control_run(of(house, FAY), run.run_id, "claim")).status == "waiting"
    (task,) = (await list_tasks(of(house, BO), run.run_id, mine=False)).tasks
    assert (task.claimed_by, task.yours) == ("fay", False)
    with pytest.raises(Conflict, match="claimed by fay"):
        await answer_run(of(house, BO), run.run_id, task_id=task.task_id, decision="approve")
    await control_run(of(house, FAY), run.run_id, "delegate", task.task_id, to="cy", reason="away")
    await control_run(of(house, OLE), run.run_id, "reassign", to="user:bo, role:cfo")
    (moved,) = await house.asked(run)
    assert (moved.seat.users, moved.seat.roles) == (("bo",), ("cfo",))
    await answer_run(of(house, BO), run.run_id, decision="approve")
    assert outcome((await house.finished(run)).result) == "paid"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("bo", Seat(users=("bo",))),
        ("user:bo, role:cfo,group:north", Seat(users=("bo",), roles=("cfo",), groups=("north",))),
        ("auth0|user:7", Seat(users=("auth0|user:7",))),
        ("", Seat()),
    ],
)
def test_whom_a_text_names(text: str, named: Seat) -> None:
    assert seat_of(text) == named


def test_the_page_and_the_form_in_the_client_show_agreement_seat_claim_and_deadline() -> None:
    task = Task(
        task_id="task_1",
        run_id="run_1",
        tenant="local",
        kind="decision",
        node="approve",
        title="Pay?",
        description="",
        form=None,
        decisions=("approve", "reject"),
        seat=Seat(users=("bo",), roles=("finance",)),
        context={},
        status="open",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        deadline=datetime(2026, 1, 3, 12, tzinfo=UTC),
        quorum=2,
        votes=(Vote(by="fay", decision="approve", at="2026-01-01T00:00:00+00:00"),),
        claimed_by="bo",
    )
    shown = task_page(task, user="bo")
    for part in ("2 must decide alike; so far fay: approve", "bo, role finance", "Claimed by", "2026-01-03"):
        assert part in shown
    asked = ask(task, types.ElicitationCapability(), "http://here/inbox/task_1", "2025-11-25")
    assert asked is not None
    assert asked.params.message == "Pay?\n\n2 must decide alike; so far fay: approve\n\nUntil 2026-01-03T12:00+00:00"
