"""The library of processes over HTTP as JSON: what the designer reads and changes.

Drafts and everything that is computed from a text are for authors and publishers, publishing and labels for
publishers; the stores hold that, and the checks here only say it earlier.
"""

import http
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast

import anyio.to_thread
from pydantic import BaseModel, Field, JsonValue, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from content.definitions import rendered
from content.versioned import Draft, Listed, Version
from engine.errors import Conflict, Denied, Exhausted, Invalid, NotFound, Problem
from engine.process.definition import ProcessDefinition, definition_schema, parse_definition
from engine.process.difference import difference_svg, difference_text
from engine.process.document import read_document
from engine.process.logic import explain
from engine.process.simulate import play_all
from engine.process.verify import bounds
from engine.values import Principal, Value, new_id
from server.definition_text import edited
from server.mcp.house import PRINCIPAL, House
from server.pages.designer_drawing import drawing_of
from skills.core import start_process
from skills.services import ToolContext

AUTHORS = ("author", "publisher")
STARTERS = ("operator", "author", "publisher", "approver")
PLAYING = 2
"""How many simulations run at once; others wait for their turn."""

NEW = """\
format: 1
process: {name}
title: {name}
input: {{type: object, properties: {{}}, additionalProperties: false}}
context:
  schema: {{type: object, properties: {{}}, additionalProperties: false}}
start: done
nodes:
  done: {{type: end, outcome: done}}
"""
"""What a process begins as: complete, and publishable at once."""

Message = TypeVar("Message", bound=BaseModel)


class Check(Value):
    """A text to check, or to change first so that it reads as `definition`."""

    text: str
    definition: dict[str, JsonValue] | None = None


class Evaluate(Value):
    """A guard and the context to try it over."""

    rule: JsonValue
    data: dict[str, JsonValue] = {}


class Simulate(Value):
    """A text whose scenarios are played, or one of them."""

    text: str
    scenario: str | None = None


class Save(Value):
    """A draft; `revision` is the one it was made from, None for the first."""

    text: str
    revision: int | None = Field(default=None, ge=1)


class Publish(Value):
    """The revision that was looked at, what changed in it, and why it is published if scenarios of it fail."""

    revision: int = Field(ge=1)
    comment: str = Field(default="", max_length=2000)
    despite: str = Field(default="", max_length=1000)


class MoveLabel(Value):
    """Where a label shall point."""

    label: str
    version: int = Field(ge=1)
    comment: str = Field(default="", max_length=2000)


class Start(Value):
    """A run to start: an address' selector (`3`, `production`, nothing), the input, and the key that makes it one."""

    at: str = ""
    input: dict[str, JsonValue] = {}
    title: str = Field(default="", max_length=200)
    key: str | None = Field(default=None, max_length=200)


def processes_routes(house: House) -> list[Route]:
    """Return the routes below `/api/processes` and `/api/designer`."""
    api = ProcessesApi(house)
    return [
        Route("/api/designer/schema", api.schema),
        Route("/api/designer/check", api.check, methods=["POST"]),
        Route("/api/designer/evaluate", api.evaluate, methods=["POST"]),
        Route("/api/designer/simulate", api.simulate, methods=["POST"]),
        Route("/api/processes", api.names),
        Route("/api/processes/{name}", api.versions, methods=["GET"]),
        Route("/api/processes/{name}/text", api.text),
        Route("/api/processes/{name}/draft", api.save, methods=["PUT"]),
        Route("/api/processes/{name}/versions", api.publish, methods=["POST"]),
        Route("/api/processes/{name}/labels", api.move_label, methods=["POST"]),
        Route("/api/processes/{name}/difference", api.difference),
        Route("/api/processes/{name}/difference.svg", api.difference_picture),
        Route("/api/processes/{name}/runs", api.start, methods=["POST"]),
    ]


class ProcessesApi:
    """The handlers over the house's stores."""

    def __init__(self, house: House) -> None:
        """Keep what is needed."""
        self._services = house.services
        self._toolbox = house.toolbox
        self._players = anyio.CapacityLimiter(PLAYING)

    async def schema(self, request: Request) -> Response:
        """Give what forms are made from: the schema of definitions, and the names a definition may use."""
        principal = principal_of(request)
        interactions = await self._services.interactions.list_names(principal)
        processes = await self._services.definitions.list_names(principal)
        return JSONResponse(
            {
                "schema": definition_schema(),
                "names": {
                    "interaction": [one.name for one in interactions if one.newest is not None],
                    "process": [one.name for one in processes if one.newest is not None],
                    "tool": sorted(spec.name for spec in self._toolbox.flat(principal)),
                    "skill": sorted(skill.key for skill in self._toolbox.catalogue.visible(principal)),
                },
            }
        )

    async def check(self, request: Request) -> Response:
        """Read, verify and draw a text; see `checked`."""
        principal = principal_of(request)
        _require(principal, AUTHORS, "check definitions")
        given = await _message(request, Check)
        text = given.text
        if given.definition is not None:
            text = await anyio.to_thread.run_sync(edited, text, given.definition)
        return JSONResponse(await self._checked(principal, text))

    async def _checked(self, principal: Principal, text: str) -> dict[str, Any]:
        """Return text, definition, findings, worst case and drawing; of a text that is no YAML, only the finding."""
        try:
            data = await anyio.to_thread.run_sync(read_document, text)
        except (Invalid, Exhausted) as problem:
            return {"text": text, "definition": None, "findings": _unread(problem), "worst_case": None, "drawing": None}
        worst: dict[str, Any] | None = None
        try:
            findings = [one.model_dump() for one in await self._services.verify(principal, text)]
            worst = bounds(parse_definition(text)).model_dump(mode="json")
        except (Invalid, Exhausted) as problem:
            findings = _unread(problem)
        drawing = await anyio.to_thread.run_sync(drawing_of, data)
        return {
            "text": text,
            "definition": data,
            "findings": findings,
            "worst_case": worst,
            "drawing": None if drawing is None else drawing.model_dump(mode="json"),
        }

    async def evaluate(self, request: Request) -> Response:
        """Evaluate a guard as a run does, strictly, and say how it came to its value."""
        _require(principal_of(request), AUTHORS, "try guards")
        given = await _message(request, Evaluate)
        return JSONResponse(explain(given.rule, given.data, strict=True))

    async def simulate(self, request: Request) -> Response:
        """Play scenarios with the real engine; nothing is called and nothing is kept."""
        _require(principal_of(request), AUTHORS, "simulate processes")
        given = await _message(request, Simulate)
        definition = parse_definition(given.text)
        chosen = tuple(one for one in definition.scenarios if given.scenario in (None, one.name))
        if not chosen:
            known = ", ".join(one.name for one in definition.scenarios) or "none"
            raise NotFound(f"there is no such scenario; the definition has {known}")
        playing = partial(play_all, definition.model_copy(update={"scenarios": chosen}), render=rendered)
        report = await anyio.to_thread.run_sync(playing, limiter=self._players)
        played = [{**one.model_dump(mode="json"), "passed": one.passed} for one in report.played]
        covered = {
            kind: {**found, "percent": getattr(report.coverage, kind).percent}
            for kind, found in report.coverage.model_dump(mode="json").items()
        }
        return JSONResponse({"passed": report.passed, "played": played, "coverage": covered})

    async def names(self, request: Request) -> Response:
        """List the names with their labels, newest version and the draft's revision."""
        found = await self._services.definitions.list_names(principal_of(request))
        return JSONResponse({"processes": [one.model_dump(mode="json") for one in found]})

    async def versions(self, request: Request) -> Response:
        """Give everything kept under a name, and what this person may do with it."""
        principal, name = principal_of(request), request.path_params["name"]
        store = self._services.definitions
        listed = {one.name: one for one in await store.list_names(principal)}.get(name)
        listed = listed or Listed(name=name, labels={}, newest=None, draft_revision=None)
        versions = await store.list_versions(principal, name)
        moves = await store.list_moves(principal, name)
        return JSONResponse(
            {
                **listed.model_dump(mode="json"),
                "versions": [one.model_dump(mode="json", exclude={"text"}) for one in versions],
                "moves": [one.model_dump(mode="json") for one in moves],
                "may": {
                    "edit": principal.has_role(*AUTHORS),
                    "publish": principal.has_role("publisher"),
                    "start": principal.has_role(*STARTERS),
                },
            }
        )

    async def text(self, request: Request) -> Response:
        """Give a text with its drawing: `?at=` a version, a label or `draft`; else the draft, else what is published.

        Of a name that nobody used, an author gets the text that a process begins as.
        """
        principal, name = principal_of(request), request.path_params["name"]
        author = principal.has_role(*AUTHORS)
        at = request.query_params.get("at")
        store = self._services.definitions
        try:
            found = await store.find(principal, f"{name}@{at}" if at else f"{name}@draft")
        except NotFound:
            if at:
                raise
            found = await self._published(principal, name, begin=author)
        if found is None:
            answer = {"revision": None, "version": None, "author": "", "updated_at": None}
            return JSONResponse({**answer, **await self._checked(principal, NEW.format(name=name))})
        if author:
            seen = await self._checked(principal, found.text)
        else:
            data = parse_definition(found.text).canonical()
            drawing = drawing_of(data)
            seen = {"text": found.text, "definition": data, "findings": [], "worst_case": None}
            seen["drawing"] = None if drawing is None else drawing.model_dump(mode="json")
        return JSONResponse({**_about(found), **seen})

    async def _published(self, principal: Principal, name: str, *, begin: bool) -> Version | Draft | None:
        try:
            return await self._services.definitions.find(principal, name)
        except NotFound:
            if not begin:
                raise
            return None

    async def save(self, request: Request) -> Response:
        """Keep a draft, right or wrong; 409 with who made which revision since, when it is not the one edited."""
        principal, name = principal_of(request), request.path_params["name"]
        given = await _message(request, Save)
        try:
            draft = await self._services.definitions.put_draft(principal, name, given.text, revision=given.revision)
        except Conflict as problem:
            draft = await self._services.definitions.get_draft(principal, name)
            return JSONResponse(
                {"error": problem.message, **_about(draft), "text": draft.text}, status_code=http.HTTPStatus.CONFLICT
            )
        return JSONResponse(_about(draft))

    async def publish(self, request: Request) -> Response:
        """Publish the draft of the revision that was looked at."""
        given = await _message(request, Publish)
        version = await self._services.definitions.publish(
            principal_of(request),
            request.path_params["name"],
            comment=given.comment,
            revision=given.revision,
            despite=given.despite,
        )
        return JSONResponse(version.model_dump(mode="json", exclude={"text"}))

    async def move_label(self, request: Request) -> Response:
        """Point a label at a version."""
        given, name = await _message(request, MoveLabel), request.path_params["name"]
        move = await self._services.definitions.move_label(
            principal_of(request), name, given.label, given.version, comment=given.comment
        )
        return JSONResponse({"label": given.label, "version": given.version, "moved": move is not None})

    async def difference(self, request: Request) -> Response:
        """Compare two texts, `?before=` and `?after=`: line by line, and what it means for runs under way."""
        principal, name = principal_of(request), request.path_params["name"]
        before, after = _two(request)
        lines = await self._services.definitions.diff(principal, f"{name}@{before}", f"{name}@{after}")
        old, new = await self._both(request)
        return JSONResponse({"lines": lines, "changes": difference_text(old, new)})

    async def difference_picture(self, request: Request) -> Response:
        """Draw both in one picture, with marks on what was added, removed and changed."""
        old, new = await self._both(request)
        picture = await anyio.to_thread.run_sync(difference_svg, old, new)
        return Response(picture, media_type="image/svg+xml")

    async def _both(self, request: Request) -> tuple[ProcessDefinition, ProcessDefinition]:
        principal, name = principal_of(request), request.path_params["name"]
        old, new = [await self._services.definitions.find(principal, f"{name}@{one}") for one in _two(request)]
        return parse_definition(old.text), parse_definition(new.text)

    async def start(self, request: Request) -> Response:
        """Start a run of what is published: `{run_id, url}`."""
        principal, name = principal_of(request), request.path_params["name"]
        given = await _message(request, Start)
        key = given.key or new_id("start")
        context = ToolContext(principal=principal, services=self._services, key=key)
        address = f"{name}@{given.at}" if given.at else name
        started = await start_process(context, process=address, input=given.input, title=given.title)
        return JSONResponse({"run_id": started.run_id, "url": f"/runs/{started.run_id}"}, status_code=202)


def principal_of(request: Request) -> Principal:
    """Return whom the door let in."""
    return cast(Principal, request.scope[PRINCIPAL])


def _require(principal: Principal, roles: tuple[str, ...], what: str) -> None:
    if not principal.has_role(*roles):
        raise Denied(f"{principal.subject!r} needs the role {' or '.join(roles)} to {what}")


async def _message(request: Request, kind: type[Message]) -> Message:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Invalid("the body is JSON; send it with the content type application/json")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise Invalid(f"{place}: {first['msg']}; it takes {', '.join(kind.model_fields)}") from None


def _unread(problem: Problem) -> list[dict[str, Any]]:
    """Return the findings of a text that is no definition."""
    problems = problem.details.get("problems") or [{"path": "", "message": problem.message}]
    return [{"code": "format", "severity": "error", **one} for one in problems]


def _about(found: Version | Draft) -> dict[str, Any]:
    draft = isinstance(found, Draft)
    at: datetime = found.updated_at if draft else found.published_at
    return {
        "revision": found.revision if draft else None,
        "version": None if draft else found.number,
        "author": found.author,
        "updated_at": at.isoformat(),
    }


def _two(request: Request) -> tuple[str, str]:
    before, after = request.query_params.get("before"), request.query_params.get("after")
    if not before or not after:
        raise Invalid("give before and after: versions, labels or draft, as ?before=1&after=draft")
    return before, after
