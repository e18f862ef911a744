"""What every HTTP request passes before our code reads it: host, origin, credential, size and shape of the body."""

import base64
import hashlib
import http
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp_types import INVALID_REQUEST, PARSE_ERROR
from starlette.datastructures import Headers, QueryParams
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from engine.process.drawing.svg import STYLE
from server.door import COOKIE, COOKIE_SECONDS, Door, Entry
from server.mcp.house import PRINCIPAL
from server.pages.layout import message_page
from server.settings import LimitSettings
from server.strict_json import BadJson, check_message

MCP_PATH = "/mcp"
UPLOAD_PATH = "/api/content"
UPLOAD_BYTES_PER_SECOND = 1024 * 1024
"""The slowest upload that is waited for, beyond the time that every request has."""

SPACE = b" \t"
OPEN_PATHS = ("/health", "/static/")
READING = frozenset({"GET", "HEAD", "OPTIONS"})
IN_THREAD_FROM = 64 * 1024

STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}"
"""Lets in the one style that stands inside a drawing, so that the drawing is whole wherever it is opened."""

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' '{STYLE_HASH}'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}

OPEN_HINT = "Run `upstairs open` for a link that lets this browser in, or send `Authorization: Bearer` with the token."


class TooLarge(Problem):
    """The body is larger than the limit; send less."""

    code = "too_large"


class TooSlow(Problem):
    """The body did not arrive in time; send it again."""

    code = "too_slow"


STATUS_OF_BODY: dict[type[Problem], int] = {TooLarge: 413, TooSlow: 408, Invalid: 400}
STATUS_OF: dict[type[Problem], int] = {
    NotFound: 404,
    Invalid: 422,
    Conflict: 409,
    Denied: 403,
    Unavailable: 503,
    TooLarge: 413,
    TooSlow: 408,
}
"""The status of a page or an answer that tells of a problem; 400 for any other."""


class Guard:
    """ASGI middleware around the whole application; nothing behind it sees a request that it refused."""

    def __init__(self, app: ASGIApp, door: Door, limits: LimitSettings) -> None:
        """Guard `app`."""
        self._app = app
        self._door = door
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        # Space around a value is no part of it (RFC 9110, 5.5), whatever the server in front leaves there.
        scope = {**scope, "headers": [(name, value.strip(SPACE)) for name, value in scope["headers"]]}
        sending = _with_headers(send)
        refusal = self._admit(scope)
        if refusal is None and scope["path"] == UPLOAD_PATH and scope["method"] == "PUT":
            upload = self._limits.max_upload_bytes
            seconds = self._limits.request_timeout_seconds + upload / UPLOAD_BYTES_PER_SECOND
            try:
                # It passes by without being held: what goes wrong on the way is raised where it is read.
                receive = bounded(scope, receive, upload, seconds)
            except TooLarge as problem:
                refusal = refused(scope, 413, problem.message)
        elif refusal is None and scope["method"] not in READING:
            body = await self._read_body(scope, receive)
            if isinstance(body, Response):
                refusal = body
            else:
                receive = _replay(body, receive)
        await (self._app if refusal is None else refusal)(scope, receive, sending)

    def _admit(self, scope: Scope) -> Response | None:
        """Return the refusal of a request by its head, or None after leaving who is calling in the scope."""
        headers, path = Headers(scope=scope), scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._door.host_allowed(host):
            return refused(scope, 421, f"This server is not called {host[:80]!r}; set public_url to serve that name")
        if origin is not None and not self._door.origin_allowed(origin, host):
            return refused(scope, 403, f"Pages of {origin[:80]!r} may not call this server; see allowed_origins")
        if path == OPEN_PATHS[0] or path.startswith(OPEN_PATHS[1]):
            return None
        code = QueryParams(scope["query_string"]).get("token")
        if code is not None and scope["method"] == "GET" and not _is_mcp(path):
            return self._redeem(scope, code)
        try:
            entry = self._door.entry(headers)
        except Problem as problem:
            return refused(scope, 403, problem.message)
        if entry is None or (entry.by_cookie and _is_mcp(path)):
            answer = refused(scope, 401, f"This server needs its token. {OPEN_HINT}")
            answer.headers["www-authenticate"] = 'Bearer realm="upstairs"'
            return answer
        if entry.by_cookie and scope["method"] not in READING and not self._own_page(headers, origin, host):
            return refused(scope, 403, "This change does not come from a page of this server; open the page again")
        _leave(scope, entry)
        return None

    def _own_page(self, headers: Headers, origin: str | None, host: str) -> bool:
        if origin is not None:
            return self._door.same_origin(origin, host)
        return headers.get("sec-fetch-site") == "same-origin"

    def _redeem(self, scope: Scope, code: str) -> Response:
        cookie = self._door.redeem(code)
        if cookie is None:
            return refused(scope, 403, "This link was used already or is too old. Run `upstairs open` for a new one.")
        rest = [(name, value) for name, value in QueryParams(scope["query_string"]).multi_items() if name != "token"]
        # One leading slash: two would make the browser read a host.
        target = "/" + scope["path"].lstrip("/") + (f"?{QueryParams(rest)}" if rest else "")
        answer = RedirectResponse(target, status_code=303)
        answer.set_cookie(COOKIE, cookie, max_age=COOKIE_SECONDS, httponly=True, samesite="strict", path="/")
        return answer

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes | Response:
        """Return the whole body, never holding more than the limit, or the refusal of it."""
        body = bytearray()
        try:
            receive = bounded(scope, receive, self._limits.max_request_bytes, self._limits.request_timeout_seconds)
            more = True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
        except Problem as problem:
            return refused(scope, STATUS_OF_BODY[type(problem)], problem.message)
        if _is_mcp(scope["path"]) and scope["method"] == "POST":
            return await _checked(scope, bytes(body))
        return bytes(body)


def bounded(scope: Scope, receive: Receive, limit: int, seconds: float) -> Receive:
    """Return `receive` for a body of at most `limit` bytes that has `seconds` from now to arrive.

    Raises:
        TooLarge: the declared length is beyond the limit. By what is returned: TooLarge, TooSlow, and Invalid where
            the body breaks off.
    """
    too_large = f"The body is larger than {limit} bytes, the limit of this server; send less"
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(too_large)
    until, came, complete = anyio.current_time() + seconds, 0, False

    async def receiving() -> Message:
        nonlocal came, complete
        if complete:
            return await receive()
        try:
            with anyio.fail_after(until - anyio.current_time()):
                message = await receive()
        except TimeoutError:
            raise TooSlow("The body did not arrive in time; send it again") from None
        if message["type"] == "http.disconnect":
            raise Invalid("The body broke off")
        came += len(message.get("body", b""))
        if came > limit:
            raise TooLarge(too_large)
        complete = not message.get("more_body", False)
        return message

    return receiving


async def _checked(scope: Scope, body: bytes) -> bytes | Response:
    try:
        if len(body) > IN_THREAD_FROM:
            await anyio.to_thread.run_sync(check_message, body)
        else:
            check_message(body)
    except BadJson as error:
        return refused(scope, 400, str(error), code=PARSE_ERROR if error.syntax else INVALID_REQUEST)
    return body


def _is_mcp(path: str) -> bool:
    return path == MCP_PATH or path.startswith(f"{MCP_PATH}/")


def _leave(scope: Scope, entry: Entry) -> None:
    scope[PRINCIPAL] = entry.principal
    # The transport binds a session of the old eras to this identity, so that nobody else can use it.
    identity = f"{entry.principal.tenant}/{entry.principal.subject}"
    scope["user"] = AuthenticatedUser(AccessToken(token="", client_id="local", scopes=[], subject=identity))


def refused(scope: Scope, status: int, message: str, *, code: int = INVALID_REQUEST) -> Response:
    """Return an error in the form the caller reads: JSON-RPC at the MCP endpoint, a page for a browser, else JSON."""
    if _is_mcp(scope["path"]):
        content: dict[str, Any] = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
        return JSONResponse(content, status_code=status)
    if "text/html" in Headers(scope=scope).get("accept", ""):
        return HTMLResponse(message_page(http.HTTPStatus(status).phrase, message), status_code=status)
    return JSONResponse({"error": message}, status_code=status)


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            if b"cache-control" not in present:
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
