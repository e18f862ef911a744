"""What people see of the gates: the page, the line of doctor, and a fallback where a wait would be too long."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from content.database import Database
from engine.capacity import GateReport, LimitReport
from engine.routes import Route, RouteLimits
from providers.errors import NotYet, Overloaded
from providers.routing import goes_on
from server.capacity import Asking, Capacity
from server.commands.diagnosis import capacity_checks
from server.pages.capacity import capacity_page
from server.settings import Settings
from server.store.capacity import SqlCapacity
from tests.capacity.simulation import PLACE

REPORT = GateReport(
    model="maker/model-<1>",
    account="eu",
    breaker="open",
    because="rate_limited",
    paused_until=datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC),
    limits=(
        LimitReport(
            kind="input_tokens", limit=40_000, window_s=60.0, planned_per_minute=27_440, left=-312.0, learned="told"
        ),
    ),
    share=0.7,
    under_way=3,
    leased=0,
    waiting={"local": 12, "other tenants": 4},
    next_grant=None,
    granted=1_234,
    refused=2,
)


def test_the_page_shows_limits_queues_and_pauses() -> None:
    text = capacity_page([REPORT], user="alice")
    for part in (
        "maker/model-&lt;1&gt;",
        "rate_limited",
        "2027-01-02 03:04:05",
        "40,000",
        "27,440",
        "-312",
        "70% of the limits",
        "local: 12",
        "other tenants: 4",
        "1,234",
    ):
        assert part in text
    assert "No model was called yet" in capacity_page([], user="alice")


@pytest.mark.anyio
async def test_doctor_names_the_models_that_are_paused(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    database = Database(settings.database)
    await database.migrate()
    gates = Capacity(SqlCapacity(database), clock=lambda: time.time() + 5.0)
    (none,) = await capacity_checks(settings)
    assert (none.state, none.text) == ("ok", "0 models known, none paused, nothing waits")
    admission = await gates.enter(PLACE, "local", 10, 10, Asking("c"))
    await admission.failed(Overloaded("busy", provider="simulated", retry_after_s=600.0))
    (paused,) = await capacity_checks(settings)
    await database.close()
    assert (paused.state, paused.text) == (
        "note",
        "simulated/model: open after overloaded, 0 calls wait; see /capacity",
    )


def test_a_wait_beyond_patience_goes_on_to_the_next_candidate() -> None:
    route = Route(provider="p", model="m", limits=RouteLimits(patience_s=30.0))
    short = NotYet("later", until=0.0, why="queued", provider="p", retry_after_s=20.0)
    again = NotYet("later", until=0.0, why="queued", waited_s=15.0, provider="p", retry_after_s=20.0)
    assert not goes_on(short, route)
    assert goes_on(again, route)
