"""A real llmock server and the referee, both on loopback, and providers that are closed after each test."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest

from providers.base import LoadMedia, Provider, make_provider
from tests.providers.referee import Referee
from tests.providers.wires import BY_NAME, WIRES, Wire

KEY = "test-key"


class LLMock:
    """The llmock server of the session, by its control interface."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx2.Client(base_url=url, timeout=10)

    def script(self, *behaviors: dict[str, Any]) -> None:
        """Queue what the next requests meet."""
        assert self._http.post("/_llmock/scenario", json={"behaviors": list(behaviors)}).status_code == 201

    def reset(self) -> None:
        """Forget the queue and the journal."""
        self._http.post("/_llmock/reset")

    def served(self) -> int:
        """Return how many requests have arrived since the reset."""
        return self._http.get("/_llmock/requests").json()["count"]

    def findings(self) -> list[dict[str, Any]]:
        """Return what the server holds against its client since the reset: the errors of its verdict."""
        verdict = self._http.get("/_llmock/verdict").json()
        return [finding for finding in verdict["findings"] if finding["severity"] == "error"]

    def base_url(self, provider: str) -> str:
        """Return where the SDK of `provider` finds the server."""
        path = BY_NAME[provider].llmock
        assert path is not None, f"llmock does not speak the wire {provider}"
        return self.url + path

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="session")
def llmock_server() -> Iterator[LLMock]:
    """Start `llmock serve` on a port that the system chooses, and stop it at the end."""
    command = [sys.executable, "-m", "llmock.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout
    drain = threading.Thread(target=output.read, daemon=True)
    try:
        found = next(filter(None, (re.search(r"running on (http://127\.0\.0\.1:\d+)", line) for line in output)))
        drain.start()
        server = LLMock(found.group(1))
        yield server
        server.close()
    finally:
        process.terminate()
        process.wait(10)
        if drain.ident is not None:
            drain.join(10)
        output.close()


@pytest.fixture
def mock(llmock_server: LLMock) -> Iterator[LLMock]:
    """The llmock server with nothing queued; in the end its verdict on what the test has done must hold no error."""
    llmock_server.reset()
    yield llmock_server
    assert llmock_server.findings() == []


@pytest.fixture
def referee() -> Iterator[Referee]:
    """A fresh strict server for one conversation."""
    with Referee() as server:
        yield server


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each wire in turn."""
    return request.param


Connect = Callable[..., Provider]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes providers with a key and closes them after the test."""
    made: list[Provider] = []

    def make(name: str, base_url: str | None, load_media: LoadMedia | None = None, timeout_s: float = 5.0) -> Provider:
        made.append(make_provider(name, api_key=KEY, base_url=base_url, load_media=load_media, timeout_s=timeout_s))
        return made[-1]

    yield make
    for provider in made:
        await provider.aclose()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of loopback on which nothing listens: it is bound for the test and never opened."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
