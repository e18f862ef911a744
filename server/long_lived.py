"""What processes that live long have in common: their event loop, and how rarely they are held up for garbage."""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

Found = TypeVar("Found")

YOUNG, OLDER, OLDEST = 20_000, 20, 20
"""How much is made until the collector looks through what is new, and how often it does before it looks at what is
older: thirty times as much as by default, for a stream of a model makes that in a moment and leaves little behind."""


def run(main: Coroutine[Any, Any, Found]) -> Found:
    """Run a process's coroutine to its end, as `asyncio.run` does."""
    gc.set_threshold(YOUNG, OLDER, OLDEST)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop: uvloop, whose sockets cost half; it does not exist for Windows."""
    if sys.platform == "win32":
        return None
    import uvloop  # a tenth of a second, which the bridge and short commands need not take

    return uvloop.new_event_loop


@contextmanager
def loading() -> Generator[None]:
    """Keep the garbage collector off what the block makes, for good: modules, models and tables stay until the end.

    A collection that goes through all of them holds every stream of the process up for a fifth of a second.
    """
    known, enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Where nothing was imported there is nothing that stays.
        if len(sys.modules) > known:
            gc.freeze()
        if enabled:
            gc.enable()
