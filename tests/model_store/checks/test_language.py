"""What a manifest says of texts and of labels of tokens fits its graph."""

from typing import Any

import pytest

from model_store.graph import Graph, Tensor
from model_store.manifest import Manifest

IDS = Tensor(name="ids", datatype="INT64", shape=("batch", "length"), batch_axis=0)
MASK = IDS.model_copy(update={"name": "mask"})
SCORES = Tensor(name="scores", datatype="FP32", shape=("batch", "length", 2), batch_axis=0)
TOKENS = {"ids": "ids", "mask": "mask", "lengths": (8, 16)}
TAGS = {"output": "scores"}


def describe(**facts: Any) -> Manifest:
    graph = Graph(file="main.onnx", inputs=(IDS, MASK), outputs=(SCORES,))
    fields = {"name": "m", "task": "classify", "labels": ("O", "X"), "graphs": {"main": graph}}
    return Manifest.model_validate({**fields, "tokens": TOKENS, "tags": TAGS, **facts})


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"tokens": {**TOKENS, "mask": None}}, "tokens: expected no input besides ids, mask and types, got 'mask'"),
        ({"tokens": {**TOKENS, "ids": "x"}}, "tokens.ids: there is no input 'x'"),
        ({"tokens": {**TOKENS, "lengths": (16, 8)}}, "tokens.lengths: expected rising numbers"),
        ({"labels": ()}, "tags: expected the fields tokens and labels"),
        ({"labels": ("O", "X", "Y")}, r"tags.output: .*: expected rows of \['any', 3\]"),
        ({"labels": ("A", "B")}, "tags.outside: expected one of the labels, got 'O'"),
        ({"classes": {"probabilities": "scores"}}, "tags: expected no field classes beside it"),
        ({"tags": None}, "task classify needs labels and classes"),
    ],
)
def test_fields_that_do_not_fit_are_refused(facts: dict[str, Any], complaint: str) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=complaint):
        describe(**facts)


def test_version_needs_the_file_of_its_tokenizer() -> None:
    """It is one of the further files."""
    assert describe().further_files == {"tokenizer.json"}
    assert describe().tasks == {"classify"}


def test_sound_that_goes_on_from_window_to_window_is_for_streams() -> None:
    """A task runs each window by itself, so the state would be lost: only the task tensors has such a model."""
    samples = Tensor(name="x", datatype="FP32", shape=("batch", 4), batch_axis=0)
    state = Tensor(name="state", datatype="FP32", shape=("batch", 1), batch_axis=0)
    outputs = (state.model_copy(update={"name": "next"}), state.model_copy(update={"name": "vector"}))
    fields = {
        "name": "m",
        "graphs": {"main": Graph(file="main.onnx", inputs=(samples, state), outputs=outputs)},
        "sound": {"input": "x", "rate": 8000, "window": 4},
        "loop": {"carries": ({"input": "state", "output": "next"},), "max_steps": 9},
        "embedding": {"output": "vector"},
    }
    assert Manifest.model_validate({**fields, "task": "tensors", "embedding": None}).sound is not None
    with pytest.raises(ValueError, match="sound: expected the task tensors, got embed"):
        Manifest.model_validate({**fields, "task": "embed"})
