"""The peer: plain Temporal workflows that do the same with nothing around it, as one would write them by hand.

The queues are laid out as ours: workflows and short activities on `<prefix>.engine`, tools and model calls each on a
queue of their own beside it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from benchmarks.figures import mark
from engine.ports import sibling_queue
from engine.values import Empty, Value

TIMEOUT = timedelta(seconds=30)
CALL_CHARS = 80
"""About what a scripted call of the tool takes as text."""


class Step(Value):
    """A small message, as an activity takes and gives it."""

    number: int


class Steps(Value):
    """Activities to run one after the other, by the kind of their queue."""

    kinds: tuple[str, ...]


class Said(Value):
    """One message of a transcript."""

    role: str
    text: str


class Transcript(Value):
    """A whole conversation, as a workflow carries it that keeps messages by value."""

    messages: tuple[Said, ...]


class Talk(Value):
    """A conversation to hold: so many turns, each with one answer of a tool of `size` characters."""

    turns: int
    size: int


@activity.defn
async def bare_step(step: Step) -> Step:
    """Do nothing."""
    return step


@activity.defn
async def bare_work(step: Step) -> Step:
    """Do nothing, and note the moment."""
    mark()
    return step


@activity.defn
async def bare_model(transcript: Transcript) -> Said:
    """Answer a conversation with a call."""
    return Said(role="assistant", text=f"{len(transcript.messages):>{CALL_CHARS}}")


@activity.defn
async def bare_tool(talk: Talk) -> Said:
    """Answer a call with a text."""
    mark()
    return Said(role="tool", text=f"{talk.turns:>{talk.size}}")


@workflow.defn
class BareSteps:
    """Runs activities in sequence."""

    @workflow.run
    async def run(self, steps: Steps) -> Empty:
        """Run each; those on the tools' queue note the moment."""
        for number, kind in enumerate(steps.kinds):
            await _step(number, kind)
        return Empty()


@workflow.defn
class BareDecision:
    """Waits for a person after one activity, and runs another one then."""

    def __init__(self) -> None:
        """Start undecided."""
        self._decided = False

    @workflow.run
    async def run(self, start: Empty) -> Empty:
        """Ask, wait, act."""
        await _step(0, "engine")
        await workflow.wait_condition(lambda: self._decided)
        await _step(1, "tools")
        return Empty()

    @workflow.signal
    def decide(self, answer: Step) -> None:
        """Take the decision as a signal."""
        self._decided = True

    @workflow.update
    async def answer(self, answer: Step) -> Empty:
        """Take the decision as an update."""
        self._decided = True
        return Empty()


@workflow.defn
class BareTalk:
    """An agent loop that carries its messages by value."""

    @workflow.run
    async def run(self, talk: Talk) -> Empty:
        """Turn after turn: the whole conversation to the model, its call to the tool, both back into the list."""
        said = [Said(role="user", text="begin")]
        for turn in range(talk.turns):
            answer: Said = await workflow.execute_activity(
                bare_model,
                Transcript(messages=tuple(said)),
                task_queue=sibling_queue("model"),
                start_to_close_timeout=TIMEOUT,
            )
            order = talk.model_copy(update={"turns": turn})
            result: Said = await workflow.execute_activity(
                bare_tool, order, task_queue=sibling_queue("tools"), start_to_close_timeout=TIMEOUT
            )
            said += [answer, result]
        return Empty()


async def _step(number: int, kind: str) -> Step:
    work = bare_work if kind == "tools" else bare_step
    return await workflow.execute_activity(
        work, Step(number=number), task_queue=sibling_queue(kind), start_to_close_timeout=TIMEOUT
    )


@asynccontextmanager
async def bare_workers(client: Client, prefix: str) -> AsyncGenerator[None]:
    """Run the workers of the peer while the block runs: three queues, as ours has them for the same work."""
    activities: Sequence[Callable[[Any], Awaitable[Any]]] = [bare_step, bare_work, bare_model, bare_tool]
    async with AsyncExitStack() as stack:
        for kind in ("engine", "tools", "model"):
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=f"{prefix}.{kind}",
                    workflows=[BareSteps, BareDecision, BareTalk] if kind == "engine" else [],
                    activities=activities,
                    workflow_runner=SandboxedWorkflowRunner(
                        restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
                    ),
                    graceful_shutdown_timeout=timedelta(seconds=2),
                )
            )
        yield
