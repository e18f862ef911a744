"""The HTTP application: MCP at `/mcp`, the pages, the event streams, and the guard in front of all of them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl

from mcp.server.lowlevel import Server
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from engine.errors import Invalid, Problem
from engine.ports import RunFilter, TaskAnswer
from engine.values import Principal
from server.door import Door
from server.events import STREAM_HEADERS, cursor_of, event_stream
from server.guard import MCP_PATH, STATUS_OF, Guard, refused
from server.library_api import library_routes
from server.mcp.endpoint import Endpoint
from server.mcp.house import PRINCIPAL, House, Session
from server.mcp.surface import make_mcp_server
from server.pages.capacity import capacity_page
from server.pages.inbox import inbox_page, read_values, task_page
from server.pages.processes import processes_pages
from server.pages.runs import runs_page
from server.pages.viewer import viewer_pages
from server.processes_api import processes_routes

STATIC = Path(__file__).parent / "pages" / "static"
RUNS = 50


def make_app(house: House, *, server: Server[Session] | None = None) -> Starlette:
    """Return the application of `house`; `server` is the MCP server to serve, made here when None.

    Its lifespan runs the transport's sessions. `app.state.door` is the `Door`: `door.link("/runs")` gives the path of
    a link that lets a browser in once.
    """
    door = Door(house.token, house.local_user, house.settings)
    limits = house.settings.limits
    short = Endpoint(make_mcp_server(house) if server is None else server, house)
    flat = Endpoint(make_mcp_server(house, flat=True), house)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with short.run(), flat.run():
            yield

    pages = Pages(house, door)
    app = Starlette(
        routes=[
            Route("/", pages.start),
            Route("/health", pages.health),
            Route("/link", pages.link, methods=["POST"]),
            Route("/runs", pages.runs),
            Route("/runs/{run_id}/events", pages.events),
            Route("/capacity", pages.capacity),
            Route("/inbox", pages.inbox),
            Route("/inbox/{task_id}", pages.task, methods=["GET"]),
            Route("/inbox/{task_id}", pages.answer, methods=["POST"]),
            *library_routes(house),
            *viewer_pages(house),
            *processes_pages(house),
            *processes_routes(house),
            Route(MCP_PATH, short),
            Route(f"{MCP_PATH}/all", flat),
            Route(f"{MCP_PATH}/s/{{skill}}", flat),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, door=door, limits=limits)],
        exception_handlers={Problem: _problem, HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.state.door = door
    return app


def _problem(request: Request, error: Exception) -> Response:
    problem = cast(Problem, error)
    return refused(request.scope, STATUS_OF.get(type(problem), 400), problem.message)


def _http_error(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    answer = refused(
        request.scope, found.status_code, "There is no such page." if found.status_code == 404 else found.detail
    )
    answer.headers.update(found.headers or {})
    return answer


class Pages:
    """The handlers of the pages over the house's stores."""

    def __init__(self, house: House, door: Door) -> None:
        """Keep what is needed."""
        self._house = house
        self._services = house.services
        self._door = door

    async def health(self, request: Request) -> Response:
        """Say that the server answers; open to everybody, so it says no more."""
        return JSONResponse({"status": "ok", "version": self._house.version})

    async def start(self, request: Request) -> Response:
        """Lead to the runs."""
        return RedirectResponse("/runs", status_code=303)

    async def link(self, request: Request) -> Response:
        """Return a one-time link for a browser: `?path=` in, `{"path", "user"}` out; for a bearer only."""
        if "authorization" not in request.headers:
            return refused(request.scope, 403, "A link is made for whoever holds the token; run `upstairs open`")
        principal = _principal(request)
        path = "/" + request.query_params.get("path", "/runs").lstrip("/\\")
        user = request.headers.get("upstairs-user")
        return JSONResponse({"path": self._door.link(path, user), "user": principal.subject})

    async def runs(self, request: Request) -> Response:
        """List runs, newest first."""
        query = request.query_params
        try:
            wanted = RunFilter.model_validate(
                {"status": query.get("status") or None, "after": query.get("after") or None, "limit": RUNS}
            )
        except ValidationError:
            raise Invalid(f"{query.get('status', '')[:40]!r} is not a status of runs") from None
        principal = _principal(request)
        found = await self._services.runs.list(principal, wanted)
        return HTMLResponse(runs_page(found, wanted, user=principal.subject))

    async def events(self, request: Request) -> Response:
        """Stream the events of a run."""
        after = cursor_of(request.headers.get("last-event-id"), request.query_params.get("after"))
        principal = _principal(request)
        run = await self._services.runs.get(principal, request.path_params["run_id"])
        frames = event_stream(self._services.runs, self._house.hub, principal, run, after)
        return StreamingResponse(frames, media_type="text/event-stream", headers=STREAM_HEADERS)

    async def capacity(self, request: Request) -> Response:
        """Show the gates in front of models."""
        principal = _principal(request)
        return HTMLResponse(capacity_page(await self._services.capacity(principal), user=principal.subject))

    async def inbox(self, request: Request) -> Response:
        """List what waits for this person."""
        principal = _principal(request)
        return HTMLResponse(inbox_page(await self._services.runs.tasks(principal), user=principal.subject))

    async def task(self, request: Request) -> Response:
        """Show one task."""
        principal = _principal(request)
        task = await self._services.runs.task(principal, request.path_params["task_id"])
        return HTMLResponse(task_page(task, user=principal.subject))

    async def answer(self, request: Request) -> Response:
        """Hand an answer over, or show the form again with what was wrong."""
        principal, task_id = _principal(request), request.path_params["task_id"]
        task = await self._services.runs.task(principal, task_id)
        filled = await _form(request)
        try:
            answer = TaskAnswer(
                task_id=task_id,
                by=principal,
                decision=filled.get("decision") or None,
                values=read_values(task.form, filled),
                comment=filled.get("comment", ""),
            )
            await self._services.control.answer(principal, task_id, answer)
        except Problem as problem:
            task = await self._services.runs.task(principal, task_id)
            text = task_page(task, user=principal.subject, problem=problem.message, filled=filled)
            return HTMLResponse(text, status_code=STATUS_OF.get(type(problem), 400))
        back = filled.get("back", "")
        inside = back.startswith("/runs/") or back == "/inbox"
        return RedirectResponse(back if inside else "/inbox", status_code=303)


def _principal(request: Request) -> Principal:
    return request.scope[PRINCIPAL]


async def _form(request: Request) -> Mapping[str, str]:
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Invalid("an answer is sent as a form (application/x-www-form-urlencoded)")
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=500))
    except ValueError as error:
        raise Invalid(f"the form cannot be read: {error}") from None
