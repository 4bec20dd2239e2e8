"""ONNX files of an encoder and a decoder become a model that writes text over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export import ExportError, OnnxSpec, SpecError, publish
from model_store import Store
from model_store.golden import GoldenSamples
from model_store.tasks import Carry, Loop
from sluice import main
from tests.support.answers import assert_error
from tests.support.servers import FAST, Serving, settings_for
from tests.support.writers.models import Writer, byte_tokenizer, copier, counter, quantised

IDS = {"ids": np.array([[99, 100, 101], [102, 103, 104]]), "mask": np.ones((2, 3), np.int64)}


def describe(model: Writer, folder: Path, name: str = "m", **more: Any) -> OnnxSpec:
    """The spec of a model whose graphs lie in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for graph, content in model.graphs.items():
        files[graph] = folder / f"{graph}.of.{name}.onnx"
        files[graph].write_bytes(content)
    facts = {field: getattr(model.manifest, field) for field in ("loop", "writing", "tokens")}
    return OnnxSpec(
        **{
            "name": name,
            "task": "predict_sequence",
            "file": files.pop("main"),
            "graphs": files,
            "further_files": {"tokenizer.json": byte_tokenizer()},
            "graph_samples": {"read": IDS} if files else {},
            **facts,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("more", "error", "complaint"),
    [
        ({"graphs": {"main": "a.onnx"}}, SpecError, "graphs: expected identifiers other than 'main', got 'main'"),
        ({"graphs": {"a b": "a.onnx"}}, SpecError, "graphs: expected identifiers other than 'main', got 'a b'"),
        (
            {"graph_samples": {"write": IDS}},
            SpecError,
            r"graph_samples: expected names of graphs \['read'\], got 'write'",
        ),
        ({"graph_samples": {"read": {"ids": IDS["ids"]}}}, SpecError, "m, graph 'read': samples: expected the inputs"),
        (
            {"further_files": {"tokenizer.json": byte_tokenizer(), "read.onnx": b""}},
            SpecError,
            "graph 'read': its file 'read.onnx' has",
        ),
        (
            {"graph_samples": {"read": {**IDS, "ids": IDS["ids"] * 0.5}}},
            ExportError,
            "m, graph 'read': ONNX Runtime fails on samples",
        ),
        ({"further_files": {}}, SpecError, "further_files: expected the content of 'tokenizer.json', which the"),
        (
            {"further_files": {"tokenizer.json": b"{}"}},
            SpecError,
            "expected a tokenizer.json of the library tokenizers",
        ),
        ({"loop": Loop(start="read", carries=(Carry(input="no"),), max_steps=3)}, SpecError, "there is no input 'no'"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, more: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    """The message names the graph and the field; nothing is published."""
    store = Store(tmp_path / "store")
    with pytest.raises(error, match=complaint):
        publish(describe(copier(), tmp_path, **more), store)
    assert not store.root.exists()


@pytest.mark.parametrize("make", [copier, counter, lambda: counter(with_prefix=True), quantised])
def test_golden_samples_of_a_step_are_what_it_takes(tmp_path: Path, make: Any) -> None:
    """They come from the samples of the start graph, some steps on, so that memory and tokens are real."""
    model = make()
    version = publish(describe(model, tmp_path), Store(tmp_path / "store"))
    manifest, files = version.read_all()
    golden = GoldenSamples.from_bytes(files["golden.npz"])
    if "read" in model.graphs:
        read = GoldenSamples.from_bytes(files["golden-read.npz"])
        rows = len(golden.inputs["memory"])
        np.testing.assert_array_equal(golden.inputs["memory"], read.outputs["memory"][:rows])
    writing = manifest.writing
    assert writing is not None
    if writing.prefix is not None:
        assert golden.inputs["tokens"].shape[1] == 4
    elif "read" in model.graphs:
        assert (golden.inputs["position"] == 3).all()
        np.testing.assert_array_equal(golden.inputs["token"], IDS["ids"][:, 2])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model that copies, two that count on, and one whose rows mix."""
    folder = tmp_path_factory.mktemp("writers")
    models = {
        "copier": copier(),
        "counter": counter(),
        "prefix": counter(with_prefix=True),
        "quantised": quantised(),
    }
    for name, model in models.items():
        publish(describe(model, folder / name, name), Store(folder / "store"))
    return folder / "store"


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[httpx.Client]:
    with Serving(settings_for(store), FAST) as serving, serving.client() as client:
        yield client


def ask(client: httpx.Client, model: str, rows: Any, **more: Any) -> httpx.Response:
    return client.post("/predict_sequence", json={"model": model, "inputs": rows, **more})


def write(client: httpx.Client, model: str, rows: Any, **more: Any) -> list[str]:
    answer = ask(client, model, rows, **more)
    assert answer.status_code == 200, answer.text
    return [prediction["text"] for prediction in answer.json()["predictions"]]


@pytest.mark.parametrize("model", ["copier", "quantised"])
def test_texts_are_written_over_http(client: httpx.Client, model: str) -> None:
    """Also by a model whose rows mix: there each row takes its steps alone, and company changes nothing."""
    texts = ["a", "Grüße", "xyz", "uvw", "a longer text with 日本"]
    assert write(client, model, texts) == texts


@pytest.mark.parametrize("model", ["counter", "prefix"])
def test_prompts_go_on_over_http(client: httpx.Client, model: str) -> None:
    """Prompts of several lengths in one request, and a stop."""
    assert write(client, model, ["a", "012", "b"], stop=["f", "6"]) == ["bcde", "345", "cde"]


def test_beams_and_draws_over_http(client: httpx.Client) -> None:
    """Beams find the same text here; a draw repeats with its seed."""
    assert write(client, "copier", ["abc"], beams=3) == ["abc"]
    hot = {"temperature": 3.0, "max_tokens": 3, "seed": 5}
    assert write(client, "copier", ["abcdef"], **hot) == write(client, "copier", ["abcdef"], **hot)
    refused = ask(client, "quantised", ["abc"], beams=2)
    assert_error(refused, 400, "beams: expected at most 1 because the rows of the model share no steps, got 2")


def test_stream_over_http(client: httpx.Client) -> None:
    """An event for each piece, and the answer as the last."""
    body = ask(client, "copier", ["añ"], stream=True).text
    lines = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
    assert lines[:-1] == [{"row": 0, "step": 0, "text": "a"}, {"row": 0, "step": 2, "text": "añ"}]
    assert lines[-1]["predictions"][0]["text"] == "añ"


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        (
            "copier",
            "a step takes one token and what is kept of those before it; rows share steps, whatever their lengths",
        ),
        (
            "prefix",
            "a step takes all tokens so far, for there is no cache: time grows with the square of the length; rows of "
            "one length share steps",
        ),
        (
            "quantised",
            "a step takes all tokens so far, for there is no cache: time grows with the square of the length; each row "
            "takes its steps alone",
        ),
    ],
)
def test_card_tells_what_a_text_costs(
    client: httpx.Client, store: Path, model: str, cost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metadata and `sluice models show` say how time grows, and which rows share steps."""
    assert client.get(f"/v2/models/{model}").json()["writing"] == cost
    assert main(["models", "show", model, "--store", str(store)]) == 0
    assert cost in " ".join(capsys.readouterr().out.split())


def test_generate_refuses_steps_of_a_model_that_writes(client: httpx.Client) -> None:
    """Its tokens would not change from step to step."""
    answer = client.post("/v2/models/counter/generate", json={"token": 3, "count": 0, "steps": 2})
    assert_error(answer, 400, "steps: model 'counter' writes text, which /predict_sequence answers; leave it out")
