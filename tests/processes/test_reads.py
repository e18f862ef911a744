"""What a node sees: what it names in `reads`, and always the item that it is about."""

import anyio
import pytest

from engine.values import Principal
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio

ASKED = """
format: 1
process: asked
title: Ask about each part
context:
  schema:
    type: object
    properties:
      parts: {type: array, items: {type: string}, maxItems: 3}
      secret: {type: string}
      name: {type: string}
  initial: {secret: "kept back", name: "the contract"}
start: each
nodes:
  each:
    type: foreach
    items: {var: parts}
    as: part
    body:
      start: ask
      nodes:
        ask:
          type: supervisor
          ask: {title: "Is {{part}} right?"}
          seat: {roles: [finance]}
          decisions: ["yes"]
          reads: READS
    next: [{to: done}]
  done: {type: end, outcome: done}
"""


@pytest.mark.parametrize(("reads", "seen"), [("[]", {}), ("[name]", {"name": "the contract"})])
async def test_a_node_inside_a_foreach_sees_its_item_whatever_else_it_reads(
    house: EngineHouse, alice: Principal, fay: Principal, reads: str, seen: dict[str, str]
) -> None:
    with anyio.fail_after(BOUND_S):
        run = await house.start(alice, ASKED.replace("READS", reads), {"parts": ["the price"]})
        (task,) = await house.asked(alice, run)
        assert (task.title, task.context) == ("Is the price right?", {"part": "the price", "index": 0, **seen})
        await house.decide(fay, run, "yes")
        assert (await house.finished(alice, run)).status == "completed"
