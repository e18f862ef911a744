"""Several servers over one database: what one hands out sealed, another opens, and nobody else."""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import mcp.server.request_state
import pytest

from content.database import Database
from engine.runs import Run
from engine.values import Principal
from server.data_folder import open_data_folder
from server.http import make_app
from server.keys import open_key_ring
from tests.server.flat import TOKEN, Flat
from tests.server.sdk import Modern
from tests.server.served import Served, serve

pytestmark = pytest.mark.anyio

ABLE: dict[str, Any] = {"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
ANSWER = {"task_1": {"action": "accept", "content": {"decision": "approve"}}}


class Replica(Flat):
    """A server with a data folder and a token of its own; a user `me` of another tenant, and another of this one."""

    def __init__(self, database: Database, folder: Path, token: str, **settings: Any) -> None:
        super().__init__(database, folder, **settings)
        self.token = token

    def local_user(self, name: str | None) -> Principal:
        """Return one of the further users, or one of the house's own."""
        roles = frozenset({"finance", "viewer", "operator"})
        others = {
            "abroad": Principal(tenant="elsewhere", subject="me", roles=roles),
            "vera": Principal(tenant="local", subject="vera", roles=roles),
        }
        return others[name] if name in others else super().local_user(name)


@dataclass
class Cluster:
    """Two replicas that are served."""

    houses: tuple[Replica, Replica]
    served: tuple[Served, Served]

    def ask(self, number: int, user: str | None = None) -> Modern:
        url, token = self.served[number].url, self.houses[number].token
        return Modern(f"{url}/mcp", user=user, capabilities=ABLE, token=token)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncGenerator[Cluster]:
    shared = open_data_folder(tmp_path / "shared")
    open_key_ring(shared)
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await database.migrate()
    first, second = (
        Replica(database, tmp_path / name, token, keys_file=shared.key_ring)
        for name, token in (("one", TOKEN), ("two", TOKEN[::-1]))
    )
    async with serve(make_app(first)) as one, serve(make_app(second)) as two:
        yield Cluster((first, second), (one, two))
    await database.close()


@pytest.fixture
async def run(cluster: Cluster) -> Run:
    """A run that waits for finance."""
    waiting = await cluster.houses[0].run()
    await cluster.houses[0].ask(waiting, "task_1")
    return waiting


def call_of(run: Run) -> dict[str, Any]:
    return {"name": "answer_run", "arguments": {"run_id": run.run_id}}


async def asked(ask: Modern, run: Run) -> str:
    return (await ask("tools/call", **call_of(run)))["result"]["requestState"]


async def test_a_form_that_one_replica_asked_is_taken_by_another(cluster: Cluster, run: Run) -> None:
    with anyio.fail_after(20):
        state = await asked(cluster.ask(0), run)
        result = await cluster.ask(1)("tools/call", **call_of(run), inputResponses=ANSWER, requestState=state)
    assert result["result"]["structuredContent"]["status"] == "answered"
    assert len(cluster.houses[1].control.said) == 1


async def test_a_state_is_good_for_its_principal_and_its_call_alone_and_unchanged(cluster: Cluster, run: Run) -> None:
    other = await cluster.houses[0].run()
    with anyio.fail_after(20):
        state = await asked(cluster.ask(0), run)
        middle = len(state) // 2
        changed = state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :]
        for ask, which, said in (
            (cluster.ask(1, "abroad"), run, state),
            (cluster.ask(1, "vera"), run, state),
            (cluster.ask(1), other, state),
            (cluster.ask(1), run, changed),
            (cluster.ask(1), run, "made up"),
        ):
            answer = await ask("tools/call", **call_of(which), inputResponses=ANSWER, requestState=said)
            assert (answer["error"]["code"], answer["error"]["data"]) == (-32602, {"reason": "invalid_request_state"})
    assert cluster.houses[1].control.said == []


async def test_a_state_expires(cluster: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later:
        def __init__(self, hours: float) -> None:
            self._hours = hours

        def time(self) -> float:
            return time.time() + self._hours * 3600

    with anyio.fail_after(20):
        state = await asked(cluster.ask(0), run)
        retry = {**call_of(run), "requestState": state}
        monkeypatch.setattr(mcp.server.request_state, "time", Later(23))
        assert (await cluster.ask(1)("tools/call", **retry))["result"]["resultType"] == "input_required"
        monkeypatch.setattr(mcp.server.request_state, "time", Later(25))
        error = (await cluster.ask(1)("tools/call", **retry))["error"]
    assert (error["code"], error["data"]) == (-32602, {"reason": "invalid_request_state"})


async def test_after_a_rotation_old_states_and_task_ids_still_open_and_new_ones_do_everywhere(
    cluster: Cluster, run: Run
) -> None:
    with anyio.fail_after(20):
        old = await asked(cluster.ask(0), run)
        started = (await cluster.ask(0)("tools/call", name="start_process", arguments={"process": "invoice"}))["result"]
        new_key = cluster.houses[1].keys.rotate()
        assert (await cluster.ask(0)("tasks/get", taskId=started["taskId"]))["result"]["taskId"] == started["taskId"]
        kept = (await cluster.ask(1)("tasks/get", taskId=started["taskId"]))["result"]
        assert kept["taskId"] == started["taskId"]
        new = await asked(cluster.ask(1), run)
        assert new_key in new
        retry = {**call_of(run), "inputResponses": {"task_1": {"action": "decline"}}}
        for state in (old, new):
            for number in (0, 1):
                result = (await cluster.ask(number)("tools/call", **retry, requestState=state))["result"]
                assert "declined" in result["structuredContent"]["accepted"]
        foreign = (await cluster.ask(1, "abroad")("tasks/get", taskId=started["taskId"]))["error"]
        assert foreign["code"] == -32602


async def test_a_server_with_a_ring_of_its_own_opens_nothing_of_the_others(
    cluster: Cluster, run: Run, tmp_path: Path
) -> None:
    alone = Replica(vars(cluster.houses[0].runs)["_database"], tmp_path / "alone", TOKEN)
    with anyio.fail_after(20):
        state = await asked(cluster.ask(0), run)
        async with serve(make_app(alone)) as served:
            ask = Modern(f"{served.url}/mcp", capabilities=ABLE)
            answer = await ask("tools/call", **call_of(run), inputResponses=ANSWER, requestState=state)
    assert answer["error"]["data"] == {"reason": "invalid_request_state"}
