"""What makes the vectors of a tenant: the packaged model, loaded when it is first used, or the tenant's route."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from content.embeddings import Embedder, MiniLM
from engine.errors import Unavailable
from engine.routes import Route
from engine.values import Spent, digest
from server.models import Models

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Made:
    """Vectors of unit length, exactly what made them, what they cost, and the facts for the record."""

    vectors: Vectors
    model_id: str
    spent: Spent
    facts: dict[str, JsonValue]


class Embedders:
    """The embedding models of all tenants."""

    def __init__(self, models: Models) -> None:
        """Keep what is needed; no weights are read here."""
        self._models = models

    @cached_property
    def _local(self) -> MiniLM:
        return MiniLM()

    def model(self, tenant: str) -> Embedder:
        """Return the model that a tenant's queries are compared with; call it in a thread, off the event loop."""
        if self._models.embeds_locally(tenant):
            return self._local
        return _Asking(self._models, tenant, asyncio.get_running_loop())

    async def embed(self, tenant: str, texts: Sequence[str]) -> Made:
        """Return one vector for each text of a document."""
        if self._models.embeds_locally(tenant):
            vectors = await asyncio.to_thread(self._local.embed, texts)
            facts: dict[str, JsonValue] = {"model": self._local.model_id, "dimensions": self._local.dimensions}
            return Made(vectors, self._local.model_id, Spent(), facts)
        embedded, routing = await self._models.embed(tenant, texts)
        told: dict[str, JsonValue] = {
            "model": f"{embedded.provider}/{embedded.model}",
            "dimensions": embedded.dimensions,
            "tokens": embedded.usage.input_total,
            "usd": embedded.price.usd,
            "price": embedded.price.source,
            "routing": routing.model_dump(mode="json"),
        }
        name = model_id(self._models.embedding_route(tenant))
        return Made(embedded.vectors, name, embedded.spent.plus(routing.spent), told)


def model_id(route: Route) -> str:
    """Return the name of the space that a route's vectors lie in: the model, and the options that change them."""
    return f"{route}/{digest(route.options)[:12]}" if route.options else str(route)


class _Asking:
    """A tenant's route as searches see it: a thread waits while the event loop asks the provider."""

    def __init__(self, models: Models, tenant: str, loop: asyncio.AbstractEventLoop) -> None:
        self._models, self._tenant, self._loop = models, tenant, loop
        self._dimensions: int | None = None
        self.model_id = model_id(models.embedding_route(tenant))

    @property
    def dimensions(self) -> int:
        """The length of each vector, which the first answer tells."""
        if self._dimensions is None:
            raise Unavailable("the provider tells the length of its vectors with the first of them; embed a text first")
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries; blocks the thread, which must not be the event loop's own."""
        asked = asyncio.run_coroutine_threadsafe(self._models.embed(self._tenant, texts, "query"), self._loop)
        embedded, _ = asked.result()
        self._dimensions = embedded.dimensions
        return embedded.vectors
