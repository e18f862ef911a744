"""Files over HTTP: into the content layer and out of it, and prompts and processes into their libraries."""

from typing import cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from content.spool import spool
from engine.errors import Invalid
from engine.values import Principal
from server.mcp.house import PRINCIPAL, House


def library_routes(house: House) -> list[Route]:
    """Return the routes; the body of each is the file itself, and none of content is ever in memory as a whole."""
    services, folder = house.services, house.settings.data

    async def put_content(request: Request) -> Response:
        """Keep a file and start its intake: `{run_id, object_id, version}`."""
        name, mime = request.query_params.get("name", ""), request.headers.get("content-type")
        async with spool(request.stream(), folder) as file:
            run = await services.ingest(_principal(request), name, file, mime)
        return JSONResponse({"run_id": run.run_id, **run.input}, status_code=202)

    async def get_content(request: Request) -> Response:
        """Give the file of an object back: at `?version=`, else at the version that readers get."""
        number = request.query_params.get("version")
        if number is not None and not (number.isascii() and number.isdecimal() and int(number)):
            raise Invalid(f"version must be a number from 1, not {number[:40]!r}", field="version")
        found, size, pieces = await services.content.source_pieces(
            _principal(request), request.path_params["object_id"], int(number) if number else None
        )
        headers = {
            "content-length": str(size),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
        }
        # Never under the type it claims: nothing that was uploaded may run as a page or a script of this server.
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)

    async def put_interaction(request: Request) -> Response:
        """Publish a `.prompt` file under its name: `{name, version}`."""
        name = request.path_params["name"]
        published = await services.interactions.publish_text(
            _principal(request), name, await _text(request), comment=_comment(request)
        )
        return JSONResponse({"name": name, "version": published.number})

    async def put_process(request: Request) -> Response:
        """Publish a definition under its name: `{name, version}`; one with errors or failing scenarios is refused."""
        name, despite = request.path_params["name"], request.query_params.get("despite", "")
        published = await services.definitions.publish_text(
            _principal(request), name, await _text(request), comment=_comment(request), despite=despite
        )
        return JSONResponse({"name": name, "version": published.number})

    return [
        Route("/api/content", put_content, methods=["PUT"]),
        Route("/api/content/{object_id}", get_content),
        Route("/api/interactions/{name}", put_interaction, methods=["PUT"]),
        Route("/api/processes/{name}", put_process, methods=["PUT"]),
    ]


def _principal(request: Request) -> Principal:
    return cast(Principal, request.scope[PRINCIPAL])


def _comment(request: Request) -> str:
    return request.query_params.get("comment", "")


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the file is not UTF-8 text ({error}); save it as UTF-8") from None
