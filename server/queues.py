"""What is worked on where: the workflows of the house, its task queues, and how much of a kind at once."""

from engine.agent.workflow import AgentWorkflow
from engine.intake import IntakeWorkflow
from engine.interaction import InteractionWorkflow
from engine.process.workflow import ProcessWorkflow
from providers.base import provider_names

WORKFLOWS = [AgentWorkflow, ProcessWorkflow, IntakeWorkflow, InteractionWorkflow]

SLOTS: dict[str, int] = {"engine": 100, "tools": 50, "content": 2, "model": 50}
"""How many activities of a kind one process carries at once; extraction is CPU work, the others mostly wait."""


def queues(prefix: str) -> dict[str, str]:
    """Return every queue by name with its kind: one per kind, and one per provider for model calls."""
    plain = {f"{prefix}.{kind}": kind for kind in SLOTS}
    return {**plain, **{f"{prefix}.model.{provider}": "model" for provider in provider_names()}}
