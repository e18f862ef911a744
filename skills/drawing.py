"""Pictures of processes and of how far their runs are, for whoever may see them."""

from collections.abc import Sequence

from engine.errors import Invalid, NotFound
from engine.ports import ForeachProgress
from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.drawing import RunState, mermaid, run_state, sketch_of, svg
from engine.runs import AuditRecord, Run, Task
from engine.values import Principal
from skills.services import Services


async def definition_of(services: Services, principal: Principal, run: Run) -> ProcessDefinition:
    """Return the definition that a run is on now.

    Raises:
        Invalid: the run is none of a process, and no batch of items of one.
        NotFound: the principal may not see the process, or it is no published one.
    """
    if run.kind not in ("process", "batch"):
        raise Invalid(f"run {run.run_id} is a run of kind {run.kind}; only those of processes are drawn")
    address = f"{run.definition}@{run.version}" if run.version else run.definition
    found = await services.definitions.find(principal, address)
    return parse_definition(found.text)


async def definition_or_none(services: Services, principal: Principal, run: Run) -> ProcessDefinition | None:
    """Return the definition of a run where there is one that the principal may see."""
    try:
        return await definition_of(services, principal, run)
    except (Invalid, NotFound):
        return None


def state_of(
    run: Run,
    definition: ProcessDefinition,
    records: Sequence[AuditRecord],
    tasks: Sequence[Task],
    foreaches: Sequence[ForeachProgress] = (),
) -> RunState:
    """Return how far a run is; `tasks` are those that are open, of runs below it too."""
    asked = [task.node for task in tasks if task.run_id == run.run_id and task.status == "open"]
    return run_state(definition, records, status=run.status, position=run.position, asked=asked, foreaches=foreaches)


async def read_state(services: Services, principal: Principal, run: Run, definition: ProcessDefinition) -> RunState:
    """Read how far a run is."""
    records = await services.runs.audit(principal, run.run_id)
    tasks = () if run.finished else await services.runs.tasks(principal, run_id=run.run_id, limit=500)
    return state_of(run, definition, records, tasks, await foreaches_of(services, principal, run))


async def foreaches_of(services: Services, principal: Principal, run: Run) -> Sequence[ForeachProgress]:
    """Return how far the foreaches in batches of a run are; of one that is no process there are none."""
    if run.kind not in ("process", "batch"):
        return ()
    return (await services.runs.foreaches(principal, [run.run_id])).get(run.run_id, ())


def as_mermaid(definition: ProcessDefinition, state: RunState | None = None) -> str:
    """Return a definition as a Mermaid flowchart, with the state of a run on it."""
    found = state or RunState()
    return mermaid(definition, states=found.states, counts=found.counts, taken=found.taken)


def as_svg(definition: ProcessDefinition, state: RunState | None = None, links: dict[str, str] | None = None) -> str:
    """Return a definition as SVG, with the state of a run on it; `links` are where a node leads, by path."""
    found = state or RunState()
    return svg(sketch_of(definition), states=found.states, counts=found.counts, taken=found.taken, links=links)
