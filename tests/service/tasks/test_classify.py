"""classify: options in, labels out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest
from model_store.tasks import Classes
from service.errors import InvalidInput, ModelFailure
from service.tasks import classify as task
from service.tasks.classify import Options, predictions
from tests.support.driving import ask, body_of, make
from tests.support.models.graphs import classifier

LABELS = ("ant", "bee", "cat", "dog")


def tensor(name: str, *row_shape: int) -> Tensor:
    return Tensor(name=name, datatype="FP32", shape=("batch", *row_shape), batch_axis=0)


MANIFEST = Manifest(
    name="m",
    task="classify",
    labels=LABELS,
    classes=Classes(probabilities="p"),
    graphs={"main": Graph(file="main.onnx", inputs=(tensor("x", 1),), outputs=(tensor("p", 4),))},
)


def classify(*rows: Any, top_k: int = 1) -> list[dict[str, Any]]:
    return predictions(MANIFEST, {"p": np.array(rows, np.float32)}, top_k)


@pytest.mark.parametrize(
    ("fields", "loose", "complaint"),
    [
        ({"topk": 3}, False, "topk: unknown field"),
        ({"topk": "3"}, True, "topk: unknown field"),
        ({"top_k": 0}, False, r"top_k: expected greater than or equal to 1 \(got 0\)"),
        ({"top_k": "0"}, True, "top_k: expected greater than or equal to 1"),
        ({"top_k": 1001}, False, "top_k: expected less than or equal to 1000"),
        ({"explain": "yes"}, False, "explain.*: expected a valid boolean .*; explain.*: expected 'saliency'"),
        ({"explain": 1}, False, "explain.*: expected a valid boolean"),
        ({"explain": "true"}, False, "explain.*: expected a valid boolean"),
        ({"explain": "maybe"}, True, "explain"),
        ({"explain": ""}, True, "explain"),
        ({"explanation_format": "png"}, False, "explanation_format: expected 'numbers' or 'picture'"),
    ],
)
def test_faulty_options_are_refused(fields: dict[str, Any], loose: bool, complaint: str) -> None:
    """By name, never ignored, in JSON and in a query string."""
    with pytest.raises(InvalidInput, match=complaint):
        Options.parse(fields, loose)


def test_options_have_defaults_and_a_query_says_the_same_as_json() -> None:
    """Nothing asked for is the default model and the best label; numbers and booleans of a query string are texts."""
    assert Options.parse({}) == Options(model=None, version=None, top_k=1, explain=False, stream=False)
    assert Options.parse({}, loose=True) == Options()
    query = Options.parse({"model": "m", "version": "2", "top_k": "3", "explain": "false"}, loose=True)
    assert query == Options.parse({"model": "m", "version": "2", "top_k": 3, "explain": False})
    assert Options.parse({"version": 2}).version == 2
    assert Options.parse({"explain": "true"}, loose=True).explain is True
    assert Options.parse({"explain": "occlusion"}, loose=True) == Options(explain="occlusion")


def test_equal_probabilities_come_in_the_order_of_the_labels() -> None:
    """A tie is always broken the same way, whoever shares the batch and however many labels there are."""
    labels = tuple(f"label {i}" for i in range(200))
    graph = MANIFEST.graphs["main"].model_copy(update={"outputs": (tensor("p", 200),)})
    many = MANIFEST.model_copy(update={"labels": labels, "graphs": {"main": graph}})
    ties = np.array([[0.5, 0.25] * 100] * 3, np.float32)
    for answer in predictions(many, {"p": ties}, 200):
        assert [item["index"] for item in answer["top"]] == [*range(0, 200, 2), *range(1, 200, 2)]


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), max_size=5), top_k=st.integers(1, 9))
def test_top_is_in_falling_order_and_no_longer_than_the_labels(rows: list[list[float]], top_k: int) -> None:
    """``top`` holds the k most probable labels, at most all, the best first, each with its own probability."""
    answers = predictions(MANIFEST, {"p": np.array(rows, np.float32).reshape(-1, 4)}, top_k)
    assert len(answers) == len(rows)
    for row, answer in zip(rows, answers, strict=True):
        top = answer["top"]
        assert [item["probability"] for item in top] == sorted(row, reverse=True)[: min(top_k, 4)]
        assert all(row[item["index"]] == item["probability"] for item in top)
        assert all(LABELS[item["index"]] == item["label"] for item in top)
        assert {k: answer[k] for k in ("label", "index", "probability")} == top[0]


MODEL = make({"main": classifier(4)}, task="classify", labels=LABELS, classes={"probabilities": "probabilities"})


def test_probabilities_that_are_no_numbers_are_a_failure_of_the_model() -> None:
    """A NaN never becomes a label."""
    with pytest.raises(ModelFailure, match="with numbers that are not finite"):
        classify([0.1, np.nan, 0.2, 0.1])


def test_work_answers_every_row_with_model_and_version() -> None:
    """One run for all rows; each row gets what the model gives it."""
    rows = np.random.default_rng(1).random((3, 1, 2, 2)).tolist()
    answer = body_of(ask(task, MODEL, rows, top_k=4))
    assert (answer["model"], answer["version"], len(answer["predictions"])) == ("m", "1", 3)
    for row, item in zip(rows, answer["predictions"], strict=True):
        [alone] = body_of(ask(task, MODEL, [row], top_k=4))["predictions"]
        assert [(i["label"], i["index"]) for i in item["top"]] == [(i["label"], i["index"]) for i in alone["top"]]
        assert item["probability"] == pytest.approx(alone["probability"])
        assert "explanation" not in item


def test_row_of_several_labels_has_those_above_the_threshold() -> None:
    """Most probable first; the caller's threshold counts more than the model's, which counts more than 0.5."""
    row = [0.2, 0.9, 0.6, 0.3]
    several = MANIFEST.model_copy(update={"classes": Classes(probabilities="p", multi_label=True)})
    strict = several.model_copy(update={"classes": Classes(probabilities="p", multi_label=True, threshold=0.7)})

    def labels(manifest: Manifest, threshold: float | None = None) -> list[str]:
        answer = predictions(manifest, {"p": np.array([row], np.float32)}, 1, threshold)[0]
        return [one["label"] for one in answer["labels"]]

    assert labels(several) == ["bee", "cat"]
    assert labels(strict) == ["bee"]
    assert labels(strict, 0.25) == ["bee", "cat", "dog"]
    assert labels(strict, 0.95) == []
    assert "labels" not in classify(row)[0]


def test_score_beside_the_label_is_answered_as_it_is() -> None:
    """It may have any size and sign, and an axis of one."""
    facts = Classes(probabilities="p", score="s")
    outputs = {"p": np.array([[0, 1, 0, 0]], np.float32), "s": np.array([[-0.25]], np.float32)}
    [answer] = predictions(MANIFEST.model_copy(update={"classes": facts}), outputs, 1)
    assert (answer["label"], answer["score"]) == ("bee", -0.25)
    assert "score" not in classify([0, 1, 0, 0])[0]


def test_threshold_is_for_rows_of_several_labels() -> None:
    """A row of one label always has it."""
    with pytest.raises(InvalidInput, match="threshold: a row has one label with model 'm'"):
        ask(task, MODEL, [[[[1.0, 0], [0, 1]]]], threshold=0.5)
