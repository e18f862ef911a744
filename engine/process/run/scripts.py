"""The `script` node: sandboxed Python over its input; the same input always gives the same result."""

from datetime import timedelta

from pydantic import JsonValue
from temporalio.common import RetryPolicy

from engine import stage
from engine.ports import run_script
from engine.process.definition import parse_duration
from engine.process.messages import ScriptOrder
from engine.process.nodes.script import ScriptNode
from engine.process.run.calls import attempt
from engine.process.run.flow import EXECUTORS, NodeResult
from engine.process.run.frame import Frame, NodeFailed
from engine.process.run.results import object_of

DEFAULT_SECONDS = 5.0
MAX_SECONDS = 60.0
"""How long a script may compute: its `timeout`, up to this."""


async def run_script_node(frame: Frame, node_id: str, node: ScriptNode, step: str) -> NodeResult:
    """Run the code once; its last value is an object that has the keys of `writes`.

    Its clock stands at the moment the step began and its chance is seeded by the step, so that what it gives depends on
    nothing but the run.
    """
    conduct = frame.conduct
    asked = parse_duration(node.timeout) / timedelta(seconds=1) if node.timeout else DEFAULT_SECONDS
    order = ScriptOrder(
        run=conduct.run,
        principal=conduct.principal,
        name=node_id,
        code=node.code,
        input=frame.evaluate_all(node.input, f"{node_id}.input"),
        seed=f"{conduct.run.workflow_id}/{step}",
        at=stage.now(),
        seconds=min(asked, MAX_SECONDS),
    )
    # Nothing a script does can be told from its first try: only a lost worker is a reason for another.
    again = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
    done = await attempt(run_script(order, timeout=timedelta(seconds=order.seconds + 60), retry=again))
    facts: dict[str, JsonValue] = {"printed": done.printed, "seconds": done.seconds}
    if not node.writes:
        return NodeResult(facts=facts)
    value = object_of(done.value, node_id)
    missing = [key for key in node.writes if key not in value]
    if missing:
        raise NodeFailed("invalid_output", f"the last value of {node_id} lacks {', '.join(missing)}")
    return NodeResult(writes=value, facts=facts)


EXECUTORS["script"] = run_script_node
