"""A foreach over many items, for real: how long it takes, what its histories hold, and whether memory stays flat."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
from pydantic import JsonValue

from benchmarks.figures import Row, Sample
from benchmarks.floor_history import history_size
from benchmarks.floor_house import House
from engine.errors import Invalid
from engine.ports import RunFilter
from engine.runs import Run

LOOK_S = 2.0
CONCURRENCY = 100
HOLDER = "format: 1\nprocess: holder\nstart: done\nnodes: {done: {type: end, outcome: done}}"
EACH = f"""
format: 1
process: each
input: {{type: object, properties: {{items: {{type: string}}}}, required: [items]}}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      items: {{type: string}}
      collected: {{type: string}}
start: each
nodes:
  each:
    type: foreach
    items: {{var: items}}
    as: item
    key: {{var: item.id}}
    max_concurrency: {CONCURRENCY}
    collect: {{into: collected, fields: [item]}}
    writes: [collected]
    body:
      start: split
      nodes:
        split:
          type: branch
          arms:
            - name: small
              when: {{"<": [{{var: item.amount}}, 500]}}
              body: {{start: small, nodes: {{small: {{type: wait, for: PT0S}}}}}}
            - name: large
              body: {{start: large, nodes: {{large: {{type: wait, for: PT0S}}}}}}
    next: [{{to: done}}]
  done: {{type: end, outcome: done, output: {{var: collected}}}}
"""


@dataclass(frozen=True)
class Moment:
    """How much was done at a moment, and MiB of memory: ours (client, server and workers in one) and Temporal's."""

    seconds: float
    items: int
    ours: float
    temporal: float


def _mib(pid: int | str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


async def _batches(house: House, run: Run) -> list[Run]:
    found = list(await house.platform.runs.list(house.principal, RunFilter(parent_id=run.run_id, limit=500)))
    return [one for one in found if one.kind == "batch"]


async def _watched(house: House, run: Run) -> list[Moment]:
    """Wait for the end of a run and return how it went on."""
    began, moments = time.perf_counter(), list[Moment]()
    while True:
        run = await house.platform.runs.get(house.principal, run.run_id)
        over = [one for one in await _batches(house, run) if one.finished]
        done = sum(int(str(one.input["count"])) for one in over)
        ours, theirs = _mib("self"), _mib(house.temporal.running.pid)
        moments.append(Moment(time.perf_counter() - began, done, ours, theirs))
        if run.finished:
            break
        await anyio.sleep(LOOK_S)
    if run.status != "completed":
        raise Invalid(f"the run {run.run_id} ended as {run.status}: {run.error}")
    return moments


async def _start(house: House, items: int) -> Run:
    """Start a foreach over a file of so many items."""
    await house.publish("holder", HOLDER)
    holder = await house.run("process", "holder")
    lines = (json.dumps({"id": f"item-{number}", "amount": number % 1000}) for number in range(items))
    await house.platform.runs.write_artifact(
        holder.ref, "items.jsonl", "\n".join(lines).encode(), mime="application/jsonl", key="items"
    )
    named: dict[str, JsonValue] = {"items": f"run://{holder.run_id}/artifacts/items.jsonl"}
    await house.publish("each", EACH)
    return await house.start("process", "each", named)


async def _check(house: House, run: Run, items: int) -> None:
    """Look at what was collected: every item once, in its order.

    Raises:
        Invalid: something was lost, doubled or moved.
    """
    result = (await house.platform.runs.get(house.principal, run.run_id)).result
    assert isinstance(result, dict)
    path = str(result["output"]).partition("/artifacts/")[2]
    _, content = await house.platform.runs.read_artifact(house.principal, run.run_id, path)
    found = [json.loads(line)["item"]["id"] for line in content.splitlines()]
    if found != [f"item-{number}" for number in range(items)]:
        raise Invalid(f"{len(found)} items came back for {items}, or in another order")
    for one in [run, *await _batches(house, run)]:
        verdict = await house.platform.runs.verify_audit(house.principal, one.run_id)
        if not verdict.valid:
            raise Invalid(f"the audit of {one.run_id} is not whole: {verdict.reason}")


async def measure_foreach(house: House, items: int) -> list[Row]:
    """Time, history and memory of one foreach; everything it did is checked before it counts."""
    run = await _start(house, items)
    moments = await _watched(house, run)
    await _check(house, run, items)
    end = moments[-1]
    half = next(moment for moment in moments if moment.items >= items / 2)
    size, events = await history_size(house.platform.client, run.ref.workflow_id)
    batches = await _batches(house, run)
    sizes = [await history_size(house.platform.client, one.ref.workflow_id) for one in batches[:10]]
    records = [(await house.platform.runs.verify_audit(house.principal, one.run_id)).records for one in batches[:10]]
    name = f"foreach over {items:,}"
    alone = [
        ("wall", "s", end.seconds),
        ("items per second", "1/s", items / end.seconds),
        ("parent's history per 1,000 items", "bytes", size * 1000 / items),
        ("parent's history per 1,000 items", "events", events * 1000 / items),
        ("history of a batch", "bytes", max(one for one, _ in sizes)),
        ("history of a batch", "events", max(one for _, one in sizes)),
        ("audit records of a batch", "records", max(records)),
        ("audit records of the parent", "records", len(await house.platform.runs.records(run.ref))),
    ]
    rows = [Row(f"{name}: {measure}", unit, Sample([value]), "") for measure, unit, value in alone]
    memory = (("our process", end.ours, half.ours), ("Temporal", end.temporal, half.temporal))
    return rows + [
        Row(f"{name}: memory at the end, {side}", "MiB", Sample([last]), "at half of the items", Sample([first]))
        for side, last, first in memory
    ]
