"""A foreach in batches whose server and Temporal are killed in the middle: nothing is lost, and nothing done twice.

The same holds while what it did is undone.
"""

import json
from pathlib import Path
from typing import Any

from tests.faults.drive import Look, drive
from tests.faults.house import FaultHouse
from tests.faults.traps import LEDGER, set_trap

ITEMS = 230
EACH = """
format: 1
process: each
input: {type: object, properties: {items: {type: array}}, required: [items]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {items: {type: array}, seen: {type: array}, receipt: {type: object}}
start: each
nodes:
  each:
    type: foreach
    items: {var: items}
    as: item
    key: {var: item}
    max_concurrency: 40
    collect: {into: seen, fields: [item]}
    writes: [seen]
    body:
      start: split
      nodes:
        split:
          type: branch
          arms:
            - name: paid
              when: {"==": [{"%": [{var: item}, 10]}, 0]}
              body:
                start: pay
                nodes:
                  pay:
                    type: tool
                    tool: fault_payments.pay_keyed
                    input: {invoice: {cat: [{var: item}]}, supplier: one, amount: 1, currency: EUR}
                    writes: [receipt]
            - name: seen
              body: {start: look, nodes: {look: {type: wait, for: PT0S}}}
    next: [{to: done}]
  done: {type: end, outcome: done, output: {var: seen}}
"""


def test_a_server_killed_in_the_middle_pays_each_item_once_and_keeps_their_order(tmp_path: Path) -> None:
    house = FaultHouse(tmp_path / "data")
    house.start()
    try:
        house.publish("processes", "each", EACH)
        # Two records for each item, and one event for each record: the middle of them.
        driven = drive(house, "each", {"items": list(range(ITEMS))}, cut=[150], deaths=1)
        assert driven.deaths == 1
        with house.looking() as look:
            ((status, result),) = look("SELECT status, result FROM runs WHERE run_id = ?", driven.run_id)
            steps = look(
                "SELECT count(*), count(DISTINCT audit.key) FROM audit JOIN runs ON runs.run_id = audit.run_id "
                "WHERE runs.parent_id = ? AND audit.action = 'node.finished'",
                driven.run_id,
            )
            gaps = look("SELECT run_id FROM audit GROUP BY tenant, run_id HAVING max(seq) <> count(*) OR min(seq) <> 1")
        found: Any = json.loads(result)
        assert (status, found["output"]) == ("completed", [{"item": number} for number in range(ITEMS)])
        assert steps == [(2 * ITEMS, 2 * ITEMS)]
        assert gaps == []
        paid = [json.loads(line)["invoice"] for line in house.ledgers[LEDGER].read_text().splitlines()]
        assert sorted(map(int, paid)) == list(range(0, ITEMS, 10))
    finally:
        house.stop()


PAY = "                    input: {invoice: {cat: [{var: item}]}, supplier: one, amount: 1, currency: EUR}\n"
BACK = """                    compensate: back
                  back:
                    type: tool
                    tool: fault_payments.pay_keyed
                    input: {invoice: {cat: ["back ", {var: item}]}, supplier: one, amount: -1, currency: EUR}
"""
BROKEN = """    next: [{to: broken}]
  broken: {type: script, code: "1 / 0", next: [{to: done}]}
"""
BACK_AGAIN = (
    "SELECT count(*) FROM audit JOIN runs ON runs.run_id = audit.run_id "
    "WHERE runs.root_id = ? AND audit.action = 'node.compensated'"
)
UNDONE = EACH.replace(PAY, PAY + BACK).replace("    next: [{to: done}]\n", BROKEN)


def test_a_server_killed_while_a_batch_is_undone_undoes_each_payment_once(tmp_path: Path) -> None:
    house = FaultHouse(tmp_path / "data")
    payments = list(range(0, ITEMS, 10))
    # Money is back and nobody knows; that is on record and nobody heard; the batch is undone and nobody heard.
    traps = [("effect:after", 2), ("1.back:after", 2), ("finished:after", 1)]
    house.start()
    try:
        house.publish("processes", "each", UNDONE)

        def attend(house: FaultHouse, look: Look, run_id: str) -> None:
            # One that is sprung ends the server, so that the next is set for the server after it.
            if traps and not house.trap.exists() and look(BACK_AGAIN, run_id)[0][0]:
                set_trap(house.trap, *traps.pop(0))

        driven = drive(house, "each", {"items": list(range(ITEMS))}, deaths=len(traps), attend=attend)
        assert (driven.deaths, traps) == (3, [])
        with house.looking() as look:
            ((status, error),) = look("SELECT status, error FROM runs WHERE run_id = ?", driven.run_id)
            below = look("SELECT status FROM runs WHERE parent_id = ? ORDER BY created_at", driven.run_id)
            undone = look(
                "SELECT audit.action, count(*), count(DISTINCT json_extract(audit.data, '$.undone')) FROM audit "
                "JOIN runs ON runs.run_id = audit.run_id WHERE runs.root_id = ? "
                "AND audit.action LIKE 'node.compensat%' GROUP BY audit.action, audit.run_id = runs.root_id ORDER BY 2",
                driven.run_id,
            )
            gaps = look("SELECT run_id FROM audit GROUP BY tenant, run_id HAVING max(seq) <> count(*) OR min(seq) <> 1")
        assert status == "failed"
        assert "division by zero" in error
        assert below == [("completed",), ("completed",)], "the batch, and the run that undoes it"
        assert undone == [("node.compensated", 1, 1), ("node.compensated", len(payments), len(payments))]
        assert gaps == []
        ledger = [json.loads(line)["invoice"] for line in house.ledgers[LEDGER].read_text().splitlines()]
        assert sorted(ledger) == sorted([str(one) for one in payments] + [f"back {one}" for one in payments])
    finally:
        house.stop()
