"""Requests that a model answers; beginning with failures."""

import json
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from loadtests.sending.examples import find_example, make_bodies, make_streams, read_body, with_rows
from loadtests.signature import NoModel, Signature, Tensor
from tests.loadtests.answering import answering, send

DIGITS = Signature("digits", (Tensor("x", "FP32", (-1, 2, 3)),), ())
TEXTS = Signature("texts", (Tensor("ids", "INT64", (-1, -1)),), ())
LARGE = Signature("photos", (Tensor("x", "FP32", (-1, 3, 160, 160)),), ())
DOCUMENTED = {
    "one": {"value": {"model": "texts", "inputs": ["a", "b"], "stream": True}},
    "two": {"value": {"model": "texts", "inputs": ["c"], "top_k": 2}},
    "three": {"value": {"model": "others", "inputs": ["d"]}},
}
DOCUMENT = {
    "paths": {
        f"/{task}": {"post": {"requestBody": {"content": {"application/json": {"examples": DOCUMENTED}}}}}
        for task in ("classify", "predict_sequence")
    }
}


def run(documents: dict[str, Any]) -> AbstractContextManager[str]:
    """A server that has these documents and nothing else."""

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        found = documents.get(handler.path)
        send(handler, json.dumps(found).encode(), 404 if found is None else 200)

    return answering(answer)


@pytest.mark.parametrize("documents", [{}, {"/docs.json": []}, {"/docs.json": {"paths": {"/classify": 1}}}])
def test_model_without_an_example_is_reported_with_the_way_out(documents: dict[str, Any]) -> None:
    """A server that documents nothing, or something else, needs a request of the caller."""
    with run(documents) as address, pytest.raises(NoModel, match="give a request of your own with --body"):
        make_bodies(address, "classify", TEXTS, 1, 1, 0)


def test_task_that_is_answered_at_once_has_no_stream() -> None:
    """The tasks that stream are named."""
    with run({}) as address, pytest.raises(NoModel, match="expected one of predict_sequence, generate"):
        make_streams(address, "classify", TEXTS, 1, 1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.json", b"{", "expected JSON"), ("a.unknown-type", b"", "a name that tells its type")],
)
def test_file_that_is_no_request_is_reported(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """The error names the flag and what was expected."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NoModel, match=f"--body .*{said}"):
        read_body(tmp_path / name, "m")


def test_file_is_sent_by_its_type(tmp_path: Path) -> None:
    """A picture goes as it is, with the model in the query; JSON names its model itself."""
    (tmp_path / "a.png").write_bytes(b"png")
    (tmp_path / "a.json").write_bytes(b"{}")
    query, body = read_body(tmp_path / "a.png", "my model")
    assert (query, body.content, dict(body.headers)) == ("?model=my%20model", b"png", {"Content-Type": "image/png"})
    assert read_body(tmp_path / "a.json", "m")[0] == ""


def test_few_numbers_are_made_and_all_else_is_an_example() -> None:
    """Rows of floats differ from body to body. Texts, and rows too large for JSON, are the documented ones."""
    with run({"/docs.json": DOCUMENT}) as address:
        numbers = [json.loads(body.content) for body in make_bodies(address, "classify", DIGITS, 2, 3, 0)]
        assert [len(document["inputs"]) for document in numbers] == [2, 2, 2]
        assert len({json.dumps(document) for document in numbers}) == 3
        [text] = make_bodies(address, "classify", TEXTS, 3, 1, 0)
        assert json.loads(text.content) == {"model": "texts", "inputs": ["c", "c", "c"], "top_k": 2}
        with pytest.raises(NoModel):
            make_bodies(address, "classify", LARGE, 1, 1, 0)


def test_examples_of_the_model_go_before_those_of_the_documentation() -> None:
    """The server's route of examples has them for every model, by task."""
    examples = [{"task": "detect", "body": {}}, {"task": "classify", "body": {"model": "texts", "inputs": ["e"]}}]
    documents = {"/docs.json": DOCUMENT, "/v2/models/texts/example": {"examples": examples}}
    with run(documents) as address:
        assert find_example(address, "classify", "texts")["inputs"] == ["e"]
        assert find_example(address, "classify", "texts", streams=True)["inputs"] == ["a", "b"]


def test_stream_is_asked_for() -> None:
    """Also where no example asks for it."""
    with run({"/docs.json": DOCUMENT}) as address:
        [body] = make_streams(address, "predict_sequence", TEXTS, 1, 1)
    assert json.loads(body.content)["stream"] is True


@pytest.mark.parametrize(
    ("example", "made"),
    [
        ({"inputs": [1, 2]}, {"inputs": [1, 2, 1]}),
        ({"labels": ["a"], "seed": 7}, {"labels": ["a", "a", "a"], "seed": 5}),
        ({"count": 9}, {"count": 3}),
    ],
)
def test_example_has_the_rows_that_are_asked_for(example: dict[str, Any], made: dict[str, Any]) -> None:
    """Rows and labels are repeated, samples are counted, and each body has a seed of its own."""
    assert with_rows(example, 3, 5) == made
