"""The house of the sweep: its documents are taken in once, then run after run is cut in it."""

import statistics
from collections.abc import Generator

import pytest

from examples.documents.make import make_documents
from tests.faults.drive import Driven, drive
from tests.faults.house import EXAMPLES, FaultHouse
from tests.faults.record import Left, left_by

INVOICE = "invoice-scan.pdf"
PROMPTS = ("extract_invoice", "check_invoice")
PROCESS = "invoice_approval"

PAYING = """
format: 1
process: {name}
title: Pay once
input:
  type: object
  properties: {{document: {{type: string}}}}
  required: [document]
context:
  schema:
    type: object
    properties:
      document: {{type: string}}
      receipt: {{type: object}}
start: pay
nodes:
  pay:
    type: tool
    tool: fault_payments.{tool}
    input: {{invoice: {{var: document}}, supplier: Northwind Instruments, amount: 12.5, currency: EUR}}
    writes: [receipt]
    next: [{{to: paid}}]
    on_error: [{{match: [outcome_unknown], to: unclear}}]
  paid: {{type: end, outcome: paid, output: {{var: receipt}}}}
  unclear: {{type: end, outcome: unclear, output: {{var: document}}}}
"""

recovered: list[float] = []
"""Seconds from each death of a server to the next event of the run that it cut."""


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultHouse]:
    """A server with the example in it and with payments that can be cut."""
    house = FaultHouse(tmp_path_factory.mktemp("faults") / "data")
    house.start()
    try:
        for name in PROMPTS:
            house.publish("interactions", name, (EXAMPLES / "interactions" / f"{name}.prompt").read_text())
        house.publish("processes", PROCESS, (EXAMPLES / "processes" / f"{PROCESS}.yaml").read_text())
        for tool in ("pay_keyed", "pay_blind"):
            house.publish("processes", tool, PAYING.format(name=tool, tool=tool))
        yield house
    finally:
        house.stop()


@pytest.fixture(scope="package")
def document(house: FaultHouse, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The object id of the invoice, with everything beside it that the process looks into."""
    paths = make_documents(tmp_path_factory.mktemp("documents"))
    return {path.name: house.ingest(path) for path in paths}[INVOICE]


@pytest.fixture(scope="package")
def uncut_run(house: FaultHouse, document: str) -> Driven:
    """A run that nothing has disturbed."""
    return drive(house, PROCESS, {"document": document})


@pytest.fixture(scope="package")
def uncut(house: FaultHouse, uncut_run: Driven) -> Left:
    """What that run has left: what every other run must leave."""
    return left_by(house, uncut_run.run_id)


@pytest.fixture
def whole(house: FaultHouse) -> Generator[FaultHouse]:
    """The house without a trap in it, and with its server up."""
    house.trap.unlink(missing_ok=True)
    house.restart_if_ended()
    yield house
    house.trap.unlink(missing_ok=True)


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> None:
    """Leave a test to `make sweep`."""
    if request.config.getoption("--sweep") != "all":
        pytest.skip("runs with --sweep=all, as in make sweep")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long it took until cut runs went on."""
    if recovered:
        middle, worst = statistics.median(recovered), max(recovered)
        terminalreporter.write_line(
            f"{len(recovered)} deaths of a server: the next event after {middle:.1f} s (median), {worst:.1f} s at worst"
        )
