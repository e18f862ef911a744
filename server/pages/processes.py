"""The library of processes: the names with labels, one with its versions and runs, and the page of the designer."""

from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from content.versioned import LabelMove, Listed, Version, checked_name
from engine.errors import NotFound
from engine.ports import RunFilter
from engine.runs import Run
from server.mcp.house import House
from server.pages.designer import designer_page
from server.pages.layout import badge, facts, moment, page
from server.pages.markup import Html, element, joined
from server.processes_api import AUTHORS, principal_of

RUNS = 20


def processes_pages(house: House) -> list[Route]:
    """Return the routes of the pages."""
    services = house.services

    async def library(request: Request) -> Response:
        """List the names."""
        principal = principal_of(request)
        found = await services.definitions.list_names(principal)
        author = principal.has_role(*AUTHORS)
        return HTMLResponse(library_page(found, author=author, user=principal.subject))

    async def process(request: Request) -> Response:
        """Show one name with its versions, the moves of its labels and its last runs."""
        principal, name = principal_of(request), checked_name(request.path_params["name"])
        listed = {one.name: one for one in await services.definitions.list_names(principal)}.get(name)
        if listed is None:
            raise NotFound(f"there is no process {name!r}; the list is at /processes")
        versions = await services.definitions.list_versions(principal, name)
        moves = await services.definitions.list_moves(principal, name)
        runs = await services.runs.list(principal, RunFilter(kind="process", definition=name, limit=RUNS))
        return HTMLResponse(process_page(listed, versions, moves, runs, user=principal.subject))

    async def design(request: Request) -> Response:
        """Show the designer; what is in it comes from the API."""
        principal, name = principal_of(request), checked_name(request.path_params["name"])
        return HTMLResponse(designer_page(name, user=principal.subject))

    async def begin(request: Request) -> Response:
        """Lead to the designer of a new name."""
        name = checked_name(request.query_params.get("name", "").strip())
        return RedirectResponse(f"/processes/{name}/design", status_code=303)

    return [
        Route("/processes", library),
        Route("/processes/begin", begin),
        Route("/processes/{name}", process),
        Route("/processes/{name}/design", design),
    ]


def library_page(found: Sequence[Listed], *, author: bool, user: str) -> str:
    """Return the list of names; an author can begin another one."""
    head = element("tr", *(element("th", name) for name in ("Process", "Labels", "Newest version", "Draft", "")))
    rows = [
        element(
            "tr",
            element("td", element("a", one.name, href=f"/processes/{quote(one.name)}")),
            element("td", _labels(one)),
            element("td", one.newest),
            element("td", f"revision {one.draft_revision}" if one.draft_revision else None),
            element("td", element("a", "Open in the designer", href=_design(one.name))),
        )
        for one in found
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    nothing = element("p", "No processes yet.")
    return page("Processes", table if rows else nothing, _begin() if author else None, user=user)


def process_page(
    listed: Listed, versions: Sequence[Version], moves: Sequence[LabelMove], runs: Sequence[Run], *, user: str
) -> str:
    """Return a name with its versions, newest first, the moves of its labels, and its last runs."""
    about = facts(
        [
            ("Labels", _labels(listed)),
            ("Newest version", listed.newest),
            ("Draft", f"revision {listed.draft_revision}" if listed.draft_revision else None),
        ]
    )
    parts = [about, element("p", element("a", "Open in the designer", href=_design(listed.name)))]
    if versions:
        cells = [
            (one.number, moment(one.published_at), one.author, one.publisher, one.comment) for one in reversed(versions)
        ]
        names = ("Version", "Published", "Written by", "Published by", "Notes")
        parts += [element("h2", "Versions"), _table(names, cells)]
    if moves:
        cells = [(one.label, one.from_number, one.to_number, moment(one.at), one.by, one.comment) for one in moves]
        parts += [element("h2", "Labels moved"), _table(("Label", "From", "To", "When", "By", "Notes"), cells[::-1])]
    if runs:
        cells = [
            (
                element("a", run.title or run.definition, href=f"/runs/{quote(run.run_id)}"),
                run.version,
                badge(run.status),
                run.position,
                moment(run.created_at),
            )
            for run in runs
        ]
        parts += [element("h2", "Last runs"), _table(("Run", "Version", "Status", "Where", "Started"), cells)]
    return page(listed.name, *parts, user=user)


def _table(names: Sequence[str], rows: Sequence[Sequence[str | int | None]]) -> Html:
    head = element("tr", *(element("th", name) for name in names))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    return element("table", element("thead", head), element("tbody", *body))


def _labels(one: Listed) -> Html:
    return joined(*(joined(badge(f"{label} → {number}"), " ") for label, number in one.labels.items()))


def _design(name: str) -> str:
    return f"/processes/{quote(name)}/design"


def _begin() -> Html:
    name = element(
        "input", name="name", required=True, maxlength=64, pattern="[a-z][a-z0-9_\\-]*", placeholder="invoice_approval"
    )
    hint = element("small", "small letters, digits, _ and -; it stays the same for good")
    return element(
        "form",
        element("h2", "A new process"),
        element("label", "Name", name, hint),
        element("button", "Design it"),
        method="get",
        action="/processes/begin",
    )
