"""A strict server for every wire: it refuses with 400 what the real ones refuse, and remembers what it has said.

It checks one conversation: own turns come back unchanged with what they are bound to, each call is answered once,
references resolve. The rules of each wire are in its own module; a test sees every body in `bodies`.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Self

from tests.providers import referee_anthropic, referee_chat, referee_gemini, referee_interactions, referee_openai
from tests.providers.referee_rules import Exchange, Foul, Json, Turn, event

__all__ = ["Exchange", "Foul", "Json", "Referee", "Turn", "event"]

Judge = Callable[[Json, dict[str, str], list[Exchange]], None]
Speak = Callable[[Turn, Json, str], Iterable[Json | bytes]]
Prefix = Callable[[Json], tuple[Any, list[Any]]]
PATHS: list[tuple[str, Judge, Speak, Prefix]] = [
    (r"/v1/messages", referee_anthropic.judge, referee_anthropic.speak, referee_anthropic.prefix),
    (r"/v1/responses", referee_openai.judge, referee_openai.speak, referee_openai.prefix),
    (r"/v1/chat/completions", referee_chat.judge, referee_chat.speak, referee_chat.prefix),
    (
        r"/v1(beta)?/models/[^/]+:streamGenerateContent(\?alt=sse)?",
        referee_gemini.judge,
        referee_gemini.speak,
        referee_gemini.prefix,
    ),
    (
        r"/v1(beta)?/interactions",
        referee_interactions.judge,
        referee_interactions.speak,
        referee_interactions.prefix,
    ),
]
"""Path, rules, speech and cached prefix of each wire; a path that is not listed is answered with 404."""


class Referee:
    """Serves every wire on loopback until the `with` block ends."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.past: list[Exchange] = []
        self.prefixes: list[tuple[Any, list[Any]]] = []
        referee = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, sent, answer = referee.answer(self.path, headers, body)
                self.send_response(status)
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where the server listens, without a path; a wire's own base path comes behind it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def will_say(self, *turns: Turn) -> None:
        """Queue the next turns."""
        self.turns.extend(turns)

    def only_appended(self) -> bool:
        """Tell whether each accepted request began with all of the one before it, byte for byte, its head equal."""
        for before, after in pairwise(self.prefixes):
            head, entries = before
            if json.dumps([head, entries]) != json.dumps([after[0], after[1][: len(entries)]]):
                return False
        return True

    def answer(self, path: str, headers: dict[str, str], body: Json) -> tuple[int, dict[str, str], bytes]:
        """Judge one request and return status, headers and body of the answer."""
        self.bodies.append(body)
        self.headers.append(headers)
        wires = [wire for wire in PATHS if re.fullmatch(wire[0], path)]
        if not wires:
            return 404, {"content-type": "application/json"}, b'{"error": {"message": "no such path"}}'
        _, judge, speak, prefix = wires[0]
        try:
            judge(body, headers, self.past)
        except Foul as foul:
            error = {"error": {"code": 400, "type": "invalid_request_error", "message": str(foul)}}
            return 400, {"content-type": "application/json"}, json.dumps(error).encode()
        turn = self.turns.pop(0)
        if turn.raw is not None:
            return turn.raw
        reply_id = f"reply_{len(self.past) + 1}"
        self.prefixes.append(prefix(body))
        self.past.append(Exchange(body=body, turn=turn, reply_id=reply_id))
        named = {"content-type": "text/event-stream", "request-id": "req_1", "x-request-id": "req_1"}
        return 200, {**named, **turn.headers}, b"".join(map(event, speak(turn, body, reply_id)))
