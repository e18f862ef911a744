"""What a model can do, and how we know: the provider's own listing, then the price table, then its family.

Nothing is fetched here: `providers.model_listing` asks the provider, and whoever calls keeps the answer.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal, cast

from engine.routes import Capability
from engine.values import Value
from providers.chat_vendors import VENDORS
from providers.model_families import family_facts
from providers.prices import SOURCE, listed

Structured = Literal["json_schema", "json_object", "none"]
Caching = Literal["explicit", "implicit", "none"]
Origin = Literal["provider", "prices", "family", "wire", "default"]

ORIGINS: dict[str, str] = {
    "provider": "the provider's listing of the model",
    "prices": SOURCE,
    "family": "the table of model families",
    "wire": "what its wire can carry",
    "default": "unknown: a cautious guess",
}
"""What the origins mean, for people."""


class Profile(Value):
    """What one model at one provider can do; sizes in tokens.

    `structured`: how an answer is bound to a schema; with `none` the schema is told and the answer checked.
    `deferred_tools`: a learned tool can be shown without changing what is cached; elsewhere `use_tool` carries it.
    `deprecated_on`: when it ends or has ended. `origins`: for each field where it comes from.
    """

    provider: str
    model: str
    context_window: int = 32_768
    max_output: int = 4_096
    images: bool = False
    pdf: bool = False
    audio: bool = False
    tools: bool = True
    structured: Structured = "none"
    reasoning: bool = False
    deferred_tools: bool = False
    caching: Caching = "none"
    deprecated_on: date | None = None
    origins: dict[str, Origin] = {}

    @property
    def known(self) -> bool:
        """Whether anybody knows the model's window; if not, the sizes are guesses."""
        return self.knows("context_window")

    def knows(self, field: str) -> bool:
        """Tell whether `field` is a fact and no guess."""
        return self.origins.get(field, "default") != "default"

    @property
    def capabilities(self) -> dict[Capability, bool]:
        """What is known of what routes may ask for; what is not known is left out."""
        has: dict[Capability, tuple[str, bool]] = {
            "tools": ("tools", self.tools),
            "images": ("images", self.images),
            "pdf": ("pdf", self.pdf),
            "audio": ("audio", self.audio),
            "structured_output": ("structured", self.structured != "none"),
            "reasoning": ("reasoning", self.reasoning),
        }
        return {name: value for name, (field, value) in has.items() if self.knows(field)}


FIELDS = tuple(name for name in Profile.model_fields if name not in ("provider", "model", "origins"))


def profile(provider: str, model: str, entry: Mapping[str, Any] | None = None) -> Profile:
    """Return what the model can do; `entry` is the provider's listing of it, as `model_listing.list_model` gives it."""
    priced = listed(provider, model)
    window = priced.context_window if priced is not None else None
    sources: list[tuple[Origin, dict[str, Any]]] = [
        ("provider", listed_facts(entry or {})),
        ("prices", {"context_window": window} if window else {}),
        ("family", family_facts(model)),
        ("wire", _wire_facts(provider)),
    ]
    found: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin, facts in sources:
        for name, value in facts.items():
            if name not in found and value is not None:
                found[name], origins[name] = value, origin
    for name, value in _wire_bounds(provider).items():
        if name in found and found[name] != value:
            found[name], origins[name] = value, "wire"
    origins.update({name: "default" for name in FIELDS if name not in origins})
    return Profile(provider=provider, model=model, origins=origins, **found)


def _wire_facts(provider: str) -> dict[str, Any]:
    """Return what holds for every model that is called over this wire."""
    if provider in VENDORS:
        local = VENDORS[provider].priced_as is None
        return {
            "deferred_tools": False,
            "caching": None if provider == "chat" else "implicit",
            "structured": VENDORS[provider].structured if local else None,
        }
    caching = {"anthropic": "explicit", "openai": "implicit", "gemini": "implicit"}.get(provider)
    return {"deferred_tools": provider in ("anthropic", "openai") if caching else None, "caching": caching}


def _wire_bounds(provider: str) -> dict[str, Any]:
    """Return what this wire can't carry, whatever the model can do."""
    vendor = VENDORS.get(provider)
    if vendor is None:
        return {} if provider == "gemini" else {"audio": False}
    carried = {"images": vendor.images, "pdf": vendor.documents, "audio": vendor.audio}
    bounds: dict[str, Any] = {name: False for name, carries in carried.items() if not carries}
    return bounds if vendor.structured == "json_schema" else {**bounds, "structured": vendor.structured}


def listed_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts in a provider's listing of a model, in whichever of the known forms it comes.

    Forms: Anthropic (`max_input_tokens`, `capabilities.image_input.supported`), Gemini (`inputTokenLimit`), OpenAI
    (`shutdown_date`), OpenRouter (`context_length`, `architecture`, `supported_parameters`), Mistral
    (`max_context_length`, `capabilities.vision`), Groq (`context_window`), vLLM (`max_model_len`), llama.cpp (`meta`).
    """
    able = _part(entry, "capabilities")
    shape, top = _part(entry, "architecture"), _part(entry, "top_provider")
    modalities = shape.get("input_modalities") or entry.get("input_modalities")
    parameters = entry.get("supported_parameters")
    windows = ("max_input_tokens", "inputTokenLimit", "context_length", "max_context_length", "context_window")
    facts: dict[str, Any] = {
        "context_window": _number(entry, *windows, "max_model_len") or _number(_part(entry, "meta"), "n_ctx_train"),
        "max_output": _number(entry, "max_tokens", "outputTokenLimit", "max_completion_tokens")
        or _number(top, "max_completion_tokens"),
        "images": _flag(able, "image_input", "vision"),
        "pdf": _flag(able, "pdf_input"),
        "audio": _flag(able, "audio"),
        "tools": _flag(able, "function_calling"),
        "reasoning": _flag(able, "thinking", "reasoning") if able else _flag(entry, "thinking"),
        "structured": _binding(_flag(able, "structured_outputs")),
        "deprecated_on": _day(entry, "retires_at", "shutdown_date", "deprecation", "expiration_date"),
    }
    if isinstance(modalities, list):
        facts.update({name: word in modalities for name, word in _MODALITIES.items()})
    if isinstance(parameters, list):
        facts.update({"tools": "tools" in parameters, "reasoning": "reasoning" in parameters})
        facts["structured"] = "json_schema" if "structured_outputs" in parameters else _object(parameters)
    return {name: value for name, value in facts.items() if value is not None}


_MODALITIES = {"images": "image", "pdf": "file", "audio": "audio"}


def _object(parameters: list[Any]) -> Structured:
    return "json_object" if "response_format" in parameters else "none"


def _binding(supported: bool | None) -> Structured | None:
    return None if supported is None else "json_schema" if supported else "none"


def _part(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = entry.get(name)
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _number(entry: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _flag(entry: Mapping[str, Any], *names: str) -> bool | None:
    """Return a yes or no, given as such or as `{"supported": …}`; None where nothing is said."""
    for name in names:
        value = entry.get(name)
        if isinstance(value, dict):
            value = cast(dict[str, Any], value).get("supported")
        if isinstance(value, bool):
            return value
    return None


def _day(entry: Mapping[str, Any], *names: str) -> date | None:
    for name in names:
        value = entry.get(name)
        try:
            if isinstance(value, str):
                return datetime.fromisoformat(value).date()
        except ValueError:
            continue
    return None
