"""Independent clients on the real product, each led through the same twelve steps, in each era, over each transport."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.clients.drivers import (
    NODE,
    PROTOCOLS,
    PYDANTIC_AI,
    Client,
    Driver,
    Era,
    Transport,
    place,
    run_program,
)
from tests.clients.fastmcp_driver import fastmcp_driver
from tests.clients.house import OTHERS_RUN, ClientsHouse
from tests.clients.script import Script, canonical
from tests.clients.steps import ABILITIES, Ability
from tests.faults.house import ROOT

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
BOTH: tuple[Era, ...] = ("legacy", "2026-07-28")
INSPECTOR = Client("inspector", BOTH, (NODE, HERE / "inspector_driver.mjs"))
CLIENTS = (
    Client("fastmcp", BOTH),
    Client("typescript", BOTH, (NODE, HERE / "typescript_driver.mjs")),
    INSPECTOR,
    Client("pydantic-ai", ("2026-07-28",), (PYDANTIC_AI, HERE / "pydantic_ai_driver.py")),
)
TRANSPORTS: tuple[Transport, ...] = ("stdio", "http")
CASES = [
    pytest.param(client, era, transport, id=f"{client.name}-{PROTOCOLS[era]}-{transport}")
    for client in CLIENTS
    for era in client.eras
    for transport in TRANSPORTS
]
SECONDS = 180

TITLES = {
    "fastmcp": "FastMCP",
    "typescript": "`@modelcontextprotocol/client`",
    "inspector": "`@modelcontextprotocol/inspector`, `mcpdo`",
    "pydantic-ai": "pydantic-ai",
}
LACKS: dict[Ability, str] = {
    "cancel": "withdrawing a call",
    "complete": "completion",
    "elicitation": "asking its person",
    "progress": "progress",
    "tasks": "runs as tasks",
    "watch": "being told of changes",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[ClientsHouse]:
    house = ClientsHouse(tmp_path_factory.mktemp("clients") / "data")
    house.start()
    try:
        house.furnish()
        yield house
    finally:
        house.stop()


@pytest.fixture(scope="module")
def lists() -> dict[str, tuple[str, str]]:
    """What was listed to the first client of the current era, and to which."""
    return {}


@asynccontextmanager
async def driven(client: Client, era: Era, where: dict[str, Any]) -> AsyncGenerator[Driver]:
    """Give the driver of a client; skip the test where the client can't be had."""
    if missing := client.missing():
        pytest.skip(missing)
    if client.program is None:
        async with fastmcp_driver(era, where) as driver:
            yield driver
        return
    # A path of its own and short: the Inspector's daemon has its socket in it.
    private = Path(tempfile.mkdtemp(prefix="client"))
    try:
        async with run_program(client.program, private) as driver:
            yield driver
    finally:
        shutil.rmtree(private, ignore_errors=True)


def documented(client: Client, about: Mapping[str, Any]) -> str:
    """Return what the documentation says of a client that has taken all steps."""
    lacks = "; ".join(LACKS[ability] for ability in ABILITIES if ability not in about["can"])
    return f"| {TITLES[client.name]} | {about['client']} | {about['protocol']} | {lacks} |"


@pytest.mark.parametrize(("client", "era", "transport"), CASES)
async def test_a_client_is_led_through_the_twelve_steps(
    house: ClientsHouse, lists: dict[str, tuple[str, str]], client: Client, era: Era, transport: Transport
) -> None:
    name = f"{client.name} {era} {transport}"
    with anyio.fail_after(SECONDS):
        async with driven(client, era, place(house, transport)) as driver:
            about = (await driver.ask("open", era=era, **place(house, transport)))["result"]
            assert (about["name"], about["protocol"]) == ("upstairs", PROTOCOLS[era])
            ready = {"document": house.document, "title": name, "key": name, "others": OTHERS_RUN}
            script = Script(driver, frozenset(about["can"]), era, ready)
            await script.run()
    row = documented(client, about)
    assert row in (ROOT / "docs" / "clients.md").read_text(encoding="utf-8"), f"docs/clients.md lacks: {row}"
    if era != "legacy":
        listed = canonical(script.kept["listed"])
        first, by = lists.setdefault(era, (listed, name))
        assert listed == first, f"{name} is shown other tools than {by}"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/all"])
@pytest.mark.parametrize(
    ("era", "words"),
    [
        ("legacy", "tools/list --strict"),
        ("modern", "tools/list --strict"),
        ("modern", "skills/list --verify --require-digests"),
    ],
)
async def test_the_inspector_finds_no_fault(house: ClientsHouse, path: str, words: str, era: str) -> None:
    where = place(house, "http", path)
    [(header, value)] = where["headers"].items()
    asked = [where["url"], "--transport", "http", "--header", f"{header}: {value}", "--protocol-era", era]
    with anyio.fail_after(SECONDS):
        async with driven(INSPECTOR, "legacy", where) as driver:
            answer = (await driver.ask("cli", words=[*asked, "--format", "json", "--method", *words.split()]))["result"]
    assert answer["code"] == 0, answer["err"]
    assert '"name":' in answer["out"]
