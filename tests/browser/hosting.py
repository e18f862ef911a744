"""The web server of the tests' host: its page, the official modules, and the way to the Upstairs server."""

import http.client
import http.server
import mimetypes
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from playwright.sync_api import Browser, FrameLocator

from server.data_folder import DataFolder
from server.mcp.apps import PAGES

HERE = Path(__file__).parent
PASSED = ("content-type", "accept", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name", "upstairs-user")
TIMEOUT_S = 30.0


class Hosting:
    """Serves while its block runs. `folder` is that of the Upstairs server, `modules` where npm put the packages."""

    def __init__(self, folder: DataFolder, modules: Path) -> None:
        self.folder = folder
        self.roots = {"modules": modules, "host": HERE / "host"}
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "Hosting":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(TIMEOUT_S)
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where the host is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hosting: Hosting) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hosting = hosting


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """Serve a file, or one of our pages without a host around it."""
        root, _, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if root == "mcp":
            return self._answer(405, "text/plain", b"")
        if root == "alone":
            return self._answer(200, "text/html", PAGES[f"ui://{path}"].html.encode())
        file = self.server.hosting.roots.get(root, HERE / "host") / (path or "index.html")
        if not file.is_file():
            return self._answer(404, "text/plain", b"")
        kind = "text/javascript" if file.suffix in (".js", ".mjs") else mimetypes.guess_type(file.name)[0]
        return self._answer(200, kind or "application/octet-stream", file.read_bytes())

    def do_POST(self) -> None:
        """Hand a message on to the server, with the token, and its answer back."""
        folder = self.server.hosting.folder
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name: self.headers[name] for name in PASSED if name in self.headers}
        headers["Authorization"] = f"Bearer {folder.token()}"
        upstairs = http.client.HTTPConnection("127.0.0.1", folder.read_server().port, timeout=TIMEOUT_S)
        try:
            upstairs.request("POST", self.path, body, headers)
            answer = upstairs.getresponse()
            session = answer.getheader("mcp-session-id")
            more = {"mcp-session-id": session} if session else {}
            self._answer(answer.status, answer.getheader("content-type", ""), answer.read(), **more)
        except (http.client.HTTPException, OSError):
            # The server or the page has gone in the meantime; nobody waits for this answer.
            self.close_connection = True
        finally:
            upstairs.close()

    do_DELETE = do_GET

    def _answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Chat:
    """A person's chat client in one browser page: it calls a tool and shows the tool's page."""

    def __init__(
        self,
        browser: Browser,
        hosting: Hosting,
        *,
        user: str = "",
        mode: str = "auto",
        path: str = "/mcp",
        may: dict[str, Any] | None = None,
    ) -> None:
        """Connect; `may` is what the host offers pages, unless everything."""
        self.errors: list[str] = []
        self._may = may
        self._page = browser.new_page()
        self._page.set_default_timeout(TIMEOUT_S * 1000)
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.goto(f"{hosting.url}/host/index.html")
        self._page.wait_for_function("document.title === 'ready'")
        self._page.evaluate("(how) => connect(how)", {"path": path, "mode": mode, "user": user})

    def __enter__(self) -> "Chat":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._page.close()

    def show(self, tool: str, arguments: dict[str, Any], **context: Any) -> FrameLocator:
        """Call a tool and return its page, which knows `context` about this host."""
        self._page.evaluate(
            "([tool, args, context, may]) => open_page(tool, args, context, may ?? undefined)",
            [tool, arguments, {"theme": "light", **context}, self._may],
        )
        return self._page.frame_locator("iframe")

    def inside(self, script: str) -> Any:
        """Run a script in the shown page."""
        frame = self._page.frame(name="page")
        assert frame is not None
        return frame.evaluate(script)

    def change(self, context: dict[str, Any]) -> None:
        """Tell the shown page that the host has changed."""
        self._page.evaluate("(context) => bridge.sendHostContextChange(context)", context)

    def refuse(self, *tools: str) -> None:
        """Let the host refuse calls of these tools from now on, and of no others."""
        self._page.evaluate("(tools) => { window.refused = new Set(tools) }", list(tools))

    def seen(self, what: str) -> list[Any]:
        """Return what the shown page did to its host: calls, heights, links or told."""
        return self._page.evaluate("(what) => seen[what]", what)

    def saw(self, what: str) -> list[Any]:
        """Return the same once there is something: what a page tells its host comes after what it shows."""
        self._page.wait_for_function("(what) => seen[what].length", arg=what)
        return self.seen(what)

    def is_as_high_as_told(self) -> int:
        """Wait until the host knows the height that the shown page has, and return it."""
        height: int = self.inside("Math.ceil(document.body.getBoundingClientRect().height)")
        self._page.wait_for_function("(height) => seen.heights.at(-1) === height", arg=height)
        return height
