"""What the proof of a changed graph takes for rounding, and what for a difference."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from export.errors import ExportError, ParityError
from export.importers.changes.candidates import BestCandidates
from export.importers.changes.change import Arrays, add_constant, apply_all, dims_of, find_output, replace_output
from export.importers.changes.classes import AddProbabilities
from export.importers.changes.shapes import FreeSizes
from export.importers.proof import make_rows, prove_changes
from export.importers.sources.onnx_file import describe_onnx
from tests.support.models.text import make_model

CANDIDATES = make_model("float[batch,2,3] x => float[batch,2,3] y", "y = Identity(x)")
NEAR = np.array([[[0.5, 1.0, 2.0], [0.5 + 1e-7, 3.0, 4.0]]], np.float32)
"""Two candidates whose scores, in column 0, differ by one rounding."""


@dataclass(frozen=True)
class Round:
    """Adds what no rule of NumPy expects, as another order of additions would."""

    amount: float

    def apply(self, model: onnx.ModelProto) -> None:
        amounts = np.array([[[self.amount, 0, 0], [0, 0, 0]]], np.float32)
        given = add_constant(model.graph, "amounts", amounts)
        model.graph.node.append(onnx.helper.make_node("Add", ["y", given], ["rounded"]))
        replace_output(model.graph, "y", "rounded", dims_of(find_output(model.graph, "y")))

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return {"rounded": outputs["y"]}


def test_rounding_may_exchange_candidates() -> None:
    """The sorted graph is compared with one that is not sorted yet, and that one with the original."""
    changes = [Round(1e-6), BestCandidates("rounded", "best", 0, 1, None, 1)]
    model = describe_onnx("m", CANDIDATES, {})
    parity = prove_changes("m", model, apply_all(CANDIDATES, changes), changes, {"x": NEAR}, "samples")
    assert 0 < parity.rungs[0].max_abs_error < 1e-5


def test_more_than_rounding_is_refused_before_it_is_sorted() -> None:
    """A change that alters scores does not hide behind the one that sorts them."""
    changes = [Round(0.1), BestCandidates("rounded", "best", 0, 1, None, 1)]
    model = describe_onnx("m", CANDIDATES, {})
    with pytest.raises(
        ParityError, match=r"output 'rounded' of the changed graph, row 0 .* differs from the original by"
    ):
        prove_changes("m", model, apply_all(CANDIDATES, changes), changes, {"x": NEAR}, "samples")


def test_rows_may_have_other_sizes_than_those_that_were_declared() -> None:
    """Where sizes become free, the original runs with free sizes too."""
    content = make_model("float[2,3,4,4] x => float[2,3,4,4] y", "y = Relu(x)")
    changes = [FreeSizes([("x", 0, "batch"), ("x", 2, "height"), ("x", 3, "width")])]
    rows = {"x": np.ones((1, 3, 6, 5), np.float32)}
    parity = prove_changes("m", describe_onnx("m", content, {}), apply_all(content, changes), changes, rows, "samples")
    assert parity.rungs[0].max_abs_error == 0


class Wrong(AddProbabilities):
    """A change whose operators do not do what it says."""

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return {name: 1.001 * array for name, array in super().expect(inputs, outputs).items()}


def test_change_that_does_something_else_is_found() -> None:
    """The proof names the output and the difference."""
    body = "m = ReduceMean<keepdims=0>(x, [2, 3]) y = MatMul(m, weights)"
    content = make_model("float[n,3,8,8] x => float[n,3] y", body, weights=np.eye(3, dtype=np.float32))
    model = describe_onnx("m", content, {})
    changed = onnx.load_model_from_string(content)
    AddProbabilities("y", "p", "softmax").apply(changed)
    rows = make_rows(model.graph, None)
    with pytest.raises(
        ParityError, match=r"output 'y' of the changed graph, row 0 .*: differs .* by [\d.e-]+, 0\.001 of"
    ):
        prove_changes("m", model, changed.SerializeToString(), [Wrong("y", "p", "softmax")], rows, "")


def test_rows_on_which_the_graph_fails_are_named() -> None:
    """The error says which shapes were tried and what to give."""
    content = make_model("float[n,k] x => float[n,2] y", "y = MatMul(x, w[3,2])")
    model = describe_onnx("m", content, {})
    with pytest.raises(ExportError, match=r"ONNX Runtime fails on a row of .*\(1, 8\).*: give --samples"):
        prove_changes("m", model, content, [], make_rows(model.graph, None), "")


def test_converted_graph_is_proved_against_what_it_was_made_of() -> None:
    """A source may bring the original: the graph must then give what that gives."""
    content = make_model("float[n,3] x => float[n,3] y", "y = Relu(x)")
    rows: dict[str, Any] = {"x": np.array([[1, -1, 2]], np.float32)}
    model = describe_onnx("m", content, {})

    def with_original(factor: float) -> Any:
        return dataclasses.replace(model, original=lambda given: {"y": np.maximum(given["x"], 0) * np.float32(factor)})

    assert prove_changes("m", with_original(1), content, [], rows, "samples").rungs[0].max_abs_error == 0
    with pytest.raises(ParityError, match="output 'y'"):
        prove_changes("m", with_original(2), content, [], rows, "samples")
