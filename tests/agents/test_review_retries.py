"""A reviewing model whose provider fails is asked again like any other model, and a person where that doesn't help."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.agent.approvals import REVIEW_RETRY
from engine.transcript import ModelRequest
from engine.values import Principal
from providers.errors import Overloaded, ProviderUnavailable
from providers.scripted import Line
from tests.agents.house import LEARN_HOSTILE
from tests.agents.test_approvals import ALLOW, reviews, start_reviewed, writing
from tests.server.agent_house import AgentHouse, Said

pytestmark = pytest.mark.anyio


def one_by_one(*lines: Line) -> tuple[list[Line], Said]:
    """Return what is still to be said, and a line that says it call by call, the last one again and again."""
    left = list(lines)

    def say(request: ModelRequest) -> Line:
        return left.pop(0) if len(left) > 1 else left[0]

    return left, say


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a review that failed made again without a pause."""
    soon = replace(REVIEW_RETRY, initial_interval=timedelta(milliseconds=10), backoff_coefficient=1.0)
    monkeypatch.setattr("engine.agent.approvals.REVIEW_RETRY", soon)


@pytest.mark.usefixtures("hurried")
async def test_a_reviewer_whose_provider_fails_for_a_while_is_asked_again_and_no_person(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    away = ProviderUnavailable("The stream broke.", provider="scripted")
    busy = Overloaded("Come back.", provider="scripted", retry_after_s=0.05)
    left, verdicts = one_by_one(away, busy, away, busy, ALLOW)
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    started, _ = await start_reviewed(house, alice, talk, verdicts)
    run = await house.finished(started)
    assert (run.status, (place / "out").read_text(), left) == ("completed", "one\n", [ALLOW])
    assert await house.platform.runs.tasks(alice, status=None, run_id=run.run_id) == []
    assert await reviews(house, run) == [("allow", "the task asks for it")]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("wait_s", [0.05, 3_600.0])
async def test_a_reviewer_whose_provider_goes_on_failing_leaves_it_to_a_person(
    house: AgentHouse, alice: Principal, place: Path, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wait_s < 1:
        monkeypatch.setattr("engine.agent.approvals.REVIEW_WITHIN", timedelta(seconds=2))
    busy = Overloaded("Come back.", provider="scripted", retry_after_s=wait_s)
    talk = house.talk(LEARN_HOSTILE, writing(place / "out", "one"), "done")
    started, reviewer = await start_reviewed(house, alice, talk, busy)
    (task,) = await house.asked(started)
    assert not (place / "out").exists()
    review: Any = task.context["review"]
    assert (review["verdict"], review["reason"].startswith("the reviewer failed: ")) == ("ask", True)
    assert len(reviewer.requests) > 1 or wait_s > 1
    await house.decide(alice, task, "deny")
    assert (await house.finished(started)).status == "completed"
    assert not (place / "out").exists()
