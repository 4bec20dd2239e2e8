"""``sluice check``: what of any ONNX file would batch, and why not."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.check import free_batch, inspect
from export.errors import ExportError
from export.runtime import Runtime
from sluice import main
from tests.graphs import build, double

FLOAT = TensorProto.FLOAT


def fixed(shape: list[int], reshape_to: list[int]) -> bytes:
    """y = 2 x, reshaped by a constant: the batch of 1 is in the shapes."""
    return build(
        [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Reshape", ["z", "to"], ["y"])],
        [("x", FLOAT, shape)],
        [("y", FLOAT, [shape[0], *reshape_to[1:]])],
        {"two": np.array(2, np.float32), "to": np.array(reshape_to)},
    )


def brain(rows: int | str) -> bytes:
    """y = x, of BF16."""
    kind = TensorProto.BFLOAT16
    return build([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, [rows, 3])], [("y", kind, [rows, 3])])


def test_graph_of_bf16_is_judged_by_what_it_declares() -> None:
    """It cannot be run on arrays, so nothing is tried, which is said, and its batch axis is not made free."""
    verdict = inspect(brain("batch"))
    assert verdict.batches
    assert verdict.reasons[0].startswith("as declared: input 'x' is BF16")
    assert not inspect(brain(1)).batches
    with pytest.raises(ExportError, match=r"input 'x' is BF16.*: export the model again with a dynamic axis 0"):
        free_batch(brain(1))


def centred() -> bytes:
    """y = x - mean of x over the batch: rows influence each other."""
    return build(
        [helper.make_node("ReduceMean", ["x", "axis"], ["m"]), helper.make_node("Sub", ["x", "m"], ["y"])],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 3])],
        {"axis": np.array([0])},
    )


def scalar() -> bytes:
    """total = the sum of everything: one number for the whole batch."""
    return build(
        [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)],
        [("x", FLOAT, ["batch", 3])],
        [("total", FLOAT, [])],
    )


def misnamed() -> bytes:
    return build([helper.make_node("Neg", ["x"], ["y"])], [("x", FLOAT, ["batch", 3])], [("y", FLOAT, ["rows", 3])])


def breaks_at_two() -> bytes:
    """Declared as dynamic, but the rows are reshaped to one."""
    return build(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 3])],
        {"to": np.array([1, 3])},
    )


def summed() -> bytes:
    """y = x + the sum of all of x: right for one row only."""
    return build(
        [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Add", ["x", "s"], ["y"])],
        [("x", FLOAT, [1, 3])],
        [("y", FLOAT, [1, 3])],
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (centred(), "rows influence each other: row 0 of 'y'"),
        (scalar(), "output 'total' is a scalar"),
        (misnamed(), "axis 0 has several names ('batch', 'rows')"),
        (breaks_at_two(), "ONNX Runtime fails on inputs"),
        (fixed([1, 4], [1, 2, 2]), "axis 0 of input 'x' is fixed at 1"),
    ],
)
def test_what_does_not_batch_is_told_with_the_reason(content: bytes, reason: str) -> None:
    """Influence, scalars, names, built-in sizes and fixed axes are each found and named."""
    verdict = inspect(content)
    assert not verdict.batches
    assert reason in verdict.reasons[0]


def test_what_batches_is_said_to() -> None:
    """A graph with a free batch axis and independent rows passes, with what was tried."""
    verdict = inspect(double())
    assert verdict.batches
    assert "batches of 2, 3, 5" in verdict.reasons[0]


@pytest.mark.parametrize("to", [[1, 2, 2], [1, 4]])
def test_a_fixed_batch_is_freed_where_the_answers_stay(to: list[int]) -> None:
    """The copy gives each row of a batch what the original gives it alone, and now batches."""
    content = fixed([1, 4], to)
    assert inspect(content).fixable
    changed = free_batch(content)
    assert inspect(changed).batches
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(Runtime(changed).run({"x": rows})["y"], (2 * rows).reshape(3, *to[1:]))


def test_a_batch_that_is_built_in_deeper_is_not_freed() -> None:
    """Where the free axis changes what comes out, nothing is written and the advice is to export again."""
    with pytest.raises(ExportError, match="export the model again with a dynamic axis 0"):
        free_batch(summed())
    with pytest.raises(ExportError, match="axis 0 of every input and output must be 1"):
        free_batch(double())


def test_command_writes_the_copy_and_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 without batches, 0 with them, 2 for what is no ONNX file; JSON for programs."""
    source, copy = tmp_path / "fixed.onnx", tmp_path / "free.onnx"
    source.write_bytes(fixed([1, 4], [1, 2, 2]))
    assert main(["check", str(source)]) == 1
    assert "--free-batch" in capsys.readouterr().out
    assert main(["check", str(source), "--free-batch", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batches"] is True
    assert onnx.load(copy).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    source.write_bytes(b"no model")
    assert main(["check", str(source)]) == 2
    assert "not a valid ONNX file" in capsys.readouterr().err
