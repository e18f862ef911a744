"""Each process of the examples is started, decided and drawn from a chat, as its walkthrough tells people to."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from fastmcp.client import Client
from fastmcp.client.transports import StreamableHttpTransport

import examples
from examples.documents.make import make_documents
from providers.scripted import register_script
from server.data_folder import open_data_folder
from server.http import make_app
from server.platform import Platform, open_platform
from server.settings import LocalSettings, ModelSettings, Settings
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from tests.examples.walkthroughs import FOLDER, Chat, ScriptedModel, Setup, Walkthrough, read_walkthrough
from tests.server.agent_house import AgentHouse
from tests.server.served import Served, serve

pytestmark = pytest.mark.anyio

EXAMPLES = Path(examples.__file__).parent
WALKTHROUGHS = {path.stem: read_walkthrough(path) for path in sorted(FOLDER.glob("*.md"))}
KINDS = {".md": "text/markdown", ".pdf": "application/pdf", ".html": "text/html"}
BOUND_S = 240.0


@dataclass
class House:
    """The product with the examples published, over HTTP; `model` answers as the walkthrough under way says."""

    platform: Platform
    served: Served
    model: ScriptedModel

    def client(self, user: str) -> Client[StreamableHttpTransport]:
        """Return the client of a user; "" is the owner of the data folder."""
        headers = {"Authorization": f"Bearer {self.platform.token}", **({"Upstairs-User": user} if user else {})}
        return Client(StreamableHttpTransport(f"{self.served.url}/mcp", headers=headers), mode="2026-07-28")


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[House]:
    root = tmp_path_factory.mktemp("house") / "data"
    model = ScriptedModel()
    register_script("walkthrough", model)
    people = {name: ("viewer", *roles) for one in WALKTHROUGHS.values() for name, roles in one.setup.people.items()}
    settings = Settings(
        data=root,
        skills=(str(EXAMPLES / "skills"),),
        models=ModelSettings(default="scripted/walkthrough"),
        local=LocalSettings(users=people),
    )
    folder = open_data_folder(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTAIRS_EXAMPLE_REGISTERS", str(root / "registers.db"))
        patch.setenv("UPSTAIRS_EXAMPLE_LEDGER", str(root / "payments.jsonl"))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
            platform = await stack.enter_async_context(open_platform(settings, folder))
            await stack.enter_async_context(workers(platform))
            served = await stack.enter_async_context(serve(make_app(platform)))
            for path in (EXAMPLES / "interactions").glob("*.prompt"):
                await platform.interactions.publish_text(platform.local_user(None), path.stem, path.read_text())
            yield House(platform, served, model)


async def documents(house: House, setup: Setup, folder: Path) -> dict[str, str]:
    """Take the documents in, and return their object ids by name."""
    if setup.documents == "examples":
        given = {path.name: path.read_bytes() for path in make_documents(folder)}
    else:
        assert isinstance(setup.documents, dict)
        given = {name: text.encode() for name, text in setup.documents.items()}
    found: dict[str, str] = {}
    owner = house.platform.local_user(None)
    for name, data in given.items():
        path = Path(name)
        run = await house.platform.services.ingest(owner, name, data, KINDS[path.suffix])
        assert (await AgentHouse(house.platform).finished(run)).status == "completed"
        found[path.stem.replace("-", "_")] = str(run.input["object_id"])
    return found


def test_every_process_of_the_examples_has_a_walkthrough() -> None:
    assert set(WALKTHROUGHS) == {path.stem for path in (EXAMPLES / "processes").glob("*.yaml")}


@pytest.mark.parametrize("walk", WALKTHROUGHS.values(), ids=WALKTHROUGHS)
def test_a_walkthrough_starts_its_process_has_it_decided_by_others_and_draws_its_end(walk: Walkthrough) -> None:
    started = [step for step in walk.steps if step.tool == "start_process"]
    assert [step.arguments["process"] for step in started] == [walk.process]
    assert any(step.tool == "answer_run" and step.who for step in walk.steps)
    assert any(step.until.get("status") == "completed" for step in walk.steps)
    assert any(step.tool == "processes.draw" and step.learn == "processes" for step in walk.steps)


@pytest.mark.parametrize("walk", WALKTHROUGHS.values(), ids=WALKTHROUGHS)
async def test_what_a_walkthrough_says_is_what_happens(house: House, walk: Walkthrough, tmp_path: Path) -> None:
    text = (EXAMPLES / "processes" / f"{walk.process}.yaml").read_text()
    await house.platform.definitions.publish_text(house.platform.local_user(None), walk.process, text)
    house.model.setup = walk.setup
    with anyio.fail_after(BOUND_S):
        names = await documents(house, walk.setup, tmp_path)
        async with AsyncExitStack() as stack:
            clients = {name: await stack.enter_async_context(house.client(name)) for name in ("", *walk.setup.people)}
            chat = Chat(clients, names)
            for step in walk.steps:
                await chat.do(step)
