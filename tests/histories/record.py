"""Records a history of each example and of an agent in it: `make histories`, or `python -m tests.histories.record`.

The examples run on the real server, as the sweep has them (`tests.faults.parts`). Payloads are written unsealed, so
that a replay needs no key. What names the machine is left out.
"""

import asyncio
import gzip
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.api.history.v1 import History
from temporalio.client import WorkflowFailureError, WorkflowHistory
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter
from temporalio.testing import WorkflowEnvironment

import server.platform
from engine.runs import Run, RunRef
from server.data_folder import open_data_folder
from server.platform import open_platform
from server.settings import ModelSettings, Settings
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from tests.faults.house import EXAMPLE_LEDGER, EXAMPLE_REGISTERS
from tests.faults.parts import Part, find_parts
from tests.faults.play import PLAYED, register
from tests.faults.traps import PLAY
from tests.processes.time_house import FOLDER, TimeHouse

RECORDED = Path(__file__).parent / "recorded"
PLAIN = DataConverter(payload_converter_class=PydanticPayloadConverter)
"""The converter of the platform without seal and without a store for large payloads."""

OF_THE_MACHINE = ("identity", "stackTrace")


def read(file: Path) -> WorkflowHistory:
    """Return a recorded history."""
    return WorkflowHistory(file.name, list(History.FromString(gzip.decompress(file.read_bytes())).events))


def written(history: WorkflowHistory) -> bytes:
    """Return a history as it is recorded."""
    text = history.to_json().replace(f"{os.getpid()}@{socket.gethostname()}", "worker")
    told = WorkflowHistory.from_json("", json.dumps(_without(json.loads(text))))
    return gzip.compress(History(events=told.events).SerializeToString(deterministic=True), mtime=0)


def _plain(*_: object) -> DataConverter:
    return PLAIN


@asynccontextmanager
async def plain_house(root: Path) -> AsyncGenerator[TimeHouse]:
    """Give a house on the real Temporal, in real time, whose payloads are not sealed."""
    folder = open_data_folder(root)
    settings = Settings(data=root, models=ModelSettings(default=f"scripted/{PLAYED}"), skills=(str(FOLDER / "skills"),))
    setattr(server.platform, "make_data_converter", _plain)  # noqa: B010 - for this process, which ends with it
    async with (
        EmbeddedTemporal(settings.temporal, folder),
        open_platform(settings, folder) as platform,
        workers(platform),
    ):
        yield TimeHouse(platform, WorkflowEnvironment.from_client(platform.client), root / "play.json")


async def record(root: Path, parts: list[Part]) -> None:
    """Run the parts and write what the workflow and the first agent of each have left."""
    register()
    RECORDED.mkdir(exist_ok=True)
    async with plain_house(root) as house:
        for part in parts:
            version = await house.publish(part.definition)
            lived = await house.live(part.definition, version, part.scenario, scripts=False)
            assert lived.run.status == part.expected.status, f"{part.name}: {lived.run.error}"
            for file, ref in await _files(house, part.name, lived.run):
                handle = house.platform.client.get_workflow_handle(ref.workflow_id)
                # The end of a run is in the store before it is in its history.
                with suppress(WorkflowFailureError):
                    await handle.result()
                history = await handle.fetch_history()
                (RECORDED / file).write_bytes(written(history))
                print(f"{file}: {len(history.events)} events")


async def _files(house: TimeHouse, name: str, run: Run) -> list[tuple[str, RunRef]]:
    below = await house.family(run)
    agents = [ref for ref in below if ref != run.ref][:1]
    return [(f"{name}.process.gz", run.ref), *((f"{name}.agent.gz", ref) for ref in agents)]


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(inner) for name, inner in value.items() if name not in OF_THE_MACHINE}
    return [_without(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for variable, file in (
            (PLAY, "play.json"),
            (EXAMPLE_REGISTERS, "registers.db"),
            (EXAMPLE_LEDGER, "paid.jsonl"),
        ):
            os.environ[variable] = str(Path(place) / "data" / file)
        asked = [part for part in find_parts() if part.name in sys.argv[1:] or not sys.argv[1:]]
        asyncio.run(record(Path(place) / "data", asked))
