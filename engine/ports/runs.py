"""What every run needs of its activities."""

from pydantic import JsonValue

from engine.ports.base import Activity
from engine.runs import (
    Change,
    Recorded,
    Run,
    RunRef,
    StartRun,
)
from engine.values import Principal, Value


class Texts(Value):
    """Handlebars templates by name with the data they see, or the rendered texts by the same names."""

    texts: dict[str, str]
    data: dict[str, JsonValue] = {}


class ChildStart(Value):
    """A child run to be created by its parent: `run_id` is derived by the workflow, so a repeat finds the same row."""

    parent: RunRef
    principal: Principal
    run_id: str
    start: StartRun


load_run = Activity("load_run", RunRef, Run)
apply_change = Activity("apply_change", Change, Recorded)
create_child = Activity("create_child", ChildStart, RunRef)
render_texts = Activity("render_texts", Texts, Texts)
