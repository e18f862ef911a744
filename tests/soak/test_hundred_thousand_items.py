"""A foreach over the most items it takes, for `make soak`: none is lost or doubled, no history outgrows its bound."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.ports import MAX_ITEMS
from engine.values import Principal
from tests.processes.foreach_house import batches_of
from tests.processes.test_foreach_batches import LOOK, PLAIN, many
from tests.server.engine_house import engine_house

pytestmark = [pytest.mark.anyio, pytest.mark.soak]


async def test_the_most_items_a_foreach_takes_come_back_in_their_order(tmp_path: Path, alice: Principal) -> None:
    text = many(LOOK, items="string", done="string", text=PLAIN.replace("max_concurrency: 4", "max_concurrency: 100"))
    with anyio.fail_after(4 * 3_600):
        async with engine_house(tmp_path / "data") as house:
            house.objects["obj_all"] = b"\n".join(b'{"id": %d}' % number for number in range(MAX_ITEMS))
            run = await house.start(alice, text, {"items": "obj_all"})
            await house.control.result(run)
            run = await house.store.get(alice, run.run_id)
            assert run.status == "completed", run.error
            result: Any = run.result
            _, content = await house.store.read_artifact(
                alice, run.run_id, result["output"].partition("/artifacts/")[2]
            )
            assert [json.loads(line)["item"]["id"] for line in content.splitlines()] == list(range(MAX_ITEMS))
            batches = await batches_of(house, alice, run.run_id)
            assert (len(batches), {one.status for one in batches}) == (200, {"completed"})
            steps = 0
            for one in (run, *batches):
                verdict = await house.store.verify_audit(alice, one.run_id)
                assert verdict.anchored, verdict.reason
                steps += verdict.records
            # One record for each item, two for each batch, four for the run.
            assert steps == MAX_ITEMS + 2 * 200 + 4
            info = (await house.client.get_workflow_handle(run.ref.workflow_id).describe()).raw_description
            assert info.workflow_execution_info.history_length < 4_096
