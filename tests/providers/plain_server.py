"""A server on loopback that answers each request as a test says, and keeps what it was sent."""

import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The key that came along, by either header."""
        return self.headers.get("authorization", "").removeprefix("Bearer ") or self.headers.get("x-goog-api-key", "")

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


Answer = tuple[int, Any] | tuple[int, Any, Mapping[str, str]]
Answers = Callable[[Asked], Answer]


@dataclass
class PlainServer:
    """Where the server is, what it was asked, and how it answers: a status and a JSON value or raw bytes."""

    url: str
    answers: Answers
    asked: list[Asked] = field(default_factory=list[Asked])


@contextmanager
def plain_server(answers: Answers) -> Generator[PlainServer]:
    """Serve on a port that the system chooses while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            server.asked.append(asked)
            status, value, *more = server.answers(asked)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"content-type": "application/json", **(more[0] if more else {})}.items():
                self.send_header(name, text)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = PlainServer(f"http://127.0.0.1:{http.server_address[1]}", answers)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join(10)
        http.server_close()
