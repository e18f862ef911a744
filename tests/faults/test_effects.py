"""A tool whose server dies in the middle of it: paid once where the tool honours its key, never twice elsewhere."""

import pytest

from tests.faults.conftest import recovered
from tests.faults.drive import Driven, drive
from tests.faults.house import FaultHouse
from tests.faults.record import differences, left_by, payments
from tests.faults.traps import set_trap

pytestmark = pytest.mark.sweep

INVOICE = {"document": "NI-1"}


def cut(house: FaultHouse, process: str, place: str) -> Driven:
    set_trap(house.trap, place)
    driven = drive(house, process, INVOICE, deaths=1)
    assert driven.deaths == 1
    recovered.extend(driven.recovered)
    return driven


@pytest.mark.parametrize("place", ["effect:before", "effect:after"])
def test_a_tool_that_honours_its_key_pays_exactly_once(whole: FaultHouse, place: str) -> None:
    uncut = left_by(whole, drive(whole, "pay_keyed", INVOICE).run_id)
    assert uncut.result["outcome"] == "paid"
    found = left_by(whole, cut(whole, "pay_keyed", place).run_id)
    assert differences(found, uncut) == []
    assert len(found.payments) == 1


@pytest.mark.parametrize(("place", "paid"), [("effect:before", 0), ("effect:after", 1)])
def test_a_tool_that_does_not_honour_its_key_is_not_called_again_and_its_outcome_is_unknown(
    whole: FaultHouse, place: str, paid: int
) -> None:
    driven = cut(whole, "pay_blind", place)
    assert len(payments(whole, driven.run_id)) == paid
    found = left_by(whole, driven.run_id)
    assert (found.status, found.result["outcome"]) == ("completed", "unclear")
    failed = next(data for kind, data in found.events if kind == "node.failed")
    assert (failed["node"], failed["to"], failed["error"]["kind"]) == ("pay", "unclear", "outcome_unknown")
    assert "may or may not have had its effect and was not repeated" in failed["error"]["message"]


@pytest.mark.usefixtures("exhaustive")
@pytest.mark.parametrize("place", ["intent:before", "outcome:after"])
def test_outside_its_effect_that_tool_pays_exactly_once(whole: FaultHouse, place: str) -> None:
    driven = cut(whole, "pay_blind", place)
    found = left_by(whole, driven.run_id)
    assert found.result["outcome"] == "paid"
    assert len(found.payments) == 1
