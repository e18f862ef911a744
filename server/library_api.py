"""Uploads over HTTP: files into the content layer, and prompts and processes as files into their libraries."""

from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.errors import Invalid
from engine.values import Principal
from server.mcp.house import PRINCIPAL, House


def library_routes(house: House) -> list[Route]:
    """Return the routes; the body of each is the file itself."""
    services = house.services

    async def put_content(request: Request) -> Response:
        """Keep a file and start its intake: `{run_id, object_id, version}`."""
        name = request.query_params.get("name", "")
        run = await services.ingest(
            _principal(request), name, await request.body(), request.headers.get("content-type")
        )
        return JSONResponse({"run_id": run.run_id, **run.input}, status_code=202)

    async def put_interaction(request: Request) -> Response:
        """Publish a `.prompt` file under its name: `{name, version}`."""
        name = request.path_params["name"]
        published = await services.interactions.publish_text(
            _principal(request), name, await _text(request), comment=_comment(request)
        )
        return JSONResponse({"name": name, "version": published.number})

    async def put_process(request: Request) -> Response:
        """Publish a definition under its name: `{name, version}`; a definition with errors is refused."""
        name = request.path_params["name"]
        published = await services.definitions.publish_text(
            _principal(request), name, await _text(request), comment=_comment(request)
        )
        return JSONResponse({"name": name, "version": published.number})

    return [
        Route("/api/content", put_content, methods=["PUT"]),
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
