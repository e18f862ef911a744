"""The resources of the house: runs with their events, audit and artifacts, skills, and answers that were cut."""

import mimetypes
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate

from engine.errors import NotFound, Problem
from engine.process.exports import Case, ocel, xes
from engine.values import Principal
from server.mcp.contents import JSON, WINDOW, Body, as_result, number
from server.mcp.house import Call, House, principal_of
from server.mcp.kept import SCHEME, Kept
from server.mcp.provider import Changes, Provider
from server.mcp.watch import watch_runs

EVENTS_PAGE = 500
MARKDOWN, XML = "text/markdown", "application/xml"

Values = Mapping[str, Any]
Read = Callable[[Principal, Values], Awaitable[Body]]


@dataclass(frozen=True)
class Form:
    """One form of URI that can be read; `mime` is None where it depends on the resource."""

    template: UriTemplate
    name: str
    description: str
    mime: str | None
    read: Read

    @classmethod
    def of(cls, template: str, name: str, description: str, mime: str | None, read: Read) -> "Form":
        """Parse the template."""
        return cls(UriTemplate.parse(template), name, description, mime, read)


class Forms(Provider):
    """Reads the URIs of its forms, first match first; a subclass names the forms and lists what is worth listing."""

    def __init__(self, forms: Sequence[Form], limit: int) -> None:
        """Keep the forms; no answer holds more than `limit` bytes of one resource."""
        self._forms = tuple(forms)
        self._limit = limit

    async def templates(self, call: Call) -> Sequence[types.ResourceTemplate]:
        """Return the forms."""
        return [
            types.ResourceTemplate(
                uri_template=str(form.template), name=form.name, description=form.description, mime_type=form.mime
            )
            for form in self._forms
        ]

    async def read_resource(
        self, call: Call, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | None:
        """Read a resource; one that the caller may not see does not exist."""
        uri = str(params.uri)
        for form in self._forms:
            values = form.template.match(uri)
            if values is None:
                continue
            try:
                body = await form.read(principal_of(call), values)
                return as_result(uri, form.template, values, body, self._limit)
            except NotFound as problem:
                raise no_such_resource(uri, problem.message) from None
            except Problem as problem:
                raise MCPError(types.INVALID_PARAMS, problem.message, {"uri": uri, **problem.as_json()}) from None
        return None

    def _match(self, uri: str) -> Values | None:
        """Return what the first form that fits reads from a URI."""
        return next((values for form in self._forms if (values := form.template.match(uri)) is not None), None)


def no_such_resource(uri: str, hint: str) -> MCPError:
    """Return the error for a URI that leads to nothing the caller may see."""
    return MCPError(types.INVALID_PARAMS, f"Resource not found: {uri[:200]} ({hint})", {"uri": uri[:2000]})


class RunResources(Forms):
    """`run://…`: what a run is, did and made."""

    def __init__(self, house: House) -> None:
        """Name the forms."""
        self._runs = house.services.runs
        self._hub = house.hub
        super().__init__(
            [
                Form.of("run://{run_id}", "run", "A run as it stands: status, position, result, cost", JSON, self._run),
                Form.of(
                    "run://{run_id}/events{?after}",
                    "run-events",
                    f"The events of a run behind number `after`, up to {EVENTS_PAGE} a page",
                    JSON,
                    self._events,
                ),
                Form.of("run://{run_id}/audit", "run-audit", "The audit chain of a run", JSON, self._audit),
                Form.of("run://{run_id}/audit.xes", "run-audit-xes", "The same as an XES event log", XML, self._xes),
                Form.of("run://{run_id}/audit.ocel", "run-audit-ocel", "The same as an OCEL 2.0 log", JSON, self._ocel),
                Form.of(
                    "run://{run_id}/artifacts/{+path}" + WINDOW,
                    "run-artifact",
                    "The newest version of a file that a run wrote",
                    None,
                    self._artifact,
                ),
            ],
            house.settings.limits.max_result_bytes,
        )

    async def changes(self, call: Call, uri: str) -> Changes | None:
        """Return the changes of a run, of whatever part of it the URI names."""
        values = self._match(uri)
        if values is None:
            return None
        principal, run_id = principal_of(call), values["run_id"]
        try:
            run = await self._runs.get(principal, run_id)
        except NotFound as problem:
            raise no_such_resource(uri, problem.message) from None

        async def look() -> Hashable | None:
            now = await self._runs.get(principal, run_id)
            return None if now.finished else (now.events, now.updated_at)

        return None if run.finished else watch_runs(self._hub, run.ref, look, (run.events, run.updated_at))

    async def _run(self, principal: Principal, values: Values) -> Body:
        run = await self._runs.get(principal, values["run_id"])
        artifacts = await self._runs.artifacts(principal, run.run_id)
        said = run.model_dump(mode="json", exclude={"tenant"})
        said["principal"] = run.principal.subject
        said["artifacts"] = [
            {"uri": f"run://{run.run_id}/artifacts/{one.path}", **one.model_dump(mode="json", exclude={"run_id"})}
            for one in artifacts
        ]
        return Body.of_json(said)

    async def _events(self, principal: Principal, values: Values) -> Body:
        run_id, after = values["run_id"], number(values, "after")
        events = await self._runs.events(principal, run_id, after=after, limit=EVENTS_PAGE)
        last = events[-1].seq if events else after
        said = [event.model_dump(mode="json", exclude={"run_id", "key"}) for event in events]
        following = f"run://{run_id}/events?after={last}" if len(events) == EVENTS_PAGE else None
        return Body.of_json({"run_id": run_id, "events": said, "last": last}, following=following)

    async def _audit(self, principal: Principal, values: Values) -> Body:
        records = await self._runs.audit(principal, values["run_id"])
        return Body.of_json({"run_id": values["run_id"], "records": [one.model_dump(mode="json") for one in records]})

    async def _case(self, principal: Principal, run_id: str) -> Case:
        run, records = await self._runs.get(principal, run_id), await self._runs.audit(principal, run_id)
        return Case(
            run_id=run_id, process=run.definition, version=run.version, status=run.status, records=tuple(records)
        )

    async def _xes(self, principal: Principal, values: Values) -> Body:
        return Body(xes([await self._case(principal, values["run_id"])]).encode(), XML)

    async def _ocel(self, principal: Principal, values: Values) -> Body:
        return Body.of_json(ocel([await self._case(principal, values["run_id"])]))

    async def _artifact(self, principal: Principal, values: Values) -> Body:
        artifact, content = await self._runs.read_artifact(principal, values["run_id"], values["path"])
        return Body(content, artifact.mime)


class SkillResources(Forms):
    """`skill://…` as the skills extension names them, and `result://…`, the rest of answers that were cut."""

    def __init__(self, house: House, kept: Kept) -> None:
        """Name the forms."""
        self._catalogue = house.toolbox.catalogue
        self._kept = kept
        super().__init__(
            [
                Form.of("skill://{name}/{+path}" + WINDOW, "skill-file", "A file of a skill", None, self._file),
                Form.of(
                    SCHEME + "{key}" + WINDOW,
                    "result",
                    "The whole of an answer that was cut",
                    "text/plain",
                    self._result,
                ),
            ],
            house.settings.limits.max_result_bytes,
        )

    async def resources(self, call: Call) -> Sequence[types.Resource]:
        """Return the instructions of the skills that the caller may use."""
        return [
            types.Resource(
                uri=f"skill://{skill.name}/SKILL.md",
                name=skill.name,
                description=skill.description,
                mime_type=MARKDOWN,
                size=len(skill.source.text.encode()),
            )
            for skill in self._catalogue.visible(principal_of(call))
        ]

    async def _file(self, principal: Principal, values: Values) -> Body:
        skill, path = self._catalogue.get(principal, values["name"]), values["path"]
        mime = MARKDOWN if path.endswith(".md") else mimetypes.guess_type(path)[0] or "application/octet-stream"
        return Body(skill.source.read(path), mime)

    async def _result(self, principal: Principal, values: Values) -> Body:
        return Body(await self._kept.read(principal, values["key"]), "text/plain")
