"""The activities that take a version of a document in."""

from typing import Literal

from engine.ports.base import Activity
from engine.runs import (
    RunRef,
)
from engine.values import Principal, Value


class IntakeTask(Value):
    """What an intake run works on; it is the run's `input`."""

    object_id: str
    version: int


class IntakeStep(Value):
    """One step of an intake; what it makes stays in the store."""

    run: RunRef
    principal: Principal
    task: IntakeTask


class IntakeReport(Value):
    """What a step found: pages, passages, and why a version needs review or was rejected, if so."""

    state: Literal["processing", "ready", "needs_review", "rejected"]
    pages: int = 0
    blocks: int = 0
    passages: int = 0
    reasons: tuple[str, ...] = ()


extract_version = Activity("extract_version", IntakeStep, IntakeReport, queue="content")
index_version = Activity("index_version", IntakeStep, IntakeReport, queue="content")
