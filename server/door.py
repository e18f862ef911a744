"""Who may come in over HTTP: the token of the data folder as a bearer, or a cookie that a one-time link set.

A cookie reaches this server from any page of the browser, so whatever it authorises beyond reading must come from our
own pages; a bearer is sent by whoever holds it and needs no such check.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers

from engine.errors import Problem
from engine.values import Principal
from server.settings import Settings

COOKIE = "upstairs"
COOKIE_SECONDS = 12 * 3600
LINK_SECONDS = 10 * 60
MAX_LINKS = 1000

LocalUser = Callable[[str | None], Principal]


@dataclass(frozen=True)
class Entry:
    """Somebody who was let in; `by_cookie` asks for the same-origin check on whatever changes something."""

    principal: Principal
    by_cookie: bool


class Door:
    """Checks credentials, hosts and origins; mints links and cookies. It belongs to one server process."""

    def __init__(
        self, token: str, local_user: LocalUser, settings: Settings, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Keep `token`, at least 32 characters; `clock` gives seconds since 1970."""
        self._token = token.encode()
        self._key = hashlib.sha256(b"upstairs cookie\0" + self._token).digest()
        self._local_user = local_user
        self._clock = clock
        self._links: dict[str, tuple[float, str | None]] = {}
        public = urlsplit(settings.public_url) if settings.public_url else None
        self._hosts = {"127.0.0.1", "localhost", "[::1]"}
        if settings.host not in ("0.0.0.0", "::", ""):  # noqa: S104 - every address is no name of this server
            self._hosts.add(f"[{settings.host}]" if ":" in settings.host else settings.host.lower())
        self._public_host = public.netloc.lower() if public else None
        self._public_origin = f"{public.scheme}://{public.netloc}".lower() if public else None
        self._origins = {origin.rstrip("/").lower() for origin in settings.allowed_origins}

    def host_allowed(self, host: str) -> bool:
        """Tell whether `host` (of the Host header, any port) names this server: a rebound foreign name does not."""
        host = host.lower()
        if host == self._public_host:
            return True
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, port = host, "0"
        return name in self._hosts and port.isdecimal()

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Tell whether a page of `origin` may call: our own pages, and the origins that the settings name."""
        return origin.lower() in self._origins or self.same_origin(origin, host)

    def same_origin(self, origin: str, host: str) -> bool:
        """Tell whether `origin` is that of our own pages as this request reached them under `host`."""
        origin = origin.lower()
        return origin in (f"http://{host.lower()}", self._public_origin)

    def entry(self, headers: Headers) -> Entry | None:
        """Return who is calling by these headers, or None when they hold no valid credential.

        A bearer may name a local user in `Upstairs-User`; a cookie carries the user of its link.

        Raises:
            Invalid: there is no such local user.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if not hmac.compare_digest(given.strip().encode(), self._token):
                return None
            return Entry(self._local_user(headers.get("upstairs-user")), by_cookie=False)
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE and (found := self._read_cookie(value)) is not None:
                return Entry(self._local_user(found["user"]), by_cookie=True)
        return None

    def link(self, path: str, user: str | None = None) -> str:
        """Return `path` with a token that works once, within ten minutes, and sets the cookie of `user`."""
        now = self._clock()
        self._links = {code: link for code, link in self._links.items() if link[0] > now}
        while len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        code = secrets.token_urlsafe(24)
        self._links[code] = (now + LINK_SECONDS, user)
        return f"{path}{'&' if '?' in path else '?'}{urlencode({'token': code})}"

    def redeem(self, code: str) -> str | None:
        """Return the cookie for the one-time token `code`, or None when it was used, is too old or was never made."""
        until, user = self._links.pop(code, (0.0, None))
        if until <= self._clock():
            return None
        try:
            self._local_user(user)
        except Problem:
            return None
        return self._sign({"user": user, "until": int(self._clock()) + COOKIE_SECONDS, "nonce": secrets.token_hex(8)})

    def _sign(self, said: dict[str, Any]) -> str:
        body = base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode().rstrip("=")
        return f"{body}.{hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()}"

    def _read_cookie(self, value: str) -> dict[str, Any] | None:
        body, _, seal = value.partition(".")
        wanted = hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(seal.encode(), wanted.encode()):
            return None
        try:
            said = cast("dict[str, Any]", json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
        except (ValueError, binascii.Error):
            return None
        return said if said["until"] > self._clock() else None
