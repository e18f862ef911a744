"""Credentials, hosts and origins of loopback HTTP."""

import pytest
from starlette.datastructures import Headers

from engine.errors import Invalid
from engine.values import Principal
from server.door import COOKIE, COOKIE_SECONDS, LINK_SECONDS, Door
from server.settings import Settings

TOKEN = "t" * 43
NAMES = {None: "me", "finn": "finn"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def local_user(name: str | None) -> Principal:
    if name not in NAMES:
        raise Invalid(f"there is no local user {name!r}")
    return Principal(tenant="local", subject=NAMES[name])


def door(clock: Clock | None = None, *, token: str = TOKEN, public_url: str | None = None) -> Door:
    settings = Settings(public_url=public_url, allowed_origins=("https://tools.example",))
    return Door(token, local_user, settings, clock=clock or Clock())


def cookie(value: str) -> Headers:
    return Headers({"cookie": f"other=1; {COOKIE}={value}"})


def code_of(path: str) -> str:
    return path.partition("token=")[2]


def test_a_bearer_with_the_token_is_the_local_user_and_may_name_another_one() -> None:
    opened = door()
    entry = opened.entry(Headers({"authorization": f"Bearer {TOKEN}"}))
    assert entry is not None
    assert (entry.principal.subject, entry.by_cookie) == ("me", False)
    named = opened.entry(Headers({"authorization": f"bearer {TOKEN}", "upstairs-user": "finn"}))
    assert named is not None
    assert named.principal.subject == "finn"
    with pytest.raises(Invalid, match="nobody"):
        opened.entry(Headers({"authorization": f"Bearer {TOKEN}", "upstairs-user": "nobody"}))


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ü"])
def test_any_other_authorization_lets_nobody_in(value: str) -> None:
    assert door().entry(Headers({"authorization": value})) is None


def test_a_link_works_once_and_its_cookie_carries_its_user_until_it_is_too_old() -> None:
    clock = Clock()
    opened = door(clock)
    code = code_of(opened.link("/runs", "finn"))
    sealed = opened.redeem(code)
    assert sealed is not None
    assert opened.redeem(code) is None
    entry = opened.entry(cookie(sealed))
    assert entry is not None
    assert (entry.principal.subject, entry.by_cookie) == ("finn", True)
    clock.now += COOKIE_SECONDS + 1
    assert opened.entry(cookie(sealed)) is None


def test_a_link_that_is_too_old_or_was_never_made_sets_no_cookie() -> None:
    clock = Clock()
    opened = door(clock)
    code = code_of(opened.link("/runs"))
    clock.now += LINK_SECONDS
    assert opened.redeem(code) is None
    assert opened.redeem("") is None
    assert opened.redeem("made-up") is None


def test_a_cookie_survives_a_restart_and_no_change_of_it_or_of_the_token() -> None:
    opened = door()
    sealed = opened.redeem(code_of(opened.link("/runs")))
    assert sealed is not None
    assert door().entry(cookie(sealed)) is not None
    assert door(token="u" * 43).entry(cookie(sealed)) is None
    body, _, seal = sealed.partition(".")
    other = opened.redeem(code_of(opened.link("/runs", "finn")))
    assert other is not None
    for forged in (f"{other.partition('.')[0]}.{seal}", f"{body}.", body, f"{body}.{'0' * 64}", "", ".", "ü.ü"):
        assert opened.entry(Headers(raw=[(b"cookie", f"{COOKIE}={forged}".encode("latin-1"))])) is None


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:7777", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:7777", True),
        ("flats.example", True),
        ("flats.example:80", False),
        ("evil.example:7777", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:7777@evil.example", False),
        ("localhost:evil", False),
        ("", False),
        (":7777", False),
    ],
)
def test_only_names_of_this_server_are_served(host: str, allowed: bool) -> None:
    assert door(public_url="https://flats.example").host_allowed(host) is allowed


def test_pages_of_the_server_itself_and_of_named_origins_may_call_and_no_others() -> None:
    opened = door(public_url="https://flats.example")
    here = "127.0.0.1:7777"
    for origin in ("http://127.0.0.1:7777", "https://flats.example", "https://tools.example"):
        assert opened.origin_allowed(origin, here)
    for origin in ("null", "http://127.0.0.1:8888", "https://evil.example", "http://localhost:7777"):
        assert not opened.origin_allowed(origin, here)
    assert not opened.same_origin("https://tools.example", here)
