"""A real model with a real prefix cache: learning a skill keeps it, a longer list of tools loses it.

`deploy/peers.sh --cache` installs the model (130 MB), `REAL_MODEL_FOR_TESTS=1 make test` does so by itself; without it
this is skipped. What is compared are the cached tokens that the server reports, never times.
"""

from collections.abc import Generator

import anyio
import pytest

from benchmarks.providers_cache import PYTHON, WIRES, measure, real_model

pytestmark = pytest.mark.anyio

TURNS = 3
"""Short, for the sake of the processor: a prompt of 900 tokens."""


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    if not PYTHON.exists():
        pytest.skip("the real model is not installed; deploy/peers.sh --cache installs it")
    with real_model() as address:
        yield address


@pytest.mark.parametrize("wire", WIRES)
async def test_learning_a_skill_keeps_what_a_real_cache_holds_and_listing_its_tool_does_not(url: str, wire: str):
    with anyio.fail_after(300):
        learned = await measure(url, wire, "learned", TURNS)
        listed = await measure(url, wire, "listed", TURNS)
    assert learned.prompt > learned.before > 800
    assert learned.read >= 0.95 * learned.before
    assert listed.read <= 0.4 * listed.before
