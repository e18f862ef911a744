"""What a model can do is told with where it is known from; the provider's word goes before every table."""

import inspect
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from genai_prices import data_snapshot

from engine.errors import Invalid
from providers import model_families, profiles
from providers.errors import MalformedReply, ProviderUnavailable, RateLimited
from providers.model_listing import list_model
from providers.profiles import Profile, listed_facts, profile
from tests.providers.chat_streams import document
from tests.providers.referee import Json, Turn

ENTRIES: dict[str, tuple[Json, Json]] = {
    "anthropic": (
        {
            "id": "m",
            "type": "model",
            "max_input_tokens": 900_000,
            "max_tokens": 70_000,
            "lifecycle": "deprecated",
            "retires_at": "2027-03-01T00:00:00Z",
            "capabilities": {
                "image_input": {"supported": True},
                "pdf_input": {"supported": False},
                "structured_outputs": {"supported": True},
                "thinking": {"supported": True, "types": {}},
            },
        },
        {
            "context_window": 900_000,
            "max_output": 70_000,
            "images": True,
            "pdf": False,
            "structured": "json_schema",
            "reasoning": True,
            "deprecated_on": date(2027, 3, 1),
        },
    ),
    "gemini": (
        {"name": "models/m", "inputTokenLimit": 500_000, "outputTokenLimit": 60_000, "thinking": True},
        {"context_window": 500_000, "max_output": 60_000, "reasoning": True},
    ),
    "openai": (
        {"id": "m", "object": "model", "owned_by": "x", "shutdown_date": "2026-12-11"},
        {"deprecated_on": date(2026, 12, 11)},
    ),
    "openrouter": (
        {
            "id": "m",
            "context_length": 131_072,
            "architecture": {"input_modalities": ["text", "image"]},
            "top_provider": {"max_completion_tokens": 9_000},
            "supported_parameters": ["tools", "response_format", "reasoning"],
            "expiration_date": None,
        },
        {
            "context_window": 131_072,
            "max_output": 9_000,
            "images": True,
            "pdf": False,
            "audio": False,
            "tools": True,
            "reasoning": True,
            "structured": "json_object",
        },
    ),
    "mistral": (
        {
            "id": "m",
            "max_context_length": 128_000,
            "capabilities": {"function_calling": True, "vision": False, "completion_chat": True},
            "deprecation": "2027-01-31T12:00:00Z",
        },
        {"context_window": 128_000, "images": False, "tools": True, "deprecated_on": date(2027, 1, 31)},
    ),
    "groq": (
        {"id": "m", "context_window": 131_072, "max_completion_tokens": 32_768, "active": True},
        {"context_window": 131_072, "max_output": 32_768},
    ),
    "vllm": ({"id": "m", "max_model_len": 40_960}, {"context_window": 40_960}),
    "llamacpp": ({"id": "m", "meta": {"n_ctx_train": 8_192}}, {"context_window": 8_192}),
    "nonsense": ({"id": 5, "context_window": "much", "capabilities": [], "max_tokens": True, "meta": None}, {}),
}


@pytest.mark.parametrize("form", ENTRIES)
def test_every_form_of_a_listing_is_read(form: str):
    entry, facts = ENTRIES[form]
    assert listed_facts(entry) == facts


def known_to_the_table(provider: str) -> Any:
    """Return a model whose window the price table has."""
    for known in data_snapshot.get_snapshot().providers:
        for model in known.models if known.id == provider else ():
            if model.context_window and model_families.family_facts(model.id):
                return model
    raise AssertionError(f"no model of {provider} with a window")


def test_the_providers_word_goes_before_the_tables():
    model = known_to_the_table("anthropic")
    told = profile("anthropic", model.id, {"max_input_tokens": 12_345, "retires_at": "2027-03-01T00:00:00Z"})
    assert (told.context_window, told.origins["context_window"]) == (12_345, "provider")
    assert (told.deprecated_on, told.origins["deprecated_on"]) == (date(2027, 3, 1), "provider")
    alone = profile("anthropic", model.id)
    assert (alone.context_window, alone.origins["context_window"]) == (model.context_window, "prices")
    assert alone.origins["max_output"] == "family"
    assert alone.known


def test_an_unknown_model_gets_cautious_guesses_that_say_so():
    found = profile("chat", "nobody-knows-this")
    assert not found.known
    assert set(found.origins.values()) == {"default", "wire"}
    assert (found.context_window, found.max_output, found.images, found.tools) == (32_768, 4_096, False, True)
    assert "tools" not in found.capabilities
    assert found.capabilities == {"structured_output": False}


def test_every_fact_names_its_origin():
    fields = set(Profile.model_fields) - {"provider", "model", "origins"}
    for provider in ("anthropic", "openai", "gemini", "deepseek", "scripted"):
        assert set(profile(provider, "any").origins) == fields


def test_a_wire_carries_no_more_than_it_can():
    family = next(entry for entry in FAMILY_NAMES if model_families.family_facts(entry).get("images"))
    assert profile("openrouter", family).images
    blind = profile("deepseek", family)
    assert (blind.images, blind.origins["images"]) == (False, "wire")
    assert profile("deepseek", "any", {"capabilities": {"structured_outputs": True}}).structured == "json_object"
    assert profile("groq", "any", {"capabilities": {"structured_outputs": True}}).structured == "none"
    assert profile("openai", "any", {"input_modalities": ["audio"]}).audio is False


def test_wires_differ_in_caching_and_in_how_tools_are_learned():
    caching = {name: profile(name, "any").caching for name in ("anthropic", "openai", "groq", "chat")}
    assert caching == {"anthropic": "explicit", "openai": "implicit", "groq": "implicit", "chat": "none"}
    deferred = {name: profile(name, "any").deferred_tools for name in ("anthropic", "openai", "gemini", "mistral")}
    assert deferred == {"anthropic": True, "openai": True, "gemini": False, "mistral": False}


def test_what_routes_ask_for_is_told_only_where_it_is_known():
    told = profile("openrouter", "any", ENTRIES["openrouter"][0])
    assert told.capabilities == {
        "tools": True,
        "images": True,
        "pdf": False,
        "audio": False,
        "structured_output": True,
        "reasoning": True,
    }


def examples() -> Iterator[str]:
    """Return the models of the price table, by their names at their makers."""
    for provider in data_snapshot.get_snapshot().providers:
        if provider.id in ("anthropic", "openai", "google", "mistral", "deepseek", "x-ai"):
            yield from (model.id for model in provider.models)


FAMILY_NAMES = sorted(examples())


def test_every_family_is_whole_and_some_model_belongs_to_most_of_them():
    for _, facts in model_families.FAMILIES:
        assert {"context_window", "max_output", "tools"} <= set(facts) <= set(Profile.model_fields)
        assert facts["max_output"] < facts["context_window"] + 1
    reached = {
        next((pattern.pattern for pattern, _ in model_families.FAMILIES if pattern.match(name)), "")
        for name in FAMILY_NAMES
    }
    assert len(reached) > 15


def test_a_makers_prefix_and_capitals_do_not_matter():
    name = next(entry for entry in FAMILY_NAMES if model_families.family_facts(entry))
    assert model_families.family_facts(f"Maker/{name.upper()}") == model_families.family_facts(name)


def test_patterns_of_names_stand_in_one_file():
    assert "claude" not in inspect.getsource(profiles)
    assert "gpt" not in inspect.getsource(profiles)


# --- asking the provider ---


class Listing:
    """A server that gives its answers in turn, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[Turn] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        listing = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listing.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                raw = listing.answers.pop(0).raw
                assert raw is not None
                self.send_response(raw[0])
                self.end_headers()
                self.wfile.write(raw[2])

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def will_say(self, *answers: Turn) -> None:
        """Queue the next answers."""
        self.answers.extend(answers)


@pytest.fixture
def server() -> Iterator[Listing]:
    listing = Listing()
    thread = threading.Thread(target=listing.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield listing
    listing.http.shutdown()
    thread.join(10)
    listing.http.server_close()


ENTRY: Json = {"id": "maker/m", "context_window": 5, "aliases": ["m-latest"]}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("provider", "base", "body", "path", "header"),
    [
        ("anthropic", "", ENTRY, "/v1/models/maker%2Fm", "x-api-key"),
        ("openai", "/v1", ENTRY, "/v1/models/maker%2Fm", "authorization"),
        ("gemini", "/v1beta", ENTRY, "/v1beta/models/maker%2Fm", "x-goog-api-key"),
        ("groq", "/v1", {"object": "list", "data": [{"id": "other"}, ENTRY]}, "/v1/models", "authorization"),
        ("together", "/v1", [{"id": "other"}, ENTRY], "/v1/models", "authorization"),
        ("azure", "/openai/v1?api-version=p", {"data": [ENTRY]}, "/openai/v1/models?api-version=p", "api-key"),
    ],
)
async def test_each_provider_is_asked_at_its_own_place(
    server: Listing, provider: str, base: str, body: Any, path: str, header: str
):
    server.will_say(document(200, body))
    assert await list_model(provider, "maker/m", "the-key", f"{server.url}{base}") == ENTRY
    ((asked, headers),) = server.asked
    assert asked == path
    assert headers[header].endswith("the-key")


@pytest.mark.anyio
async def test_aliases_count_and_unknown_models_are_none(server: Listing):
    body = {"data": [ENTRY]}
    server.will_say(document(200, body), document(200, body), document(404, {"error": "no"}))
    assert await list_model("mistral", "m-latest", "k", f"{server.url}/v1") == ENTRY
    assert await list_model("mistral", "no-such", "k", f"{server.url}/v1") is None
    assert await list_model("openai", "no-such", "k", f"{server.url}/v1") is None
    server.will_say(document(200, {"data": []}))
    assert await list_model("ollama", "m", base_url=f"{server.url}/v1") is None
    assert "authorization" not in server.asked[-1][1]


@pytest.mark.anyio
async def test_a_listing_that_fails_is_a_named_error(server: Listing, unused_port: int):
    server.will_say(document(429, {"error": {"message": "slow down"}}), Turn(raw=(200, {}, b"<html>")))
    with pytest.raises(RateLimited, match="slow down"):
        await list_model("openai", "m", "k", f"{server.url}/v1")
    with pytest.raises(MalformedReply):
        await list_model("openai", "m", "k", f"{server.url}/v1")
    with pytest.raises(ProviderUnavailable):
        await list_model("openai", "m", "k", f"http://127.0.0.1:{unused_port}/v1")
    with pytest.raises(Invalid, match="base URL"):
        await list_model("vllm", "m")


def test_what_is_listed_fits_a_profile():
    for entry, _ in ENTRIES.values():
        assert profile("openrouter", "any", entry).origins["context_window"] in ("provider", "default")


def test_the_address_of_every_vendor_is_one():
    for vendor in profiles.VENDORS.values():
        assert vendor.base_url is None or httpx2.URL(vendor.base_url).host
