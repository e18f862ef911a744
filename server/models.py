"""Which model answers a call: routes of the settings, the candidates that can be called, and calls that fall back."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from content.blobs import Blobs
from engine.errors import Invalid
from engine.routes import Capability, ModelChoice, Route, Routing, resolve
from engine.transcript import ModelReply, ModelRequest, RateFacts
from engine.values import Value
from providers.base import OnDelta, Provider
from providers.embeddings import Embedded, Purpose, embed
from providers.errors import ContextFull, NotYet, ProviderError, Refused
from providers.facts import facts_of
from providers.health import Breaker, Health
from providers.quotas import Cost, counted
from providers.routing import Answered, Candidate, Facts, Need, OnFailed, choose, first_answer
from providers.tokens import TokenEstimator, attachments, text_tokens
from providers.transcription import Recording, Transcript
from server.accounts import Accounts, Secrets, chat, embedding, transcription
from server.capacity import Capacity
from server.settings_models import LOCAL, ModelSettings
from server.store.capacity import Place

T = TypeVar("T")

MEDIA: dict[str, Capability] = {"image/": "images", "application/pdf": "pdf", "audio/": "audio"}
"""What attachments ask of a model, by the beginning of their type."""


class Routed(Value):
    """A route and where the choice came from."""

    route: Route
    origin: str


@dataclass(frozen=True)
class Standing:
    """How one candidate of a route stands for a tenant: `problem` says why it can't be called, `notes` what to know."""

    route: str
    model: str
    account: str | None
    problem: str | None
    notes: tuple[str, ...] = ()


class Models:
    """The models of this installation, as each tenant has them."""

    def __init__(
        self,
        settings: ModelSettings,
        blobs: Blobs,
        secrets: Secrets,
        health: Health | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        """Keep what is needed; no SDK is imported here. Without `capacity` no gate stands before the calls."""
        self._settings = settings
        self._capacity = capacity
        self._health: Health = health or Breaker()
        self.accounts = Accounts(settings, blobs, secrets, self._health)
        self._estimator = TokenEstimator()

    def route(self, tenant: str, *wanted: tuple[str, ModelChoice | Route | None]) -> Routed:
        """Return the first route that is named, in the order given, else the tenant's default.

        Raises:
            Invalid: nothing names a model and no default is configured, or what is named isn't there.
        """
        own = self._settings.of(tenant)
        for origin, choice in (*wanted, ("settings", own.default)):
            if choice is not None:
                route = choice if isinstance(choice, Route) else resolve(choice, own.routes)
                self.accounts.check(route)
                return Routed(route=route, origin=origin)
        raise Invalid(
            "no model is configured: set UPSTAIRS_MODELS__DEFAULT to provider/model and the provider's API key "
            "(ANTHROPIC_API_KEY or OPENAI_API_KEY); `upstairs doctor` shows what is there"
        )

    def answering(self, tenant: str, on_failed: OnFailed | None = None) -> "Answering":
        """Return what answers requests by their routes for a tenant; `on_failed` is told before a fallback is tried."""
        return Answering(self.accounts, self._health, self._estimator, tenant, on_failed, self._capacity)

    def estimate(self, request: ModelRequest) -> int:
        """Return how many tokens the first candidate of a request would read, by estimate."""
        return self._estimator.estimate(request)

    async def provider(self, tenant: str, name: str) -> Provider:
        """Return the provider of that name on the tenant's own key, without a route around it.

        Raises:
            Invalid: the provider is unknown, or no key for it is configured.
        """
        return await self.accounts.client(tenant, Route(provider=name, model=""), chat)

    def embeds_locally(self, tenant: str) -> bool:
        """Tell whether the packaged model makes the vectors of a tenant."""
        return self._settings.of(tenant).embedding == LOCAL

    def embedding_route(self, tenant: str) -> Route:
        """Return the route of the tenant's vectors.

        Raises:
            Invalid: it is the packaged model, or a list of different ones, whose vectors can't be compared.
        """
        choice = self._settings.of(tenant).embedding
        if choice is None or choice == LOCAL:
            raise Invalid("vectors are made by the packaged model; no provider is called for them")
        route = self.route(tenant, ("settings", choice)).route
        spaces = {(str(one), str(one.options)) for one in route.candidates}
        if len(spaces) > 1:
            raise Invalid(
                f"models.embedding {choice!r} lists different models, whose vectors can't be compared; name one model, "
                "on several accounts if need be"
            )
        return route

    async def embed(self, tenant: str, texts: Sequence[str], purpose: Purpose = "document") -> tuple[Embedded, Routing]:
        """Return the vectors of `texts` by the tenant's route, with the record of the way."""
        route = self.embedding_route(tenant)

        async def call(candidate: Candidate) -> Answered[Embedded]:
            own = candidate.route

            async def ask() -> Embedded:
                async with self.accounts.opened(tenant, own, embedding) as wire:
                    return await embed(wire, own.model, texts, purpose, own.options)

            if self._capacity is None:
                return Answered(await ask())
            place = await place_of(self.accounts, tenant, own)
            tokens = (sum(text_tokens(text) for text in texts), 0)
            return Answered(await self._capacity.through(place, tenant, tokens, ask, _embedded))

        return await self._first(tenant, route, call)

    async def transcribe(
        self, tenant: str, recording: Recording, choice: ModelChoice | None = None
    ) -> tuple[Transcript, Routing]:
        """Return the transcript of a recording by `choice` or the tenant's route, with the record of the way.

        Raises:
            Invalid: no model of speech is configured.
        """
        wanted = choice or self._settings.of(tenant).transcription
        if wanted is None:
            raise Invalid("no model of speech is configured: set UPSTAIRS_MODELS__TRANSCRIPTION to provider/model")
        route = self.route(tenant, ("call" if choice else "settings", wanted)).route

        async def call(candidate: Candidate) -> Answered[Transcript]:
            own = candidate.route
            given = replace(recording, options={**recording.options, **own.options})
            async with self.accounts.opened(tenant, own, transcription) as wire:
                return Answered(await wire.transcribe(own.model, given))

        return await self._first(tenant, route, call)

    async def _first(
        self, tenant: str, route: Route, call: Callable[[Candidate], Awaitable[Answered[T]]]
    ) -> tuple[T, Routing]:
        candidates = await candidates_of(self.accounts, tenant, route)
        return await first_answer(candidates, Need(), self._health, call)

    async def standings(self, tenant: str) -> list[Standing]:
        """Return how each candidate of each route stands for a tenant, without a call to any provider."""
        own = self._settings.of(tenant)
        named: list[tuple[str, ModelChoice | None]] = [
            ("default model", own.default),
            *((f"route {name}", name) for name in sorted(own.routes)),
            ("embedding", None if own.embedding == LOCAL else own.embedding),
            ("transcription", own.transcription),
        ]
        return [
            standing
            for name, choice in named
            if choice is not None
            for standing in await self._standing(tenant, name, choice)
        ]

    async def _standing(self, tenant: str, name: str, choice: ModelChoice) -> list[Standing]:
        try:
            route = self.embedding_route(tenant) if name == "embedding" else self.route(tenant, (name, choice)).route
        except Invalid as problem:
            return [Standing(name, str(choice), None, problem.message)]
        found: list[Standing] = []
        for candidate in await candidates_of(self.accounts, tenant, route):
            verdict = choose([candidate], Need(), {})
            problem = verdict.rejected[0][1].reason if verdict.index is None else None
            notes = _notes(candidate.facts, speaks=name != "transcription")
            found.append(Standing(name, str(candidate.route), candidate.route.account, problem, notes))
        return found

    async def close(self) -> None:
        """Close every provider's connections."""
        await self.accounts.close()


def _notes(facts: Facts, *, speaks: bool) -> tuple[str, ...]:
    unpriced = ("unpriced",) if facts.usd_input is None and speaks else ()
    return (*unpriced, "unknown model") if not facts.known else unpriced


async def place_of(accounts: Accounts, tenant: str, route: Route) -> Place:
    """Return the gate that a candidate is called through."""
    scope = await accounts.scope(tenant, route)
    return Place(route.provider[:64], (route.account or "")[:100], scope, route.model[:200])


def _embedded(made: Embedded) -> tuple[Cost | None, RateFacts | None]:
    return Cost(requests=1, input_tokens=made.usage.input_total), None


def _took(reply: ModelReply) -> tuple[Cost | None, RateFacts | None]:
    return counted(reply.provider, reply.usage), reply.rates


async def candidates_of(accounts: Accounts, tenant: str, route: Route) -> list[Candidate]:
    """Return the candidates of a route with what is known of each, for one tenant."""
    accounts.check(route)
    return [
        Candidate(
            route=one,
            facts=facts_of(one.provider, one.model).model_copy(update={"region": accounts.region(one)}),
            tenant=tenant,
            problem=await accounts.problem(tenant, one),
        )
        for one in route.candidates
    ]


class Answering:
    """A provider for whatever route a request names: the first candidate that can, then its fallbacks.

    `routings` holds the record of each call that was answered.
    """

    name = "route"

    def __init__(
        self,
        accounts: Accounts,
        health: Health,
        estimator: TokenEstimator,
        tenant: str,
        on_failed: OnFailed | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self._accounts, self._health, self._estimator = accounts, health, estimator
        self._capacity = capacity
        self._queued: list[Place] = []
        self._tenant = tenant
        self._on_failed = on_failed
        self.routings: list[Routing] = []

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Return one whole reply of the first candidate that gives one; see `first_answer` for what is raised."""
        candidates = await candidates_of(self._accounts, self._tenant, request.route)
        reply, routing = await first_answer(
            candidates,
            self._need(request),
            self._health,
            lambda candidate: self._call(candidate, request, on_delta),
            self._on_failed,
        )
        self.routings.append(routing)
        if self._capacity is not None:
            for place in self._queued:
                await self._capacity.withdraw(place, self._tenant)
        return reply

    async def aclose(self) -> None:
        """Do nothing: the clients belong to the accounts."""

    async def _call(
        self, candidate: Candidate, request: ModelRequest, on_delta: OnDelta | None
    ) -> Answered[ModelReply]:
        most = candidate.facts.max_output_tokens or request.max_output_tokens
        own = request.model_copy(
            update={"route": candidate.route, "max_output_tokens": min(request.max_output_tokens, most)}
        )

        async def ask() -> ModelReply:
            async with self._accounts.opened(self._tenant, candidate.route, chat) as provider:
                return await provider.generate(own, on_delta)

        reply = await (ask() if self._capacity is None else self._gated(self._capacity, own, ask))
        self._estimator.learn(own, reply.usage)
        return Answered(reply, _complaint(reply), reply.spent)

    async def _gated(
        self, capacity: Capacity, own: ModelRequest, ask: Callable[[], Awaitable[ModelReply]]
    ) -> ModelReply:
        place = await place_of(self._accounts, self._tenant, own.route)
        tokens = (self._estimator.estimate(own), own.max_output_tokens)
        try:
            return await capacity.through(place, self._tenant, tokens, ask, _took)
        except NotYet:
            self._queued.append(place)
            raise

    def _need(self, request: ModelRequest) -> Need:
        """Return what the request takes; the largest of the candidates' estimates counts."""
        mimes = {part.mime for part in attachments(request)}
        held: set[Capability] = {what for mime in mimes for begin, what in MEDIA.items() if mime.startswith(begin)}
        tools: set[Capability] = {"tools"} if request.tools else set()
        sizes = (
            self._estimator.estimate(request.model_copy(update={"route": one})) for one in request.route.candidates
        )
        return Need(
            input_tokens=max(sizes), output_tokens=request.max_output_tokens, capabilities=frozenset(held | tools)
        )


def _complaint(reply: ModelReply) -> ProviderError | None:
    """Return why another candidate might answer better than this reply, or None."""
    kind, said = {
        "refusal": (Refused, f"The model declined to answer: {reply.message.text[:200]}"),
        "context_full": (ContextFull, "The answer ended where the context window did."),
    }.get(reply.finish.unified, (None, ""))
    return kind and kind(said, provider=reply.provider, model=reply.model, request_id=reply.request_id)
