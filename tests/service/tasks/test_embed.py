"""embed: rows to vectors, and their similarity."""

import base64
import functools
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidInput, ModelFailure
from service.tasks import embed
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.text import make_model

COPY = make_model("float[batch,2] x => float[batch,2] y", "y = Identity(x)")


def embedder(**facts: Any) -> Driver:
    """The vector of a row is the row."""
    return make({"main": COPY}, task="embed", embedding={"output": "y", **facts})


MODEL = embedder(threshold=0.9)
ask = functools.partial(driving.ask, embed)


def predict(model: Driver, rows: Any, **fields: Any) -> list[dict[str, Any]]:
    body = body_of(ask(model, rows, **fields))
    assert (body["model"], body["version"]) == ("m", "1")
    found: list[dict[str, Any]] = body["predictions"]
    return found


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"encoding": "hex"}, "encoding: expected 'float' or 'base64'"),
        ({"compare": []}, "compare"),
        ({"compare": [{"embedding": [1, 2, 3]}]}, r"compare\[0\].embedding: expected 2 numbers, .* got 3"),
        ({"compare": [{"embedding": "AAA="}]}, "expected float32 numbers of 4 bytes, got 2 bytes"),
        ({"compare": [{"embedding": "!"}]}, r"compare\[0\].embedding: expected a base64 text"),
        ({"compare": [{"embedding": [None]}]}, r"compare\[0\].embedding: expected an array of numbers"),
        ({"compare": [{"embedding": [1, float("nan")]}]}, r"compare\[0\].embedding: expected finite numbers"),
        ({"compare": [[1, 2], [1, 2, 3]]}, r"compare\[1\]"),
    ],
)
def test_faulty_requests_are_refused(fields: dict[str, Any], complaint: str) -> None:
    """With the field at fault, also where it is one of the rows to compare with."""
    with pytest.raises(InvalidInput, match=complaint):
        predict(MODEL, [[1, 2]], **fields)


def test_too_many_pairs_are_refused() -> None:
    """An answer grows with rows times rows."""
    with pytest.raises(InvalidInput, match="compare: expected at most 262144 pairs of rows, got 512 x 1024"):
        predict(MODEL, [[1, 0]] * 512, compare=[[1, 0]] * 1024)


def test_vector_without_direction_is_a_failure_of_the_model() -> None:
    """A vector of zeros has no length to divide by."""
    with pytest.raises(ModelFailure, match="a vector of length 0"):
        predict(MODEL, [[0, 0]])


def test_vectors_have_length_one_where_the_manifest_says_so() -> None:
    """Else they are what the graph gives."""
    assert predict(MODEL, [[3, 4]]) == [{"embedding": pytest.approx([0.6, 0.8])}]
    assert predict(embedder(normalise=False), [[3, 4]]) == [{"embedding": [3, 4]}]


def test_base64_has_the_bytes_of_the_vector() -> None:
    """float32, little-endian: a quarter of the size of the numbers."""
    text = predict(MODEL, [[3, 4]], encoding="base64")[0]["embedding"]
    assert np.frombuffer(base64.b64decode(text), "<f4").tolist() == pytest.approx([0.6, 0.8])


def test_rows_are_compared_with_rows_and_with_vectors() -> None:
    """In the order of ``compare``, whether a vector is given as numbers, as base64, or as a row."""
    encoded = base64.b64encode(np.array([0, 2], "<f4").tobytes()).decode()
    others = [{"embedding": [5, 0]}, [1, 1], {"embedding": encoded}]
    first, second = (one["comparisons"] for one in predict(MODEL, [[2, 0], [0, 1]], compare=others))
    assert [one["similarity"] for one in first] == pytest.approx([1, 0.5**0.5, 0])
    assert [one["similarity"] for one in second] == pytest.approx([0, 0.5**0.5, 1])
    assert [one["same"] for one in first] == [True, False, False]


def test_distance_is_small_where_rows_are_the_same() -> None:
    """With the metric euclidean the verdict turns round."""
    model = embedder(metric="euclidean", normalise=False, threshold=1.5)
    compared = predict(model, [[0, 0]], compare=[[1, 1], [3, 4]])[0]["comparisons"]
    assert compared == [{"distance": pytest.approx(2**0.5), "same": True}, {"distance": 5.0, "same": False}]


def test_without_a_threshold_there_is_no_verdict() -> None:
    """Nobody has said where the same begins."""
    assert predict(embedder(), [[1, 0]], compare=[[1, 0]])[0]["comparisons"] == [{"similarity": 1.0}]


def test_rows_and_what_they_are_compared_with_run_in_batches() -> None:
    """Two runs, however many rows there are."""
    model = embedder()
    predict(model, [[1, 0]] * 5, compare=[[1, 0]] * 3)
    assert model.inferred == [("main", 5), ("main", 3)]
