"""Nodes that have work done by an activity or a child run: `interaction`, `tool` and `agent`."""

from datetime import timedelta
from typing import Any

from pydantic import JsonValue
from temporalio.common import RetryPolicy

from engine.phases import in_words, tools_of
from engine.ports import (
    AgentTask,
    InteractionCall,
    Texts,
    ToolInvocation,
    call_tool,
    render_texts,
    run_interaction,
)
from engine.process.nodes.agent import AgentNode
from engine.process.nodes.interaction import InteractionNode
from engine.process.nodes.tool import ToolNode
from engine.process.run.agents import run_agent
from engine.process.run.calls import attempt, retry_of, timeout_of
from engine.process.run.flow import EXECUTORS, NodeResult
from engine.process.run.frame import Conduct, Frame, NodeFailed
from engine.process.run.results import object_of, writes_of
from engine.process.verify import writes_schema
from engine.values import Budget

NEXT = "_next"


async def run_interaction_node(frame: Frame, node_id: str, node: InteractionNode, step: str) -> NodeResult:
    """Make one validated model call; its result is the declared writes."""
    conduct = frame.conduct
    call = InteractionCall(
        run=conduct.run,
        principal=conduct.principal,
        key=f"step/{step}",
        interaction=node.interaction,
        parameters=frame.evaluate_all(node.input, f"{node_id}.input"),
        result_schema=writes_schema(conduct.definition, node),
        model=node.model or conduct.definition.defaults.model,
        budget=_budget(conduct, node),
    )
    result = await attempt(run_interaction(call, timeout=timeout_of(node, conduct), retry=retry_of(node, conduct)))
    facts: dict[str, JsonValue] = result.model_dump(mode="json", exclude={"output", "spent"})
    return NodeResult(writes=object_of(result.output, node_id), facts={"interaction": facts}, spent=result.spent)


async def run_tool_node(frame: Frame, node_id: str, node: ToolNode, step: str) -> NodeResult:
    """Call a tool once; the key of the call is the same for every attempt, and an unknown outcome is never repeated."""
    conduct = frame.conduct
    invocation = ToolInvocation(
        run=conduct.run,
        principal=conduct.principal,
        key=f"{conduct.run.run_id}/{step}",
        tool=node.tool,
        arguments=frame.evaluate_all(node.input, f"{node_id}.input"),
        node=node_id,
    )
    limit = timeout_of(node, conduct)
    # A crash of the worker ends the attempt; the next one finds the intent and decides whether it may call again.
    outcome = await attempt(
        call_tool(
            invocation,
            timeout=limit,
            retry=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5),
        )
    )
    if outcome.outcome == "unknown":
        raise NodeFailed("outcome_unknown", outcome.text or f"{node.tool} was interrupted and is not repeated")
    if outcome.outcome == "error":
        raise NodeFailed("tool_error", outcome.text)
    facts: dict[str, JsonValue] = {"tool": node.tool, "key": invocation.key, "artifact": outcome.artifact}
    return NodeResult(writes=writes_of(tuple(node.writes), outcome.value, node_id), facts=facts)


async def run_agent_node(frame: Frame, node_id: str, node: AgentNode, step: str) -> NodeResult:
    """Run a bounded agent as a child run; it returns one object of the declared writes and, if asked, its route."""
    conduct = frame.conduct
    targets = [transition.to for transition in node.next if transition.trigger == "agent"]
    schema = _agent_schema(conduct, node, targets)
    inputs = frame.evaluate_all(node.input, f"{node_id}.input")
    seen = {**frame.seen(node.reads), **inputs}
    rendered = await render_texts(Texts(texts={"instructions": node.instructions}, data=seen))
    task = AgentTask(
        task=rendered.texts["instructions"],
        facts=inputs,
        # A bounded agent has what its node names; by default no skill, and the core tools that only read.
        skills=node.skills or (),
        tools=tools_of(node.policy) if node.policy else node.tools,
        instructions=in_words(node.policy) if node.policy else "",
        phases=node.policy,
        exclude_tools=node.exclude_tools,
        model=node.model or conduct.definition.defaults.model,
        output_schema=schema,
        approval="ask",
    )
    done = await run_agent(
        conduct, (step,), node_id=node_id, title=node.title or node_id, task=task, budget=_budget(conduct, node)
    )
    value = object_of(done.value, node_id)
    chosen = value.pop(NEXT, None)
    facts: dict[str, JsonValue] = {"agent_run": done.run_id}
    return NodeResult(writes=value, facts=facts, spent=done.spent, chosen=chosen if isinstance(chosen, str) else None)


def _agent_schema(conduct: Conduct, node: AgentNode, targets: list[str]) -> dict[str, Any]:
    schema = writes_schema(conduct.definition, node)
    if not targets:
        return schema
    properties = {**schema["properties"], NEXT: {"type": "string", "enum": targets}}
    return {**schema, "properties": properties, "required": [*schema.get("required", []), NEXT]}


def _budget(conduct: Conduct, node: InteractionNode | AgentNode) -> Budget:
    return node.budget or conduct.definition.defaults.budget or Budget()


EXECUTORS["interaction"] = run_interaction_node
EXECUTORS["tool"] = run_tool_node
EXECUTORS["agent"] = run_agent_node
