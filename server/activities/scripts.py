"""The activity of script nodes: code that nobody vouches for, in the sandbox."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio

from engine.ports import run_script
from engine.process.messages import ScriptDone, ScriptOrder
from server.activities.guard import implements

if TYPE_CHECKING:
    from skills.sandbox import Sandbox


class Scripts:
    """The sandbox of this process, loaded and opened with the first script: whoever runs none starts no interpreter."""

    def __init__(self) -> None:
        """Begin without one."""
        self._stack = AsyncExitStack()
        self._sandbox: Sandbox | None = None
        self._opening = anyio.Lock()

    async def sandbox(self) -> "Sandbox":
        """Return the sandbox, opened once."""
        async with self._opening:
            if self._sandbox is None:
                opened: AbstractAsyncContextManager[Sandbox] = import_module("skills.sandbox").open_sandbox()
                self._sandbox = await self._stack.enter_async_context(opened)
            return self._sandbox

    async def close(self) -> None:
        """End the interpreters."""
        await self._stack.aclose()


def script_activities(scripts: Scripts) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the sandbox."""

    @implements(run_script)
    async def run(order: ScriptOrder) -> ScriptDone:
        sandbox = await scripts.sandbox()
        began = time.monotonic()
        ran = await sandbox.run(
            order.code, order.input, name=order.name, seconds=order.seconds, seed=order.seed, at=order.at
        )
        return ScriptDone(value=ran.value, printed=ran.printed, seconds=round(time.monotonic() - began, 3))

    return [run]
