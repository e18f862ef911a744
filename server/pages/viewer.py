"""One run: its drawing, what it waits for, how to steer it, why it went where it went; kept live by its stream.

The parts that change are a fragment of their own (`/runs/{id}/parts`), so that the page's module asks for them anew
when something happened: there is one rendering, and without any script the page shows the same.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from content.versioned import checked_name
from engine.errors import Invalid, NotFound, Problem
from engine.ports import RunFilter, Say
from engine.runs import Event
from engine.values import Principal, new_id
from server.guard import STATUS_OF
from server.mcp.house import PRINCIPAL, House
from server.pages.layout import page
from server.pages.markup import element
from server.pages.runs import event_item
from server.pages.viewer_parts import RunSight, live_parts
from server.pages.viewer_steering import MESSAGE, read_control
from skills.core import resolve_process
from skills.drawing import as_svg, definition_of, definition_or_none, foreaches_of, read_state, state_of
from skills.families import MAX_SHOWN
from skills.services import Services

PAGE_EVENTS = 500
SVG = "image/svg+xml"


def viewer_pages(house: House) -> list[Route]:
    """Return the routes of a run's page and of the drawings."""
    viewer = Viewer(house.services)
    return [
        Route("/runs/{run_id}", viewer.run),
        Route("/runs/{run_id}/parts", viewer.parts),
        Route("/runs/{run_id}/drawing.svg", viewer.drawing),
        Route("/runs/{run_id}/control", viewer.control, methods=["POST"]),
        Route("/processes/{address}.svg", viewer.process_drawing),
    ]


class Viewer:
    """The handlers over the house's services."""

    def __init__(self, services: Services) -> None:
        """Keep what is needed."""
        self._services = services

    async def run(self, request: Request) -> Response:
        """Show one run."""
        principal, run_id = _principal(request), request.path_params["run_id"]
        return HTMLResponse(await self._page(principal, run_id))

    async def _page(self, principal: Principal, run_id: str, problem: str | None = None) -> str:
        sight = await self._sight(principal, run_id)
        after = max(0, sight.run.events - PAGE_EVENTS)
        events = await self._services.runs.events(principal, run_id, after=after)
        return run_page(sight, events, problem=problem)

    async def parts(self, request: Request) -> Response:
        """Return what changes of a run's page."""
        sight = await self._sight(_principal(request), request.path_params["run_id"])
        return HTMLResponse(live_parts(sight))

    async def _sight(self, principal: Principal, run_id: str) -> RunSight:
        runs = self._services.runs
        # The row first: an event that comes after it is on the stream that the page opens.
        run = await runs.get(principal, run_id)
        tasks = await runs.tasks(principal, run_id=run_id, family=True)
        definition = await definition_or_none(self._services, principal, run)
        records = await runs.audit(principal, run_id)
        foreaches = await foreaches_of(self._services, principal, run)
        return RunSight(
            viewer=principal,
            run=run,
            tasks=tasks,
            records=records,
            children=await runs.list(principal, RunFilter(parent_id=run_id, limit=MAX_SHOWN)),
            artifacts=await runs.artifacts(principal, run_id),
            definition=definition,
            foreaches=foreaches,
            state=None if definition is None else state_of(run, definition, records, tasks, foreaches),
        )

    async def drawing(self, request: Request) -> Response:
        """Return the drawing of a run's process with how far the run is."""
        principal = _principal(request)
        run = await self._services.runs.get(principal, request.path_params["run_id"])
        definition = await definition_of(self._services, principal, run)
        state = await read_state(self._services, principal, run, definition)
        return Response(as_svg(definition, state), media_type=SVG)

    async def process_drawing(self, request: Request) -> Response:
        """Return the drawing of a process: `name`, `name@3` or `name@label`."""
        address = request.path_params["address"]
        checked_name(address.partition("@")[0])
        _, definition = await resolve_process(self._services, _principal(request), address)
        return Response(as_svg(definition), media_type=SVG)

    async def control(self, request: Request) -> Response:
        """Carry out a control verb or tell an agent something, or show the page again with what was wrong."""
        principal, run_id = _principal(request), request.path_params["run_id"]
        filled = await _form(request)
        try:
            led_to = await self._carry_out(principal, run_id, filled)
        except Problem as problem:
            try:
                text = await self._page(principal, run_id, problem.message)
            except NotFound:
                # A seat over the run lets somebody steer it who may not see it.
                raise problem from None
            return HTMLResponse(text, status_code=STATUS_OF.get(type(problem), 400))
        return RedirectResponse(f"/runs/{quote(led_to)}", status_code=303)

    async def _carry_out(self, principal: Principal, run_id: str, filled: Mapping[str, str]) -> str:
        """Return the run to go on with: another one where the verb has started one."""
        if filled.get("action") == MESSAGE:
            text = filled.get("text", "").strip()
            if not text:
                raise Invalid("there is nothing to tell the agent; write a message", field="text")
            await self._services.control.say(principal, run_id, Say(by=principal, text=text, key=new_id("say")))
            return run_id
        return (await self._services.control.control(principal, run_id, read_control(principal, filled))).run_id


def run_page(sight: RunSight, events: Sequence[Event], *, problem: str | None = None) -> str:
    """Return the page of a run with its last events; the module appends what happens from the last one on."""
    run = sight.run
    place = f"/runs/{quote(run.run_id)}"
    last = events[-1].seq if events else 0
    earlier = None
    if events and events[0].seq > 1:
        earlier = element("p", f"{events[0].seq - 1:,} earlier ones: run://{run.run_id}/events")
    log = element(
        "ol",
        *(event_item(event) for event in events),
        id="events",
        data_stream=None if run.finished else f"{place}/events?after={last}",
    )
    text = element("pre", id="live", aria_live="polite", hidden=True)
    opened = run.kind != "process"
    return page(
        run.title or run.definition,
        element("p", problem, role="alert") if problem else None,
        element("p", "", id="notice", role="status"),
        element("div", live_parts(sight), id="parts", data_from=None if run.finished else f"{place}/parts"),
        text,
        element("details", element("summary", element("h2", "Events")), earlier, log, id="log", open=opened),
        user=sight.viewer.subject,
        script=not run.finished,
        module="viewer",
    )


def _principal(request: Request) -> Principal:
    return request.scope[PRINCIPAL]


async def _form(request: Request) -> Mapping[str, str]:
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Invalid("a control verb is sent as a form (application/x-www-form-urlencoded)")
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError as error:
        raise Invalid(f"the form cannot be read: {error}") from None
