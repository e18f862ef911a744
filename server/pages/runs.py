"""The list of runs, and one run with its events."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from pydantic import JsonValue

from engine.ports import RunFilter
from engine.runs import Artifact, Event, Run, Task
from server.pages.inbox import task_card
from server.pages.layout import badge, facts, moment, page
from server.pages.markup import Html, element

STATUSES = ("starting", "running", "waiting", "paused", "completed", "failed", "cancelled")
SHOWN = 20_000
"""How many characters of one value a page shows; the whole stands in `run://{id}`."""


def runs_page(runs: Sequence[Run], wanted: RunFilter, *, user: str) -> str:
    """Return a page of the list, newest first, with a link to the older ones."""
    choices = [
        element(
            "a",
            status or "all",
            href=f"/runs?status={status}" if status else "/runs",
            aria_current="page" if (status or None) == wanted.status else None,
        )
        for status in ("", *STATUSES)
    ]
    head = element("tr", *(element("th", name) for name in ("Run", "Kind", "Status", "Where", "Started", "Cost")))
    rows = [
        element(
            "tr",
            element("td", element("a", run.title or run.definition, href=f"/runs/{quote(run.run_id)}")),
            element("td", run.kind),
            element("td", badge(run.status)),
            element("td", run.position),
            element("td", moment(run.created_at)),
            element("td", _cost(run)),
        )
        for run in runs
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    nothing = element("p", "No runs here yet. Start one from your MCP client with start_agent or start_process.")
    older = None
    if len(runs) == wanted.limit:
        query = {"after": runs[-1].run_id} | ({"status": wanted.status} if wanted.status else {})
        older = element("p", element("a", "Older runs", href=f"/runs?{urlencode(query)}"))
    return page("Runs", element("nav", *choices, class_="filter"), table if runs else nothing, older, user=user)


def run_page(
    run: Run, events: Sequence[Event], tasks: Sequence[Task], artifacts: Sequence[Artifact], *, user: str
) -> str:
    """Return the page of a run with its last events; the module appends what happens from the last one on."""
    about = facts(
        [
            ("Run", run.run_id),
            ("Kind", run.kind),
            ("Definition", f"{run.definition}@{run.version}" if run.version else run.definition),
            ("Started by", run.principal.subject),
            ("Started", moment(run.created_at)),
            ("Ended", moment(run.finished_at)),
            ("Where", element("span", run.position, id="position")),
            ("Waits for", run.waits_for),
            ("Turns", run.spent.turns or None),
            ("Cost", _cost(run)),
            ("Parent", element("a", run.parent_id, href=f"/runs/{quote(run.parent_id)}") if run.parent_id else None),
        ]
    )
    last = events[-1].seq if events else 0
    log = element(
        "ol",
        *(event_item(event) for event in events),
        id="events",
        data_stream=None if run.finished else f"/runs/{quote(run.run_id)}/events?after={last}",
    )
    parts: list[Html] = [element("p", badge(run.status), id="status"), about]
    parts += [task_card(task, back=f"/runs/{quote(run.run_id)}") for task in tasks]
    if run.error:
        parts.append(element("p", run.error, role="alert"))
    if run.result is not None:
        parts += [element("h2", "Result"), element("pre", shown(run.result))]
    if artifacts:
        items = [
            element("li", f"{artifact.path} ({artifact.mime}, {artifact.size:,} bytes, version {artifact.version})")
            for artifact in artifacts
        ]
        parts += [element("h2", "Artifacts"), element("ul", *items)]
    parts += [element("h2", "Input"), element("pre", shown(run.input)), element("h2", "Events")]
    if events and events[0].seq > 1:
        parts.append(element("p", f"{events[0].seq - 1:,} earlier ones: run://{run.run_id}/events"))
    parts += [log, element("pre", id="live", aria_live="polite", hidden=True)]
    return page(run.title or run.definition, *parts, user=user, script=not run.finished)


def event_item(event: Event) -> Html:
    """Return one event as a line with its data folded away; the module renders the same shape."""
    line = element("summary", element("b", event.seq), " ", element("code", event.type), " ", moment(event.at))
    return element("li", element("details", line, element("pre", shown(event.data))))


def shown(value: JsonValue) -> str:
    """Return a value as indented JSON, or a text as it is, cut at a length a page can hold."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n… {len(text) - SHOWN:,} more characters"


def _cost(run: Run) -> str:
    if not run.spent.turns:
        return ""
    unpriced = f" + {run.spent.unpriced_turns} unpriced" if run.spent.unpriced_turns else ""
    return f"${run.spent.usd:.4f}{unpriced}"
