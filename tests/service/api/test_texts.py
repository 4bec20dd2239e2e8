"""Texts over HTTP: the task routes, and OpenAI's route for vectors."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model_store import Store
from tests.support.answers import assert_error, sum_series
from tests.support.driving import describe
from tests.support.models.text import make_model
from tests.support.servers import FAST, Serving, settings_for
from tests.support.texts import models

EMBEDDINGS = "/v1/embeddings"
ROWS = ["ann lives in new york", "rome", "ask : ann ann ann in rome", "in new york"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("texts")
    models.publish(root, "embedder", models.make_embedder(), models.embedder())
    models.publish(root, "classifier", models.make_classifier(), models.classifier())
    models.publish(root, "tagger", models.make_tagger(), models.tagger())
    with Serving(settings_for(root, max_rows=8), FAST) as serving, serving.client() as client:
        yield client


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no object": ([1], 400, "body: expected"),
    "no input": ({}, 400, "input: expected a value, got none"),
    "a number": ({"input": 3}, 400, "input: expected a text or an array of texts, got a number"),
    "no texts": ({"input": []}, 400, "input: expected an array of 1 to 65536 rows, got an array of 0"),
    "ids": ({"input": [1, 2]}, 400, "input[0]: expected a text, got token ids, which are those of another tokenizer"),
    "lists of ids": ({"input": ["a", [1]]}, 400, "input[1]: expected a text, got token ids"),
    "a boolean": ({"input": [True]}, 400, "input[0]: expected a text, got a boolean"),
    "an empty text": ({"input": ["ann", ""]}, 400, "input[1]: expected a text, got an empty one"),
    "a long text": ({"input": "ann " * 20}, 400, "input[0]: expected at most 16 tokens, got 22"),
    "dimensions": ({"input": "ann", "dimensions": 3}, 400, "dimensions: expected 2 or 4, as vectors of model"),
    "format": ({"input": "ann", "encoding_format": "hex"}, 400, "encoding_format: expected 'float' or 'base64'"),
    "a field": ({"input": "ann", "inputs": []}, 400, "inputs: unknown field"),
    "no model": ({"input": "ann", "model": "gpt"}, 404, "no model 'gpt'"),
    "a classifier": ({"input": "ann", "model": "tagger"}, 404, "model 'tagger' does classify, not embed"),
}


@pytest.mark.parametrize(("body", "status", "text"), REFUSED.values(), ids=REFUSED)
def test_bad_request_for_vectors_is_refused(client: httpx.Client, body: Any, status: int, text: str) -> None:
    """With the field, what was expected and what came, in the form of all other errors."""
    assert_error(client.post(EMBEDDINGS, json=body), status, text)


def test_vectors_come_in_the_form_of_openai(client: httpx.Client) -> None:
    """One for each text in its order, equal to those of /embed, and the tokens are counted."""
    answer = client.post(EMBEDDINGS, json={"input": ROWS, "model": "embedder", "user": "u"}).json()
    ours = client.post("/embed", json={"inputs": ROWS}).json()["predictions"]
    assert (answer["object"], answer["model"]) == ("list", "embedder")
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", i) for i in range(4)]
    assert [one["embedding"] for one in answer["data"]] == [one["embedding"] for one in ours]
    assert answer["usage"] == {"prompt_tokens": 7 + 3 + 9 + 5, "total_tokens": 24}


def test_vectors_may_be_bytes_and_shorter(client: httpx.Client) -> None:
    """A shorter vector is cut and then normalised, where the manifest allows it."""
    whole, cut = (
        client.post(EMBEDDINGS, json={"input": "new york", "encoding_format": "base64", **more}).json()
        for more in ({}, {"dimensions": 2})
    )
    long, short = (
        np.frombuffer(base64.b64decode(each["data"][0]["embedding"]), "<f4").astype(float) for each in (whole, cut)
    )
    assert (len(long), len(short)) == (4, 2)
    np.testing.assert_allclose(short, long[:2] / np.linalg.norm(long[:2]), rtol=1e-6)
    [same] = client.post("/embed", json={"inputs": ["new york"], "dimensions": 2}).json()["predictions"]
    assert same["embedding"] == short.tolist()
    assert_error(client.post("/embed", json={"inputs": ["ann"], "dimensions": 3}), 400, "dimensions: expected 2 or 4")


def test_text_is_answered_alike_alone_and_in_company(client: httpx.Client) -> None:
    """Its padding is its own, so every bit is the same, as the card says."""
    together = client.post("/embed", json={"inputs": ROWS}).json()["predictions"]
    alone = [client.post("/embed", json={"inputs": [row]}).json()["predictions"][0] for row in ROWS]
    assert together == alone
    assert client.get("/models").json()["models"][0]["name"] == "classifier"


def test_body_of_plain_text_and_files_are_rows(client: httpx.Client) -> None:
    """With the options in the query string or in the form."""
    plain = client.post("/classify?model=classifier", content="in rome", headers={"content-type": "text/plain"})
    assert plain.json()["predictions"][0]["label"] == "rome"
    files = [("a", ("a.txt", b"in rome", "text/plain")), ("b", ("b.txt", b"new york", "text/plain"))]
    form = client.post("/classify", files=files, data={"model": "classifier"})
    assert [one["label"] for one in form.json()["predictions"]] == ["rome", "york"]
    wrong = client.post("/classify?model=classifier", content=b"\xff", headers={"content-type": "text/plain"})
    assert_error(wrong, 400, "body: expected a text in UTF-8, got other bytes")


def test_parts_of_texts_have_labels(client: httpx.Client) -> None:
    """Texts of several lengths in one request."""
    answer = client.post("/classify", json={"model": "tagger", "inputs": ROWS}).json()
    found = [[(span["label"], span["text"]) for span in one["spans"]] for one in answer["predictions"]]
    assert found[0] == [("PER", "ann"), ("LOC", "new york")]
    assert found[1] == [("LOC", "rome")]
    assert found[2] == [("PER", "ann"), ("PER", "ann"), ("PER", "ann"), ("LOC", "rome")]


def test_tokens_and_padding_are_counted(client: httpx.Client) -> None:
    """By model."""
    name = 'sluice_tokens_total{kind="text",model="tagger",version="1"}'

    def read() -> float:
        return sum_series(client.get("/metrics").text, name)

    before = read()
    client.post("/classify", json={"model": "tagger", "inputs": ["ann"]})
    assert read() - before == 3


def test_tokens_that_the_graph_does_not_take_are_a_failure_of_the_model(tmp_path: Path) -> None:
    """A text has no ids that its caller could correct: 500, and not 400 as for tensors."""
    graph = make_model(
        "int64[batch,length] ids => float[batch,4] vector",
        "words = Gather(table, ids) vector = ReduceSum<keepdims = 0>(words, [1])",
        table=np.ones((models.WORDS.index("rome"), 4), np.float32),
    )
    files = {"main.onnx": graph, "tokenizer.json": models.make_tokenizer()}
    tokens = models.TOKENS.model_copy(update={"mask": None})
    manifest = describe({"main": graph}, task="embed", embedding={"output": "vector"}, tokens=tokens)
    Store(tmp_path).publish(manifest, files)
    with Serving(settings_for(tmp_path), FAST) as serving, serving.client() as client:
        assert client.post("/embed", json={"inputs": ["ann"]}).status_code == 200
        assert_error(client.post("/embed", json={"inputs": ["rome"]}), 500, "the model failed on this request")
