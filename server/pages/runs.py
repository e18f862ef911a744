"""The list of runs, and what the page of a run shows in the same shape."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from pydantic import JsonValue

from engine.ports import RunFilter
from engine.runs import Event, Run
from server.pages.layout import badge, moment, page
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
            element("td", cost(run)),
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


def event_item(event: Event) -> Html:
    """Return one event as a line with its data folded away; the module renders the same shape."""
    line = element("summary", element("b", event.seq), " ", element("code", event.type), " ", moment(event.at))
    return element("li", element("details", line, element("pre", shown(event.data))))


def shown(value: JsonValue) -> str:
    """Return a value as indented JSON, or a text as it is, cut at a length a page can hold."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n… {len(text) - SHOWN:,} more characters"


def cost(run: Run) -> str:
    """Return what a run has cost, as text; empty before its first turn."""
    if not run.spent.turns:
        return ""
    unpriced = f" + {run.spent.unpriced_turns} unpriced" if run.spent.unpriced_turns else ""
    return f"${run.spent.usd:.4f}{unpriced}"
