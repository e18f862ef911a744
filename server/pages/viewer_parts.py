"""The parts of a run's page that change while it runs: where it stands, drawing, tasks, steering, why, and whereof."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import JsonValue

from engine.ports import ForeachProgress
from engine.process.definition import ProcessDefinition
from engine.process.drawing import RunState, sketch_of
from engine.process.drawing.sketch import Sketch
from engine.process.provenance import Write, provenance
from engine.process.rewind import standing
from engine.runs import Artifact, AuditRecord, Run, Task
from engine.values import Principal
from server.pages.inbox import task_card
from server.pages.layout import badge, facts, moment
from server.pages.markup import Html, element, joined
from server.pages.runs import cost, shown
from server.pages.viewer_audit import timeline
from server.pages.viewer_steering import steering
from skills.drawing import as_svg
from skills.tasks import may_answer, progress

SHORT = 300
"""How many characters of a value stand in a table; the rest unfolds."""


@dataclass(frozen=True)
class RunSight:
    """What a viewer may see of a run. `tasks` are the open ones, of runs below it too; `state` goes with a drawing."""

    viewer: Principal
    run: Run
    tasks: Sequence[Task]
    records: Sequence[AuditRecord]
    children: Sequence[Run]
    artifacts: Sequence[Artifact]
    foreaches: Sequence[ForeachProgress] = ()
    definition: ProcessDefinition | None = None
    state: RunState | None = None


def live_parts(sight: RunSight) -> Html:
    """Return the parts, each with an id: what has not changed is left as it is on a page that is open."""
    return joined(
        _about(sight.run, sight.foreaches),
        _tasks(sight),
        _drawing(sight),
        _outcome(sight),
        steering(sight.viewer, sight.run, sight.definition, sight.state, sight.records),
        _children(sight.children),
        _context(sight.run, sight.records),
        timeline(sight.run, sight.records),
    )


def _about(run: Run, foreaches: Sequence[ForeachProgress]) -> Html:
    parent = element("a", run.parent_id, href=f"/runs/{quote(run.parent_id)}") if run.parent_id else None
    before = element("a", run.continues, href=f"/runs/{quote(run.continues)}") if run.continues else None
    rows = facts(
        [
            ("Run", run.run_id),
            ("Kind", run.kind),
            ("Definition", f"{run.definition}@{run.version}" if run.version else run.definition),
            ("Started by", run.principal.subject),
            ("Started", moment(run.created_at)),
            ("Ended", moment(run.finished_at)),
            ("Where", element("span", run.position, id="position")),
            ("Waits for", run.waits_for),
            ("Items", "; ".join(f"{one.step}: {one.in_words()}" for one in foreaches)),
            ("Turns", run.spent.turns or None),
            ("Cost", cost(run)),
            ("Parent", parent),
            ("Goes on from", before),
        ]
    )
    state = element("p", badge(run.status), id="status", role="status")
    return element("section", state, rows, id="about", aria_label="Where it stands")


def _tasks(sight: RunSight) -> Html:
    cards = [_task(sight, task) for task in sight.tasks]
    heading = element("h2", "To decide") if cards else None
    return element("section", heading, *cards, id="tasks", aria_label="To decide")


def _task(sight: RunSight, task: Task) -> Html:
    name = f"task-{task.task_id}"
    if may_answer(sight.viewer, task):
        return element("div", task_card(task, back=f"/runs/{quote(sight.run.run_id)}"), id=name)
    about = facts(
        [
            ("For", task.seat.in_words()),
            ("Since", moment(task.created_at)),
            ("Until", moment(task.deadline)),
            ("Agreement", progress(task)),
            ("Claimed by", task.claimed_by),
        ]
    )
    heading = element("h2", element("a", task.title, href=f"/inbox/{quote(task.task_id)}"))
    return element("div", element("section", heading, about, class_="task"), id=name)


def _drawing(sight: RunSight) -> Html | None:
    if sight.definition is None or sight.state is None:
        return None
    links: dict[str, str] = {}
    for record in sight.records:
        if record.node:
            links |= {path: f"#record-{record.seq}" for path in sight.state.states if _is_of(path, record.node)}
    picture = Html(as_svg(sight.definition, sight.state, links))
    canvas = element("div", picture, id="canvas", role="region", aria_label="Drawing", tabindex=0)
    place = f"/runs/{quote(sight.run.run_id)}/drawing.svg"
    table = element("details", element("summary", "As a list"), _nodes(sight.definition, sight.state), id="nodes")
    alone = element("p", element("a", "The drawing alone", href=place), class_="aside")
    return element("section", element("h2", "Drawing"), canvas, table, alone, id="drawing", aria_label="Drawing")


def _is_of(path: str, node: str) -> bool:
    return path.rpartition("/")[2] == node


def _nodes(definition: ProcessDefinition, state: RunState) -> Html:
    head = element("tr", *(element("th", name, scope="col") for name in ("Node", "State", "Progress", "Visits")))
    rows = [
        element(
            "tr",
            element("td", name),
            element("td", state.states.get(path, "not reached")),
            element("td", state.counts.get(path)),
            element("td", state.visits.get(path, 0)),
        )
        for path, name in _named(sketch_of(definition), "")
    ]
    return element("table", element("thead", head), element("tbody", *rows))


def _named(sketch: Sketch, above: str) -> Iterator[tuple[str, str]]:
    """Yield path and name of every node, with the names of those around it."""
    for shape in sketch.shapes:
        yield shape.path, f"{above}{shape.name}"
        for box in shape.boxes:
            yield from _named(box.sketch, f"{above}{shape.name} / {box.title} / ")


def _outcome(sight: RunSight) -> Html:
    run = sight.run
    parts: list[Html] = []
    if run.error:
        parts.append(element("p", run.error, role="alert"))
    if run.result is not None:
        parts += [element("h2", "Result"), element("pre", shown(run.result))]
    if sight.artifacts:
        items = [
            element("li", f"{artifact.path} ({artifact.mime}, {artifact.size:,} bytes, version {artifact.version})")
            for artifact in sight.artifacts
        ]
        parts += [element("h2", "Artifacts"), element("ul", *items)]
    summary = element("summary", element("h2", "Input"))
    parts.append(element("details", summary, element("pre", shown(run.input)), id="input"))
    return element("section", *parts, id="outcome", aria_label="Result and input")


def _children(children: Sequence[Run]) -> Html | None:
    if not children:
        return None
    head = element(
        "tr", *(element("th", name, scope="col") for name in ("Run", "Kind", "Status", "Waits for", "Turns", "Cost"))
    )
    rows = [
        element(
            "tr",
            element("td", element("a", child.title or child.definition, href=f"/runs/{quote(child.run_id)}")),
            element("td", child.kind),
            element("td", badge(child.status)),
            element("td", child.waits_for),
            element("td", child.spent.turns or ""),
            element("td", cost(child)),
        )
        for child in children
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("section", element("h2", "Runs below it"), table, id="children", aria_label="Runs below it")


def _context(run: Run, records: Sequence[AuditRecord]) -> Html | None:
    context = standing(records).context if run.kind == "process" else {}
    if not context:
        return None
    head = element("tr", *(element("th", name, scope="col") for name in ("Key", "Value", "Comes from")))
    rows = [_key(key, value, provenance(records, key)) for key, value in context.items()]
    table = element("table", element("thead", head), element("tbody", *rows))
    summary = element("summary", element("h2", "Context"))
    return element("section", element("details", summary, table, id="keys"), id="context", aria_label="Context")


def _key(key: str, value: JsonValue, writes: Sequence[Write]) -> Html:
    text = shown(value)
    whole: Html | str = element("code", text)
    if len(text) > SHORT:
        summary = element("summary", element("code", f"{text[:SHORT]}…"))
        whole = element("details", summary, element("pre", text), id=f"key-{key}")
    made = [write for write in writes if not write.scope]
    origin = element("ul", *(element("li", _origin(write)) for write in made[-5:]))
    return element("tr", element("th", key, scope="row"), element("td", whole), element("td", origin))


def _origin(write: Write) -> Html:
    """Return who or what made a change: node and attempt, person, prompt, model, tool, run below, cost."""
    who = write.node or write.action
    again = f" (attempt {write.attempt})" if write.attempt > 1 else ""
    said = [
        f"by {write.by or write.actor}" if write.by or not write.node else "",
        f"prompt {write.prompt}" if write.prompt else "",
        f"model {write.model}" if write.model else "",
        f"tool {write.tool}" if write.tool else "",
        f"${write.usd:.4f}" if write.usd else "",
    ]
    link = element("a", f"{who}{again}", href=f"#record-{write.seq}")
    below = joined(", run ", element("a", write.run, href=f"/runs/{quote(write.run)}")) if write.run else None
    rest = ", ".join(filter(None, said))
    return joined(link, f", {rest}" if rest else "", below)
