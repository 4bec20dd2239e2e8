"""Tensors: each request is checked in full before it is queued, and joined with others without a change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.datatypes import DATATYPES
from model_store.graph import AxisRange, Graph, Tensor
from service.engine.tensors import MAX_EMPTY, BatchBuffer, Signature, are_finite, show_shape
from service.errors import InvalidInput


def tensor(name: str, *shape: int | str, datatype: str = "FP32", axis: int | None = 0, finite: bool = False) -> Tensor:
    return Tensor(name=name, datatype=datatype, shape=shape, batch_axis=axis, finite=finite)


def sign(*inputs: Tensor, output: Tensor | None = None) -> Signature:
    last = output or tensor("y", "batch", axis=inputs[0].batch_axis if inputs else 0)
    return Signature(Graph(file="main.onnx", inputs=inputs, outputs=(last,)))


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def integers(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int64)


TWO = sign(tensor("a", "batch", 3), tensor("b", "batch", 2, datatype="INT64"))
LENGTH, ONE = sign(tensor("x", "batch", "length")), sign(tensor("x", "batch"))
BOUNDED = sign(tensor("x", "batch", "time", datatype="INT64").model_copy(update={"least": 0, "largest": 19}))
PAIR = sign(tensor("ids", "batch", "length"), tensor("mask", "batch", "length"))
NO_ROWS_OUT = sign(tensor("x", "batch", 3), output=tensor("y", 3, axis=None))


@pytest.mark.parametrize(
    ("signature", "inputs", "complaint"),
    [
        (TWO, {}, "inputs: expected a, b, got none"),
        (TWO, {"a": floats(1, 3)}, "inputs: expected a, b, got a"),
        (TWO, {"a": floats(1, 3), "c": floats(1, 2)}, "inputs: expected a, b, got a, c"),
        (TWO, {"a": floats(1, 3), "b": floats(1, 2), "c": floats(1)}, "inputs: expected a, b, got a, b, c"),
        (TWO, {"a": floats(1, 3), "b": floats(1, 2)}, "input 'b': expected INT64, got FP32"),
        (TWO, {"a": np.zeros((1, 3)), "b": integers(1, 2)}, "input 'a': expected FP32, got FP64"),
        (TWO, {"a": np.array([["x"] * 3]), "b": integers(1, 2)}, "input 'a': expected FP32, got BYTES"),
        (TWO, {"a": floats(1, 4), "b": integers(1, 2)}, r"input 'a': expected shape \[batch, 3\], got \[1, 4\]"),
        (TWO, {"a": floats(3), "b": integers(1, 2)}, r"input 'a': expected shape \[batch, 3\], got \[3\]"),
        (TWO, {"a": floats(), "b": integers(1, 2)}, r"input 'a': expected shape \[batch, 3\], got \[\]"),
        (TWO, {"a": floats(2, 3), "b": integers(1, 2)}, "input 'b': expected 2 rows like the other inputs, got 1"),
        (TWO, {"a": floats(0, 3), "b": integers(0, 2)}, r"at least one row and no empty axis, got a \[0, 3\], b"),
        (LENGTH, {"x": floats(2, 0)}, r"no empty axis, got x \[2, 0\]"),
        (ONE, {"x": floats()}, r"input 'x': expected shape \[batch\], got \[\]"),
        (NO_ROWS_OUT, {"x": floats(3)}, r"input 'x': expected shape \[batch, 3\], got \[3\]"),
        (PAIR, {"ids": floats(1, 5), "mask": floats(1, 4)}, "length"),
        (BOUNDED, {"x": np.array([[0, 19], [-1, 20]])}, r"input 'x': .* integers from 0 to 19, got -1 at \[1, 0\]"),
    ],
)
def test_request_that_is_unfit_is_refused(signature: Signature, inputs: dict[str, np.ndarray], complaint: str) -> None:
    """The first input at fault is named; some kernels of ONNX Runtime abort the process on an empty axis."""
    with pytest.raises(InvalidInput, match=complaint):
        signature.check(inputs)


@pytest.mark.parametrize(
    ("limits", "size", "expected"),
    [
        (AxisRange(least=2, largest=64), 65, "from 2 to 64"),
        (AxisRange(least=2), 1, "of 2 or more"),
        (AxisRange(largest=64, multiple_of=8), 12, "up to 64, that is a multiple of 8"),
    ],
)
def test_size_outside_of_what_was_proved_is_refused(limits: AxisRange, size: int, expected: str) -> None:
    """The text names the axis, the limits and what came; without limits any size passes."""
    limited = Signature(LENGTH.graph.model_copy(update={"axis_ranges": {"length": limits}}))
    with pytest.raises(InvalidInput, match=rf"input 'x': .* a size {expected} on axis 1 \('length'\), got {size}"):
        limited.check({"x": floats(3, size)})
    assert limited.check({"x": floats(3, 16)}).number == LENGTH.check({"x": floats(3, size)}).number == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_is_refused_where_the_manifest_says_so(bad: float) -> None:
    """NaN and infinities are refused with their place, in an input that is declared finite and in no other."""
    array = floats(2, 3)
    array[1, 2] = bad
    with pytest.raises(InvalidInput, match=rf"input 'x': expected finite numbers, got {bad} at \[1, 2\]"):
        sign(tensor("x", "batch", 3, finite=True)).check({"x": array})
    assert sign(tensor("x", "batch", 3)).check({"x": array}).number == 2


@pytest.mark.parametrize("name", ["BF16", "FP16", "FP32", "FP64"])
def test_every_float_that_is_not_finite_is_found(name: str) -> None:
    """NaN and infinities are found; large numbers, whose squares are infinite, are finite, and so is an empty array."""
    dtype = DATATYPES[name].dtype
    largest = 6e4 if name == "FP16" else 3e38
    assert are_finite(np.full((3, 4), largest).astype(dtype).T)
    assert are_finite(np.empty((0, 3), dtype))
    assert not any(are_finite(np.array([1, bad, 1]).astype(dtype)) for bad in (np.nan, np.inf, -np.inf))


def test_requests_of_one_shape_may_share_a_batch() -> None:
    """Requests share a batch if their rows have one shape, and an input that all rows share has one value or none."""
    fixed = sign(tensor("x", "batch", 3))
    assert fixed.check({"x": floats(1, 3)}).key == fixed.check({"x": floats(9, 3)}).key is not None
    keys = [LENGTH.check({"x": floats(rows, length)}).key for rows, length in ((1, 5), (3, 5), (1, 6))]
    assert keys[0] == keys[1] != keys[2]
    rate = tensor("rate", axis=None).model_copy(update={"optional": True})
    signature = sign(tensor("x", "batch", 3), rate)
    keys = [
        signature.check({"x": floats(1, 3), **shared}).key
        for shared in ({"rate": np.float32(1)}, {"rate": np.float32(1)}, {"rate": np.float32(2)}, {})
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert not signature.has_fixed_key


def test_graph_without_a_batch_axis_runs_request_by_request() -> None:
    """The whole input is one row that shares no batch. Its first axis is checked like any other."""
    signature = sign(tensor("x", 2, "n", axis=None))
    rows = signature.check({"x": floats(2, 5)})
    assert (signature.batches, rows.number, rows.key) == (False, 1, None)
    with pytest.raises(InvalidInput, match=r"expected shape \[2, n\], got \[3, 5\]"):
        signature.check({"x": floats(3, 5)})


@pytest.mark.parametrize(
    "signature",
    [NO_ROWS_OUT, sign(tensor("x", 3, axis=None)), sign()],
    ids=["no output has rows", "no input has rows", "no inputs"],
)
def test_graph_without_rows_does_not_batch(signature: Signature) -> None:
    """Where no input or no output has rows, a request is one run."""
    assert not signature.batches
    assert NO_ROWS_OUT.check({"x": floats(2, 3)}).key is None


def test_no_rows_run_where_an_output_does_not_depend_on_them() -> None:
    """An output that is the same for every row has a value without any: the graph is run for it, if it survives."""
    tensors = (tensor("x", "batch", 3), tensor("s", 4, axis=None))
    outputs = (tensor("y", "batch", 3), tensor("t", 4, axis=None))
    graph = Graph(file="model.onnx", inputs=tensors, outputs=outputs)
    inputs = {"x": floats(0, 3), "s": floats(4)}
    assert Signature(graph).check(inputs, may_be_empty=True).whole
    with pytest.raises(InvalidInput, match="may not survive in LSTM"):
        Signature(graph, "LSTM").check(inputs, may_be_empty=True)


def test_rows_are_counted_on_the_batch_axis() -> None:
    """The batch axis gives the number of rows, wherever it lies; the other sizes are the key. Shapes show names."""
    inputs = {"a": floats(7, 3), "b": integers(7, 2)}
    assert (TWO.check(inputs).number, TWO.check(inputs).inputs["a"] is inputs["a"]) == (7, True)
    signature = sign(tensor("x", 2, "batch", "width", axis=1), output=tensor("y", "batch"))
    rows, other = signature.check({"x": floats(2, 5, 3)}), signature.check({"x": floats(2, 1, 4)})
    assert (rows.number, other.number) == (5, 1)
    assert rows.key == signature.check({"x": floats(2, 7, 3)}).key != other.key
    assert (show_shape(("batch", 1, 8)), show_shape(())) == ("[batch, 1, 8]", "[]")


def test_inputs_of_other_sizes_run_whole_unless_one_name_says_that_they_are_equal() -> None:
    """Axes of one name must agree; where the names differ the graph decides, so the request is one run of its own."""
    named = sign(tensor("x", "batch", 3), tensor("z", "batch", 3))
    with pytest.raises(InvalidInput, match="expected 2 rows like the other inputs, got 3"):
        named.check({"x": floats(2, 3), "z": floats(3, 3)})
    apart = sign(tensor("x", "n", 3), tensor("z", "m", 3))
    whole = apart.check({"x": floats(2, 3), "z": floats(3, 3)})
    assert (whole.whole, whole.number) == (True, 1)
    assert whole.key != apart.check({"x": floats(2, 3), "z": floats(3, 3)}).key
    assert not apart.check({"x": floats(2, 3), "z": floats(2, 3)}).whole


def test_texts_of_any_width_fit_a_bytes_input() -> None:
    """An input of BYTES takes Python strings and NumPy's fixed-width ones."""
    signature = sign(tensor("x", "batch", datatype="BYTES"))
    for array in (np.array(["a", "é"], object), np.array(["a", "bc"])):
        assert signature.check({"x": array}).number == 2


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=4), pad=st.integers(0, 3)
)
def test_joined_rows_are_the_parts_below_each_other(counts: list[list[int]], pad: int) -> None:
    """Batch after batch, the joined array holds every part in order, then the last row again to fill a bucket."""
    buffer = BatchBuffer()
    number = iter(range(1000))
    for batch in counts:
        parts = [np.array([[next(number)] * 2 for _ in range(count)], np.float32) for count in batch]
        rows = sum(batch) + pad
        joined = buffer.join("x", parts, rows)
        expected = np.concatenate([*parts, np.repeat(parts[-1][-1:], pad, axis=0)])
        np.testing.assert_array_equal(joined, expected)
        assert joined.dtype == np.float32


def test_empty_axis_where_the_graph_is_fragile_is_refused() -> None:
    """A row that could end the process never reaches the graph. A request of no rows does not run, so it passes."""
    signature = Signature(LENGTH.graph, "LSTM")
    with pytest.raises(InvalidInput, match=r"which ONNX Runtime may not survive in LSTM, got x \[2, 0\]"):
        signature.check({"x": floats(2, 0)}, may_be_empty=True)
    assert signature.check({"x": floats(0, 0)}, may_be_empty=True).number == 0
    assert BOUNDED.check({"x": integers(0, 3)}, may_be_empty=True).number == 0  # none is out of bounds
    fixed = Signature(sign(tensor("x", "n", axis=None)).graph, "LSTM")
    with pytest.raises(InvalidInput, match="may not survive in LSTM"):
        fixed.check({"x": floats(0)}, may_be_empty=True)


@pytest.mark.parametrize("shape", [(0, MAX_EMPTY + 1), (2, 0, MAX_EMPTY // 2 + 1), (MAX_EMPTY, 0, 2)])
def test_vast_sizes_beside_an_empty_axis_are_refused(shape: tuple[int, ...]) -> None:
    """Vast sizes beside an empty axis cost a caller nothing, but a model may make outputs of that size."""
    signature = sign(tensor("x", "batch", *"nm"[: len(shape) - 1]))
    with pytest.raises(InvalidInput, match=f"sizes beside an empty axis of at most {MAX_EMPTY} together, got x"):
        signature.check({"x": np.empty(shape, np.float32)}, may_be_empty=True)


def test_no_rows_have_an_answer_of_no_rows() -> None:
    """Open sizes of outputs are those of the inputs' axes of the same name, else 0; fixed ones are as declared."""
    output = Tensor(name="y", datatype="INT8", shape=("batch", "length", 4, "other"), batch_axis=0)
    signature = sign(tensor("x", "batch", "length"), output=output)
    rows = signature.check({"x": floats(0, 7)}, may_be_empty=True)
    [y] = signature.answer_no_rows(rows.inputs).values()
    assert (rows.number, y.dtype, y.shape) == (0, np.int8, (0, 7, 4, 0))


@pytest.mark.parametrize("shape", [(2, 0), (3, 0, 2)])
def test_empty_rows_share_a_batch(shape: tuple[int, ...]) -> None:
    """Rows without elements are joined and padded like others, and those of one shape have one key."""
    signature = sign(tensor("x", "batch", *"nm"[: len(shape) - 1]))
    one, other = (signature.check({"x": floats(rows, *shape[1:])}, may_be_empty=True) for rows in (1, shape[0]))
    joined = BatchBuffer().join("x", [one.inputs["x"], other.inputs["x"]], 5)
    assert (one.key == other.key, joined.shape) == (True, (5, *shape[1:]))


def test_batch_costs_no_allocation_once_the_buffer_is_there() -> None:
    """A smaller batch of the same rows is filled into the same memory; other names and datatypes have their own."""
    buffer = BatchBuffer()
    large = buffer.join("x", [floats(3, 2), floats(3, 2)], 6)
    assert np.shares_memory(large, buffer.join("x", [floats(1, 2), floats(2, 2)], 3))
    assert not np.shares_memory(large, buffer.join("z", [floats(1, 2), floats(2, 2)], 3))
    integers = np.zeros((1, 2), np.int64)
    assert buffer.join("x", [integers, integers], 2).dtype == np.int64


def test_parts_stay_as_they_were() -> None:
    """Joining never writes into a part. A single part that fits is not copied. BF16 stays BF16."""
    part = np.array([[1, 2]], np.float32)
    part.flags.writeable = False
    assert BatchBuffer().join("x", [part], 1) is part
    assert BatchBuffer().join("x", [part], 3).tolist() == [[1, 2]] * 3
    part = np.array([[1.5, -2]], DATATYPES["BF16"].dtype)
    joined = BatchBuffer().join("x", [part, part], 4)
    assert (joined.dtype, joined.tolist()) == (part.dtype, [[1.5, -2]] * 4)
