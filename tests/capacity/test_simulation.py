"""Three hundred runs of three tenants at three times the quota of a provider that is out of order for ten minutes."""

from pathlib import Path

import anyio
import pytest

from content.database import Database
from tests.capacity.simulation import Caller, Clock, Simulated, World

pytestmark = pytest.mark.anyio

PER_MINUTE, TOKENS = 150.0, 1_000
BEGINS, ENDS, LAST = 70.0, 670.0, 900.0
RUNS = {"large": 150, "middle": 100, "small": 50}


async def test_runs_beyond_the_quota_use_it_up_share_it_and_are_hardly_ever_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gates.db'}")
    await database.migrate()
    clock = Clock()
    provider = Simulated(clock, PER_MINUTE, PER_MINUTE * TOKENS * 1.5, (BEGINS, ENDS))
    world = World(database, provider, clock)
    # Three times the quota: each run would call once in this many seconds.
    think_s = 60.0 * sum(RUNS.values()) / (3 * PER_MINUTE)
    callers = [
        Caller(f"run_{tenant}_{number}", tenant, think_s, lambda: world.random.randint(200, 1_800), 1_000)
        for tenant, count in RUNS.items()
        for number in range(count)
    ]
    for caller in callers:
        world.start(caller, world.random.uniform(0.0, think_s))
    with anyio.fail_after(240):
        await world.run(LAST)
    await database.close()
    assert provider.refused <= 0.01 * provider.calls
    for begin, end in ((20.0, BEGINS), (ENDS + 20.0, LAST)):
        assert max(provider.used(begin, end)) >= 0.9
    got = provider.by_tenant(ENDS + 20.0, LAST)
    for tenant in RUNS:
        assert got[tenant] >= 0.8 * sum(got.values()) / len(RUNS)
    assert sum(caller.early for caller in callers) == 0
    assert all(caller.done for caller in callers)
    # Calls are under way for at most four seconds; every other run holds nothing.
    assert world.most_slots <= 4.0 * PER_MINUTE / 60.0 + 0.1 * PER_MINUTE
