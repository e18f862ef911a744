"""What is worked on where: the workflows of the house, its task queues, and how much of a kind at once."""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from engine.agent.workflow import AgentWorkflow
from engine.intake import IntakeWorkflow
from engine.interaction import InteractionWorkflow
from engine.process.batch import BatchWorkflow
from engine.process.workflow import ProcessWorkflow

WORKFLOWS = [AgentWorkflow, ProcessWorkflow, BatchWorkflow, IntakeWorkflow, InteractionWorkflow]

SLOTS: dict[str, int] = {"engine": 100, "tools": 50, "content": 2, "model": 500, "scripts": 2}
"""How many activities of a kind one process carries at once; extraction is CPU work, the others mostly wait. Model
calls only wait, and each account's own limits stand in front of them: one slow provider leaves slots for the others."""


def queues(prefix: str) -> dict[str, str]:
    """Return every queue by name with its kind."""
    return {f"{prefix}.{kind}": kind for kind in SLOTS}


def runner() -> SandboxedWorkflowRunner:
    """Return what workflows run in: forbidden calls are refused, modules are not loaded a second time."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
