"""Routes of the settings and accounts of tenants: who is called with which key, and that a key goes nowhere else."""

import asyncio
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest

from content.blobs import Blobs
from content.database import Database
from engine.errors import Invalid
from engine.routes import ModelEntry, Route, RouteList
from engine.transcript import Media, Message, ModelRequest, ToolSpec, user
from engine.values import Principal
from providers.errors import ProviderError, RateLimited, Refused, Unauthorized
from providers.health import Breaker
from providers.routing import NoCandidate
from providers.scripted import ScriptedReply, register_script
from providers.transcription import Recording
from server.data_folder import open_data_folder
from server.embedding import Embedders
from server.keys import open_key_ring
from server.models import Models
from server.settings_models import AccountSettings, ModelSettings, TenantModels
from server.store.secrets import SqlSecrets
from tests.providers.plain_server import Answer, Asked, PlainServer, plain_server

pytestmark = pytest.mark.anyio

PLANTED = "sk-planted-0123456789"


def vectors(asked: Asked) -> Answer:
    rows = [{"index": index, "embedding": [3.0, 4.0]} for index in range(len(asked.json["input"]))]
    return 200, {"data": rows, "usage": {"prompt_tokens": 1}}


@pytest.fixture
def server() -> Generator[PlainServer]:
    with plain_server(vectors) as opened:
        yield opened


@pytest.fixture
async def secrets(tmp_path: Path) -> AsyncGenerator[SqlSecrets]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await database.migrate()
    yield SqlSecrets(database, open_key_ring(open_data_folder(tmp_path / "data")))
    await database.close()


Open = Callable[..., Models]


class Closable:
    """A client that knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
async def opened(secrets: SqlSecrets, tmp_path: Path) -> AsyncGenerator[Open]:
    """Makes models over settings, closed after the test."""
    async with AsyncExitStack() as stack:

        def make(**settings: Any) -> Models:
            given = ModelSettings.model_validate(settings)
            models = Models(given, Blobs((tmp_path / "blobs").as_uri()), secrets, Breaker())
            stack.push_async_callback(models.close)
            return models

        yield make


def shop(server: PlainServer, **further: Any) -> dict[str, Any]:
    """Return settings whose vectors come from the account `shop` at the test's server."""
    account = AccountSettings(provider="openai", api_key="secret:shop", base_url=f"{server.url}/v1", **further)
    routes = {"vectors": RouteList(candidates=(ModelEntry(model="openai/small", account="shop"),))}
    return {"accounts": {"shop": account}, "routes": routes, "embedding": "vectors"}


async def test_the_first_that_names_a_model_decides_and_the_default_of_the_tenant_comes_last(opened: Open) -> None:
    models = opened(
        default="scripted/base",
        routes={"fast": RouteList(candidates=("scripted/one", "scripted/two"))},
        tenants={"acme": TenantModels(default="fast", routes={"own": RouteList(candidates=("scripted/own", "fast"))})},
    )
    found = models.route("local", ("node", None), ("interaction", "fast"), ("later", "scripted/no"))
    assert found.origin == "interaction"
    assert [one.model for one in found.route.candidates] == ["one", "two"]
    assert str(models.route("local").route) == "scripted/base"
    assert (models.route("acme").origin, str(models.route("acme").route)) == ("settings", "scripted/one")
    assert [one.model for one in models.route("acme", ("call", "own")).route.candidates] == ["own", "one", "two"]
    with pytest.raises(Invalid, match="'own' is not a route"):
        models.route("local", ("call", "own"))


async def test_what_is_not_there_is_refused_before_any_call(opened: Open, server: PlainServer) -> None:
    models = opened(**shop(server))
    with pytest.raises(Invalid, match=r"no model provider 'nowhere'; use one of: .*anthropic"):
        models.route("local", ("call", ("scripted/a", "nowhere/b")))
    with pytest.raises(Invalid, match=r"no account 'bank' .* the settings have: shop"):
        models.route("local", ("call", (ModelEntry(model="openai/a", account="bank"),)))
    with pytest.raises(Invalid, match="'shop' is one of openai; anthropic/a can't be called on it"):
        models.route("local", ("call", (ModelEntry(model="anthropic/a", account="shop"),)))
    with pytest.raises(Invalid, match="no model is configured"):
        models.route("local")


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ({"provider": "openai", "api_key": PLANTED}, "named by reference"),
        ({"provider": "openai", "api_key": "secret:"}, "named by reference"),
        ({"provider": "openai", "base_url": "https://me:pw@host/v1"}, "holds no credentials"),
    ],
)
def test_an_account_holds_references_only(account: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AccountSettings.model_validate(account)


async def test_each_tenant_has_its_own_key_and_a_changed_one_is_used_by_the_next_call(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal, mallory: Principal
) -> None:
    models = opened(**shop(server))
    with pytest.raises(NoCandidate, match=r"no API key for the account shop is stored.*upstairs secret shop"):
        await models.embed("local", ["a"])
    await secrets.put(alice, "shop", "first")
    await secrets.put(mallory, "shop", "foreign")
    for tenant in ("local", "other", "local"):
        await models.embed(tenant, ["a"])
    await secrets.put(alice, "shop", "second")
    for tenant in ("local", "other"):
        await models.embed(tenant, ["a"])
    assert [asked.key for asked in server.asked] == ["first", "foreign", "first", "second", "foreign"]


async def test_a_new_key_is_tried_at_once_after_the_old_one_was_refused(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal
) -> None:
    settings = shop(server)
    settings["accounts"]["spare"] = settings["accounts"]["shop"].model_copy(update={"api_key": "secret:spare"})
    both = (ModelEntry(model="openai/small", account="shop"), ModelEntry(model="openai/small", account="spare"))
    models = opened(**settings | {"routes": {"vectors": RouteList(candidates=both)}})
    server.answers = lambda asked: vectors(asked) if asked.key != "old" else (401, {"error": {"message": "no"}})
    await secrets.put(alice, "shop", "old")
    await secrets.put(alice, "spare", "reserve")
    for how in ("failed", "rejected"):
        _, routing = await models.embed("local", ["a"])
        assert (routing.account, [one.how for one in routing.passed]) == ("spare", [how])
    await secrets.put(alice, "shop", "new")
    _, routing = await models.embed("local", ["a"])
    assert (routing.account, routing.passed) == ("shop", ())
    assert [asked.key for asked in server.asked] == ["old", "reserve", "reserve", "new"]


async def test_a_key_is_in_no_error_even_where_the_provider_repeats_it(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal
) -> None:
    models = opened(**shop(server))
    await secrets.put(alice, "shop", PLANTED)
    server.answers = lambda asked: (
        401,
        {"error": {"message": f"wrong key {asked.key}", "code": asked.key}},
        {"x-request-id": f"req-{asked.key}"},
    )
    with pytest.raises(Unauthorized) as raised:
        await models.embed("local", ["a"])
    assert server.asked[0].key == PLANTED
    assert "wrong key [key]" in raised.value.message
    told = "".join(traceback.format_exception(raised.value))
    assert PLANTED not in f"{told} {raised.value!r} {raised.value.as_json()} {vars(raised.value)}"


def asking(route: Route, **fields: Any) -> ModelRequest:
    return ModelRequest.model_validate({"route": route, "messages": (user("Hello"),), **fields})


def scripts(**said: Any) -> None:
    """Register scripts that say the same line at every call."""
    for name, line in said.items():
        register_script(f"models-{name}", lambda request, line=line: line)


def no(kind: type[ProviderError], **about: Any) -> ProviderError:
    return kind("No.", provider="scripted", model="m", **about)


async def test_a_call_falls_back_and_its_options_and_sizes_are_those_of_the_candidate(opened: Open) -> None:
    seen: list[ModelRequest] = []

    def listening(request: ModelRequest) -> str:
        seen.append(request)
        return "here"

    register_script("models-listening", listening)
    scripts(busy=no(RateLimited, retry_after_s=99.0))
    models = opened()
    choice = (
        ModelEntry(model="scripted/models-busy", options={"effort": "high"}),
        ModelEntry(model="scripted/models-listening", options={"effort": "low"}),
    )
    route = models.route("local", ("call", choice)).route.with_defaults({"seed": 7})
    told: list[str] = []

    async def note(passed: Any) -> None:
        told.append(passed.code)

    answering = models.answering("local", note)
    pieces: list[str] = []
    reply = await answering.generate(asking(route), lambda delta: pieces.append(delta.text))
    assert (reply.message.text, "".join(pieces), told) == ("here", "here", ["rate_limited"])
    assert seen[0].route == Route(provider="scripted", model="models-listening", options={"effort": "low", "seed": 7})
    # The second call of the same process leaves the busy model alone without asking it.
    await answering.generate(asking(route))
    assert [[one.how for one in routing.passed] for routing in answering.routings] == [["failed"], ["rejected"]]


async def test_a_refusal_ends_the_call_unless_the_route_says_otherwise_and_is_paid_for(opened: Open) -> None:
    scripts(declines=ScriptedReply(text="I won't.", finish="refusal"), agrees="I will.")
    models = opened()
    names = ("scripted/models-declines", "scripted/models-agrees")
    plain = models.answering("local")
    reply = await plain.generate(asking(models.route("local", ("call", names)).route))
    assert (reply.message.text, plain.routings[0].passed) == ("I won't.", ())
    insisting = tuple(ModelEntry(model=name, next_on=("refused",)) for name in names)
    other = models.answering("local")
    reply = await other.generate(asking(models.route("local", ("call", insisting)).route))
    (passed,) = other.routings[0].passed
    assert (reply.message.text, passed.code, passed.spent.turns) == ("I will.", Refused.code, 1)
    assert other.routings[0].spent.output_tokens == passed.spent.output_tokens > 0


async def test_what_a_request_holds_speaks_against_a_model_that_can_not_take_it(opened: Open) -> None:
    scripts(sees="seen")
    models = opened()
    picture = Message(role="user", parts=(Media(ref="0" * 64, mime="image/png"),))
    tool = ToolSpec(name="look", description="Look.", input_schema={"type": "object"})
    # Whisper takes neither pictures nor tools; no key is there either, so the reason that counts is the key.
    route = models.route("local", ("call", ("openai/whisper-1", "scripted/models-sees"))).route
    answering = models.answering("local")
    reply = await answering.generate(asking(route, messages=(picture,), tools=(tool,)))
    assert reply.message.text == "seen"
    ((passed,),) = [routing.passed for routing in answering.routings]
    assert (passed.how, passed.code) == ("rejected", "unusable")
    assert "no API key for openai is configured: set OPENAI_API_KEY" in passed.reason


async def test_vectors_of_different_models_are_never_mixed(opened: Open) -> None:
    models = opened(embedding="both", routes={"both": RouteList(candidates=("openai/small", "openai/large"))})
    with pytest.raises(Invalid, match="lists different models"):
        await models.embed("local", ["a"])
    assert not models.embeds_locally("local")
    local = opened()
    assert local.embeds_locally("local")
    with pytest.raises(Invalid, match="made by the packaged model"):
        await local.embed("local", ["a"])


async def test_documents_and_queries_of_a_tenant_lie_in_the_space_of_its_route(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal
) -> None:
    await secrets.put(alice, "shop", "first")
    embedders = Embedders(opened(**shop(server)))
    made = await embedders.embed("local", ["one", "two"])
    assert np.allclose(made.vectors, [[0.6, 0.8], [0.6, 0.8]])
    assert (made.model_id, made.facts["dimensions"], made.facts["tokens"]) == ("openai/small", 2, 1)
    assert made.spent.unpriced_turns == 1
    searching = embedders.model("local")
    assert searching.model_id == made.model_id
    asked = await asyncio.to_thread(searching.embed, ["one"])
    assert (asked.shape, searching.dimensions) == ((1, 2), 2)
    packaged = Embedders(opened())
    own = await packaged.embed("local", ["one"])
    assert own.model_id == packaged.model("local").model_id
    assert (own.vectors.shape, own.spent.usd) == ((1, 384), 0.0)


async def test_speech_goes_to_the_configured_route_and_falls_back(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal
) -> None:
    with pytest.raises(Invalid, match="UPSTAIRS_MODELS__TRANSCRIPTION"):
        await opened().transcribe("local", Recording(b"x", "a.wav"))
    models = opened(
        **shop(server)
        | {
            "routes": {
                "speech": RouteList(
                    candidates=(
                        ModelEntry(model="openai/away", account="shop"),
                        ModelEntry(model="openai/own", account="shop", options={"response_format": "json"}),
                    )
                )
            },
            "transcription": "speech",
            "embedding": "local",
        }
    )
    await secrets.put(alice, "shop", "first")
    server.answers = lambda asked: (200, {"text": "Hi."}) if b"own" in asked.body else (404, {"error": {}})
    transcript, routing = await models.transcribe("local", Recording(b"sound", "a.wav"))
    assert (transcript.text, routing.index, [one.code for one in routing.passed]) == ("Hi.", 1, ["invalid_request"])


async def test_standings_say_of_each_candidate_whether_it_can_be_called_and_what_is_unknown(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal
) -> None:
    settings = shop(server, region="eu")
    entries = (
        ModelEntry(model="openai/unheard-of", account="shop", regions=("us",)),
        ModelEntry(model="openai/unheard-of", account="shop", regions=("eu",)),
        "anthropic/claude-sonnet-5-5",
        "scripted/echo",
    )
    models = opened(
        **settings | {"default": "nothing", "routes": {"all": RouteList(candidates=entries)}, "embedding": "local"}
    )
    await secrets.put(alice, "shop", "first")
    bad, *found = await models.standings("local")
    assert (bad.route, bad.problem) == (
        "default model",
        "'nothing' is not a route; write provider/model, or one of the routes of the settings: all",
    )
    assert [(one.route, one.model, one.account) for one in found] == [
        ("route all", "openai/unheard-of", "shop"),
        ("route all", "openai/unheard-of", "shop"),
        ("route all", "anthropic/claude-sonnet-5-5", None),
        ("route all", "scripted/echo", None),
    ]
    assert found[0].problem == "its region is eu; allowed: us"
    assert (found[1].problem, found[1].notes) == (None, ("unpriced", "unknown model"))
    assert found[2].problem is not None
    assert "no API key for anthropic" in found[2].problem
    assert (found[3].problem, found[3].notes) == (None, ())


async def test_a_replaced_client_is_closed_when_its_last_call_is_over(
    opened: Open, server: PlainServer, secrets: SqlSecrets, alice: Principal
) -> None:
    closed: list[str] = []

    class Client:
        def __init__(self, key: str) -> None:
            self.key = key

        async def aclose(self) -> None:
            closed.append(self.key)

    def client(provider: str, key: str, base_url: str | None, load: Any) -> Client:
        return Client(key)

    models = opened(**shop(server))
    route = models.embedding_route("local")
    await secrets.put(alice, "shop", "first")
    async with models.accounts.opened("local", route, client) as first:
        await secrets.put(alice, "shop", "second")
        async with models.accounts.opened("local", route, client) as second:
            assert (first.key, second.key, closed) == ("first", "second", [])
    assert closed == ["first"]
    await models.close()
    assert closed == ["first", "second"]


async def test_a_client_is_made_beside_the_event_loop_and_of_two_made_at_once_one_is_kept(opened: Open) -> None:
    asked, made, goes_on = asyncio.Event(), list[Closable](), threading.Barrier(3)
    loop = asyncio.get_running_loop()

    def slow(*_: Any) -> Closable:
        loop.call_soon_threadsafe(asked.set)
        # An import that takes its time; the loop must go on, or nobody ever comes here.
        goes_on.wait(timeout=60)
        made.append(Closable())
        return made[-1]

    models = opened()
    route = Route.parse("scripted/echo")
    with anyio.fail_after(60):
        both = [asyncio.create_task(models.accounts.client("local", route, slow)) for _ in range(2)]
        await asked.wait()
        await anyio.to_thread.run_sync(goes_on.wait)
        first, second = [await one for one in both]
    assert first is second
    assert [one.closed for one in made if one is not first] == [True]
    assert not first.closed
