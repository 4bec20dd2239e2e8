"""Nested JSON numbers to arrays."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_store.datatypes import DATATYPES
from service.errors import InvalidInput
from service.protocol.json import array_of, numbers_of, parse_json, render_json

IN_JSON = [name for name, datatype in DATATYPES.items() if name != "BYTES" and not datatype.is_binary_only]


def nest(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("datatype", "data", "got"),
    [
        ("FP32", "1.0", "'1.0'"),
        ("FP32", ["1.0"], "'1.0'"),
        ("FP32", [1.0, "x"], "'x'"),
        ("FP32", [1.0, None], "null"),
        ("FP32", None, "null"),
        ("FP32", {}, "an object"),
        ("FP32", [{}], "an object"),
        ("FP32", [True], "a boolean"),
        ("FP32", [1.5, True], "a boolean"),
        ("FP32", [[1, 2], [3, False]], "a boolean"),
        ("INT64", [1, True], "a boolean"),
        ("INT64", [1.0], "1.0"),
        ("INT64", [1, 2.5], "2.5"),
        ("INT64", [float("nan")], "nan"),
        ("BOOL", [1], "a number"),
        ("BOOL", [True, 0], "a number"),
        ("BOOL", ["true"], "'true'"),
        ("FP64", [10**400], "numbers out of range"),
    ],
)
def test_value_of_another_type_is_refused(datatype: str, data: Any, got: str) -> None:
    """No text, null, object, boolean or fraction becomes a number on the way: the first wrong value is told."""
    with pytest.raises(InvalidInput) as caught:
        array_of(data, DATATYPES[datatype], "x")
    assert str(caught.value) == f"x: expected {datatype}, got {got}"


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT8", 128),
        ("INT8", -129),
        ("UINT8", 256),
        ("UINT8", -1),
        ("INT32", 1 << 31),
        ("UINT64", -1),
        ("INT64", 1 << 63),
    ],
)
def test_integer_out_of_range_is_refused(datatype: str, value: int) -> None:
    """A whole number that the datatype cannot hold is refused, never wrapped round."""
    with pytest.raises(InvalidInput, match=rf"^x: expected {datatype}, -?\d+ to \d+, got {value}$"):
        array_of([0, value] if abs(value) < 1 << 62 else [value], DATATYPES[datatype], "x")


@pytest.mark.parametrize(("name", "value"), [("BF16", 3.4e38), ("FP16", 65520.0), ("FP32", 1e39)])
def test_float_that_would_become_infinite_is_refused(name: str, value: float) -> None:
    """A number that the datatype only has as infinity is too large for it, also where the conversion raises nothing."""
    with pytest.raises(InvalidInput, match=f"x: expected {name}, got .*, which is too large for it"):
        array_of([1.0, value, "Infinity"], DATATYPES[name], "x")


def test_flat_numbers_go_to_memory_at_once() -> None:
    """A flat array is read without a Python object for each number, compiled as well."""
    assert numbers_of(b"[1.5, 2, -3e2]", DATATYPES["FP32"]).tolist() == [1.5, 2.0, -300.0]


@pytest.mark.parametrize("data", [[[1, 2], [3]], [1, [2]], [[1], 2], [[], [1]], [[[1]], [[1, 2]]]])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL"])
def test_ragged_nesting_is_refused(datatype: str, data: Any) -> None:
    """Rows of different lengths make no tensor."""
    with pytest.raises(InvalidInput, match=r"^x: expected arrays of equal length, got a ragged nesting$"):
        array_of(data, DATATYPES[datatype], "x")


@pytest.mark.parametrize("data", [[["a"], ["b", "c"]], ["a", ["b"]], nest(["a", ["b"]], 40)])
def test_ragged_nesting_of_texts_is_refused(data: Any) -> None:
    """Texts obey the same rule as numbers: no element of a tensor of texts is a list."""
    with pytest.raises(InvalidInput, match=r"^x: "):
        array_of(data, DATATYPES["BYTES"], "x")


@pytest.mark.parametrize(
    ("datatype", "leaf", "depth"),
    [
        ("FP32", 1, 101),
        ("BYTES", "a", 101),
        ("FP32", 1, 500),
        ("FP32", 1, 5000),
        ("BOOL", True, 5000),
        ("INT64", "x", 63),
        ("BYTES", "a", 5000),
    ],
)
def test_deep_nesting_is_refused(datatype: str, leaf: Any, depth: int) -> None:
    """Deeper nesting than a hundred arrays is the caller's fault, not a failure."""
    with pytest.raises(InvalidInput, match=r"^x: expected"):
        array_of(nest(leaf, depth), DATATYPES[datatype], "x")


@pytest.mark.parametrize("leaf", [1, 1.5, True, None, {}])
def test_only_strings_are_texts(leaf: Any) -> None:
    """An element of BYTES must be a string, wherever it stands."""
    with pytest.raises(InvalidInput, match=r"^x: expected BYTES as strings, got"):
        array_of([["a"], [leaf]], DATATYPES["BYTES"], "x")


def test_large_and_small_unsigned_numbers_go_together() -> None:
    """The whole range of UINT64 may stand in one tensor."""
    assert array_of([1, 1 << 63], DATATYPES["UINT64"], "x").tolist() == [1, 1 << 63]


@pytest.mark.parametrize("name", IN_JSON)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_numbers_survive_json(name: str, data: st.DataObject) -> None:
    """An array that is rendered as nested JSON numbers is read back bit for bit, in shape and datatype."""
    datatype = DATATYPES[name]
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)
    options: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if datatype.is_float else {}
    if name == "UINT64":
        options = {"max_value": (1 << 63) - 1}  # see the test before
    array = data.draw(arrays.arrays(datatype.dtype, shapes, elements=arrays.from_dtype(datatype.dtype, **options)))
    again = array_of(parse_json(render_json(array.tolist())), datatype, "x")
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_numbers_become_half_floats(name: str) -> None:
    """The rows of a task may be numbers in JSON whatever the model takes; what its floats cannot hold is told."""
    array = array_of([[1.5, -2], [0, 0.25]], DATATYPES[name], "x")
    assert (array.dtype, array.tolist()) == (DATATYPES[name].dtype, [[1.5, -2], [0, 0.25]])
    with pytest.raises(InvalidInput, match=f"x: expected {name}, got 1e\\+39, which is too large for it"):
        array_of([1e39], DATATYPES[name], "x")
    with pytest.raises(InvalidInput, match=f"x: expected {name}, got a boolean"):
        array_of([1.5, True], DATATYPES[name], "x")


@settings(deadline=None, max_examples=50)
@given(array=arrays.arrays("object", arrays.array_shapes(max_dims=3, max_side=3), elements=st.text(max_size=5)))
def test_texts_keep_their_nesting(array: np.ndarray) -> None:
    """Strings of any letters and lengths, the empty one too, keep their places."""
    again = array_of(array.tolist(), DATATYPES["BYTES"], "x")
    assert (again.dtype, again.shape, again.tolist()) == (np.dtype(object), array.shape, array.tolist())


@pytest.mark.parametrize("name", [*IN_JSON, "BYTES"])
@pytest.mark.parametrize("data", [[], [[], []]])
def test_empty_array_has_the_datatype_that_was_asked_for(name: str, data: Any) -> None:
    """No numbers at all are numbers of any datatype; the engine decides about empty tensors."""
    array = array_of(data, DATATYPES[name], "x")
    assert (array.dtype, array.size, array.ndim) == (DATATYPES[name].dtype, 0, np.ndim(data))


def test_whole_numbers_may_stand_for_floats() -> None:
    """1 is a good float, as JSON does not tell 1 from 1.0."""
    assert array_of([1, 2.5], DATATYPES["FP32"], "x").tolist() == [1.0, 2.5]


def test_nan_and_infinities_are_floats() -> None:
    """NaN and infinities pass as floats; whether a model takes them is in its manifest."""
    array = array_of([float("nan"), float("inf"), float("-inf")], DATATYPES["FP32"], "x")
    np.testing.assert_array_equal(array, np.array([np.nan, np.inf, -np.inf], np.float32))


@pytest.mark.parametrize("name", ["FP32", "FP64"])
@pytest.mark.parametrize(
    "data", [["NaN", "Infinity", "-Infinity"], [["NaN"], [1]], [[-0.5, 2], ["Infinity", 1]], "NaN"]
)
def test_texts_stand_for_numbers_that_json_lacks(data: Any, name: str) -> None:
    """Alone, beside ordinary numbers and nested, they are what the literals are."""
    literals = json.loads(re.sub(r'"(NaN|-?Infinity)"', r"\1", json.dumps(data)))
    np.testing.assert_array_equal(
        array_of(data, DATATYPES[name], "x"), np.array(literals, DATATYPES[name].dtype), strict=True
    )


@pytest.mark.parametrize(
    ("name", "data", "got"),
    [
        ("FP32", ["nan", 1.0], "'nan'"),
        ("FP32", ["NaN", "1.5"], "'1.5'"),
        ("FP32", ["NaN", None], "null"),
        ("FP32", ["NaN", True], "a boolean"),
        ("FP32", ["+Infinity"], "'\\+Infinity'"),
        ("INT64", ["NaN"], "'NaN'"),
        ("BOOL", ["NaN"], "'NaN'"),
    ],
)
def test_other_texts_are_no_numbers(name: str, data: Any, got: str) -> None:
    """No other spelling, no number in a text, and nothing else beside them; whole numbers have no such values."""
    with pytest.raises(InvalidInput, match=f"^x: expected {name}, got {got}"):
        array_of(data, DATATYPES[name], "x")


@pytest.mark.parametrize("depth", [32, 33, 64, 65, 100])
def test_nesting_deeper_than_an_array_is_flattened(depth: int) -> None:
    """A hundred nested arrays are read, though no array has so many axes: the outermost ones are taken together."""
    array = array_of(nest([1, 2], depth - 1), DATATYPES["FP32"], "x")
    assert (array.ravel().tolist(), array.ndim) == ([1, 2], 32)
    texts = array_of([nest("a", depth - 1), nest("b", depth - 1)], DATATYPES["BYTES"], "x")
    assert (texts.ravel().tolist(), texts.ndim) == (["a", "b"], 32)


@pytest.mark.parametrize("data", [[nest(1, 40), nest([1, 2], 39)], [nest(1, 40), 2], [nest(1, 40), nest(1, 20)]])
def test_deep_ragged_nesting_is_refused(data: Any) -> None:
    """Arrays of different lengths or depths are refused where they are flattened as everywhere else."""
    with pytest.raises(InvalidInput, match=r"^x: expected"):
        array_of(data, DATATYPES["FP32"], "x")
