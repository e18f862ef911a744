"""The loop under any order of what can happen to it, against a small model of what must hold.

The workflow is the real one; what the model says, what tools do, what people say and what fails are drawn. Each call
is answered exactly once before the next turn, nothing is made that nobody allowed, and the run comes to an end.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from engine.ports import AgentToolCalls, ApprovalMode, CallRef, Control, Reviewed, ReviewOrder, TurnOrder
from engine.runs import TERMINAL
from engine.values import Budget
from tests.agents.loop_case import Case, ran, replied
from tests.agents.loop_world import ALICE, TOOLS_GONE, World, lasting, loop_world, passing

Drawn = tuple[str, str, str]

TOOLS: dict[str, Drawn] = {
    "read": ("read", "read_only", ""),
    "write": ("write", "side_effecting", ""),
    "erase": ("erase", "always_ask", ""),
    "ask": ("ask_person", "control", "ask"),
    "plan": ("update_plan", "control", "plan"),
}
ORDERS: dict[str, dict[str, Any]] = {
    "ask": {"do": "ask", "title": "Which?", "description": "", "choices": [], "form": None},
    "plan": {"do": "plan", "steps": [{"title": "look"}]},
}
MODES = st.sampled_from(("ask", "auto_review", "full"))
calls_drawn = st.lists(st.tuples(st.sampled_from(sorted(TOOLS)), st.integers(0, 1)), min_size=1, max_size=4)


class Loop(RuleBasedStateMachine):
    """Drives one run; `portal` and `world` are set by the test."""

    portal: BlockingPortal
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.case: Case

    @initialize(
        mode=MODES,
        turns=st.sampled_from((None, None, 3, 6)),
        seconds=st.sampled_from((None, None, 0.5)),
        asks=st.booleans(),
        history=st.sampled_from((2, 50)),
    )
    def start(self, mode: ApprovalMode, turns: int | None, seconds: float | None, asks: bool, history: int) -> None:
        budget = Budget(turns=turns, seconds=seconds)

        async def begin() -> Case:
            return await self.world.start(mode, budget, asks=asks, turns_per_history=history)

        self.case = self.portal.call(begin)

    @rule(drawn=calls_drawn)
    def model_calls(self, drawn: list[tuple[str, int]]) -> None:
        def reply(order: TurnOrder) -> Any:
            calls: list[CallRef] = []
            for at, (name, target) in enumerate(drawn):
                tool, effect, does = TOOLS[name]
                call_id = f"call_{order.turn}_{at}"
                fields = {"call_id": call_id, "tool": tool, "effect": effect, "target": str(target)}
                calls.append(CallRef.model_validate(fields | {"repeatable": effect == "read_only"}))
                if does:
                    self.case.orders[order.turn, call_id] = ORDERS[does]
            return replied(self.case, order, "done", tuple(calls))

        self.portal.call(self.world.settle, self.case, TurnOrder, reply)

    @rule(finish=st.sampled_from(("done", "done", "length", "malformed", "paused", "refusal", "context_full")))
    def model_says(self, finish: str) -> None:
        self.portal.call(self.world.settle, self.case, TurnOrder, partial(replied, self.case, finish=finish, calls=()))

    @rule(which=st.integers(0, 5), outcome=st.sampled_from(("ok", "ok", "error", "unknown")), result=st.integers(0, 2))
    def tools_end(self, which: int, outcome: str, result: int) -> None:
        self.portal.call(
            self.world.settle, self.case, AgentToolCalls, partial(ran, self.case, outcome=outcome, result=result), which
        )

    @rule(which=st.integers(0, 5), recorded=st.booleans(), lasts=st.booleans())
    def tools_fail(self, which: int, recorded: bool, lasts: bool) -> None:
        def crash(order: AgentToolCalls) -> BaseException:
            # A worker may die after it has recorded what its tools gave.
            if recorded:
                ran(self.case, order, "ok", 1)
            return lasting(TOOLS_GONE) if lasts else passing("gone for a moment")

        self.portal.call(self.world.settle, self.case, AgentToolCalls, crash, which)

    @rule(recorded=st.booleans())
    def model_fails(self, recorded: bool) -> None:
        def crash(order: TurnOrder) -> BaseException:
            return passing("gone for a moment")

        self.portal.call(self.world.settle, self.case, TurnOrder, crash)

    @rule()
    def model_fails_for_good(self) -> None:
        self.portal.call(self.world.settle, self.case, TurnOrder, lasting("the key is wrong"))

    @rule(verdict=st.sampled_from(("allow", "ask", "deny")))
    def reviewer_says(self, verdict: str) -> None:
        reviewed = Reviewed.model_validate({"verdict": verdict, "reason": "so it is"})
        self.portal.call(self.world.settle, self.case, ReviewOrder, reviewed)

    @rule()
    def reviewer_fails(self) -> None:
        self.portal.call(self.world.settle, self.case, ReviewOrder, lasting("no reviewer"))

    @rule(which=st.integers(0, 3), choice=st.integers(0, 2))
    def person_answers(self, which: int, choice: int) -> None:
        self.portal.call(self.world.answer, self.case, which, choice)

    @rule()
    def person_speaks(self) -> None:
        self.portal.call(self.world.say, self.case, "and be quick")

    @rule(action=st.sampled_from(("pause", "resume")))
    def person_pauses(self, action: str) -> None:
        self.portal.call(self.world.control, self.case, Control.model_validate({"action": action, "by": ALICE}))

    @rule(mode=MODES)
    def person_changes_the_mode(self, mode: ApprovalMode) -> None:
        self.portal.call(self.world.control, self.case, Control(action="approval", by=ALICE, approval=mode))

    @rule(action=st.sampled_from(("stop", "cancel")), sure=st.integers(0, 3))
    def person_stops(self, action: str, sure: int) -> None:
        if sure == 0:
            self.portal.call(self.world.control, self.case, Control.model_validate({"action": action, "by": ALICE}))

    @rule()
    def nobody_answers(self) -> None:
        self.portal.call(self.world.outwait, self.case)

    @invariant()
    def nothing_went_wrong(self) -> None:
        case = getattr(self, "case", None)
        assert case is None or not case.wrong, case.wrong

    def teardown(self) -> None:
        if not hasattr(self, "case"):
            return
        self.portal.call(self.world.finish, self.case)
        assert self.case.status in TERMINAL
        assert not self.case.wrong, self.case.wrong
        answered = {(turn, call.call_id) for turn, calls in self.case.calls.items() for call in calls}
        assert set(self.case.answered) <= answered
        if self.case.status == "completed":
            assert set(self.case.answered) == answered


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[BlockingPortal, World]]:
    root = tmp_path_factory.mktemp("loop") / "data"
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(loop_world(root)) as opened:
        yield portal, opened


def explore(world: tuple[BlockingPortal, World], examples: int) -> None:
    """Run so many drawn stories."""
    Loop.portal, Loop.world = world
    run_state_machine_as_test(
        Loop,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        ),
    )


def test_whatever_happens_each_call_is_answered_once_nothing_is_made_unallowed_and_the_run_ends(
    world: tuple[BlockingPortal, World],
) -> None:
    explore(world, 25)


# Where a machine stands still for 2 s, the SDK interrupts a workflow's thread and runs its task again.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function WeakSet:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.sweep
def test_in_many_more_stories_too(world: tuple[BlockingPortal, World], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--sweep") != "all":
        pytest.skip("the exhaustive stories run with --sweep=all (make sweep)")
    explore(world, 600)
