"""An order to stop reaches what works for a run over the hub, beside the way of the run's end through its record."""

import anyio
import pytest

from engine.errors import Conflict
from engine.values import Principal
from server.hub_values import END, Changed, Frame, Stopping
from tests.server.agent_house import AgentHouse, Held

pytestmark = pytest.mark.anyio


class Noting:
    """A link that notes what is told."""

    takes_deltas = False

    def __init__(self) -> None:
        self.told: list[Frame] = []

    def send(self, frame: Frame) -> None:
        self.told.append(frame)

    def again(self) -> None:
        """Nothing is missed here."""


async def test_a_call_of_the_model_is_given_up_as_soon_as_the_hub_says_that_its_run_will_end(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held("never said")
    run = await house.start(alice, house.talk(held))
    await held.reached()
    house.platform.hub.stopping(run.ref)
    with anyio.fail_after(20):
        await held.aborted.wait()
    # What the workflow makes of a call that was given up without an order of its own is its own matter.
    assert (await house.finished(run)).status in ("failed", "cancelled")


@pytest.mark.parametrize("verb", ["stop", "cancel"])
async def test_whoever_stops_a_run_tells_the_hub_once_its_workflow_has_taken_the_order(
    house: AgentHouse, alice: Principal, verb: str
) -> None:
    held, noting = Held("never said"), Noting()
    run = await house.start(alice, house.talk(held))
    await held.reached()
    house.platform.hub.join(noting)
    try:
        await house.control(run, "stop" if verb == "stop" else "cancel")
        assert (await house.finished(run)).status == "cancelled"
    finally:
        house.platform.hub.leave(noting)
    told = [frame for frame in noting.told if not isinstance(frame, Changed) or frame.settled == END]
    assert Stopping(run=run.ref) in told
    with pytest.raises(Conflict):
        await house.control(run, "stop")
    # A verb that was refused, as one that ends nothing, tells nobody.
    assert len([frame for frame in told if isinstance(frame, Stopping)]) == 1


async def test_a_pause_lets_the_model_speak(house: AgentHouse, alice: Principal) -> None:
    held = Held("said")
    run = await house.start(alice, house.talk(held))
    await held.reached()
    await house.control(run, "pause")
    assert not house.platform.hub.is_stopping(run.ref)
    assert not held.aborted.is_set()
    await house.control(run, "resume")
    held.released.set()
    assert (await house.finished(run)).status == "completed"
