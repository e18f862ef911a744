"""pydantic-ai on Temporal as a peer of the loop, in an environment of its own: its durable agent, as its guide has it.

`main`, imported because workflows are found by the name of their module, is given address and namespace. It answers
each line `{"turns"}` on its standard input with a line `{"ms", "cpu_ms", "events", "bytes", "histories", "failed"}`:
milliseconds from each call of the tool to the next, CPU of this process, and what its histories hold.
"""

# pyright: basic, reportMissingImports=false

import asyncio
import json
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.durable_exec.temporal import PydanticAIPlugin, PydanticAIWorkflow, TemporalDurability
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import UsageLimits
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from benchmarks.figures import gaps_ms, mark, take_marks

QUEUE = "loop-pydantic-ai"
RESULT_CHARS = 1_000


def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call the tool, each time with another argument, as often as the task says; then answer."""
    made = sum(isinstance(message, ModelResponse) for message in messages)
    asked = next(part.content for part in messages[0].parts if part.part_kind == "user-prompt")
    if made < int(str(asked)):
        given = {"number": made, "size": RESULT_CHARS}
        return ModelResponse(parts=[ToolCallPart("look", given, tool_call_id=f"call_{made}")])
    return ModelResponse(parts=[TextPart("done")])


@dataclass
class Talk:
    """A conversation to hold, and what was said of it in earlier histories."""

    turns: int
    messages: list[ModelMessage] = field(default_factory=list)


def go_on(context: Any) -> None:
    """Go on in a new history when Temporal suggests it, with all messages."""
    turns = workflow.memo_value("turns", type_hint=int)
    workflow.continue_as_new(Talk(turns, list(context.messages)))


agent = Agent(
    FunctionModel(answer),
    name="loop",
    instructions="You look at what you are told to.",
    capabilities=[TemporalDurability(continue_as_new=go_on)],
)


@agent.tool_plain
async def look(number: int, size: int) -> str:
    """Answer with a text of `size` characters."""
    mark()
    return f"{number:>{size}}"


@workflow.defn
class Loop(PydanticAIWorkflow):
    """One run of the agent."""

    __pydantic_ai_agents__ = [agent]

    @workflow.run
    async def run(self, talk: Talk) -> str:
        """Hold the conversation."""
        prompt = None if talk.messages else str(talk.turns)
        limits = UsageLimits(request_limit=None)
        return (await agent.run(prompt, message_history=talk.messages or None, usage_limits=limits)).output


async def hold(client: Client, number: int, turns: int) -> dict[str, Any]:
    """Hold a conversation and tell what it took."""
    take_marks()
    began = time.process_time()
    name = f"{QUEUE}-{os.getpid()}-{number}"
    failed = ""
    handle = await client.start_workflow(Loop.run, Talk(turns), id=name, task_queue=QUEUE, memo={"turns": turns})
    try:
        await handle.result()
    except WorkflowFailureError as error:
        failed = str(error.cause)
    cpu = time.process_time() - began
    events = size = histories = 0
    run_id: str | None = handle.first_execution_run_id
    while run_id:
        handle = client.get_workflow_handle(name, run_id=run_id)
        info = (await handle.describe()).raw_description.workflow_execution_info
        histories, events, size = histories + 1, events + info.history_length, size + info.history_size_bytes
        last = [event async for event in handle.fetch_history_events(skip_archival=True)][-1]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    told = {"events": events, "bytes": size, "histories": histories, "failed": failed}
    return {"ms": gaps_ms(take_marks()), "cpu_ms": cpu * 1000, **told}


async def serve(address: str, namespace: str) -> None:
    """Do as the lines of standard input tell, until it ends."""
    logging.disable(logging.ERROR)
    client = await Client.connect(address, namespace=namespace, plugins=[PydanticAIPlugin()])
    runner = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
    async with Worker(client, task_queue=QUEUE, workflows=[Loop], workflow_runner=runner):
        number = 0
        while line := await asyncio.to_thread(sys.stdin.readline):
            told: dict[str, Any] = json.loads(line)
            number += 1
            print(json.dumps(await hold(client, number, told["turns"])), flush=True)


def main() -> None:
    asyncio.run(serve(*sys.argv[1:3]))
