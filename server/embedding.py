"""The embedder of this process: loaded when it is first used, and off the event loop."""

import asyncio
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from content.embeddings import Embedder, MiniLM


class LazyEmbedder:
    """The packaged model, in a thread; its weights are read at the first text."""

    @cached_property
    def model(self) -> Embedder:
        """The model itself."""
        return MiniLM()

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of unit length per text."""
        return await asyncio.to_thread(lambda: self.model.embed(texts))
