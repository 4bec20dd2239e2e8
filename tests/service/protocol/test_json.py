"""JSON bytes to Python and back, and nested JSON numbers to arrays."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_store.datatypes import DATATYPES
from service.errors import InvalidInput
from service.protocol.json import array_of, parse_json, render_json, type_name
from service.protocol.large_json import parse_object


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"[1,]", b"\xff", b"nan", b"[NaN", b'{"a": NaN,}', b"[Infinit]", b"1 2", b"[" * 5000 + b"NaN"],
        b'["\\ud800", NaN]',  # a lone surrogate is no text
    ],
)
def test_malformed_json_is_refused(body: bytes) -> None:
    """What is not JSON is an InvalidInput that names the body, with or without NaN in it, however deep."""
    with pytest.raises(InvalidInput, match=r"^body: expected JSON, got "):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "got"),
    [(b"[]", "an array"), (b"1", "a number"), (b'"a"', "a string"), (b"null", "null"), (b"true", "a boolean")],
)
def test_body_that_is_no_object_is_refused(body: bytes, got: str) -> None:
    """Where an object is needed, anything else is refused by what it is called in JSON."""
    with pytest.raises(InvalidInput, match=f"^body: expected a JSON object, got {got}$"):
        parse_object(body)


def test_nan_and_infinities_are_understood() -> None:
    """The literals NaN and Infinity are numbers; in a text they are text."""
    nan, *others = parse_json(memoryview(b'[NaN, Infinity, -Infinity, "NaN"]'))
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, "NaN"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 1}',
        b'{"a":1,"a" :2}',
        b'{"a":1,"a"\n\t:2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a": {"b": ":", "b": 2}}',
        b'{"a": [1, {"b": 1, "b": 2}]}',
        b'{"a": [[{"b": 1, "b": 2}]]}',
        b'[{"a": 1}, {"a": 1, "a": ": "}]',
        b'{"a": NaN, "a": 1}',
        b'{"": 1, "": 1}',
    ],
)
def test_key_that_an_object_has_twice_is_refused(body: bytes) -> None:
    """A key twice in an object is refused, because parsers disagree on which one counts."""
    with pytest.raises(InvalidInput, match=r"^body: expected each key of an object once, got .* twice$"):
        parse_json(body)


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]},
        {"a": ":", ":": '": ', "c": ' : "', 'd"': ["\\", '\\":', '":']},
        [[{"a": ": "}], [{"a": 1}]],
        [1, {"a": {"b": []}}],
        {"a": "x : y", "n": 10**18, "f": 0.5},
    ],
)
def test_same_key_of_several_objects_and_colons_in_texts_are_taken(value: Any) -> None:
    """Only one object's own keys count, whatever its texts hold."""
    for separators in ((",", ":"), (", ", " : ")):
        assert parse_json(json.dumps(value, separators=separators).encode()) == value


def test_deep_nesting_beside_colons_in_texts_is_refused() -> None:
    """JSON that is too deep to look for such keys is refused."""
    with pytest.raises(InvalidInput, match="nested"):
        parse_json(b'{"a":' * 1000 + b'" :"' + b"}" * 1000)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50)
@given(value=json_values)
def test_rendered_value_is_parsed_again(value: Any) -> None:
    """A rendered value is parsed as itself by our parser and by Python's, and its type has a name of JSON."""
    assert type_name(value) in {"null", "a boolean", "a number", "a string", "an array", "an object"}
    assert parse_json(render_json(value)) == value
    assert json.loads(render_json(value)) == value


IN_JSON = [name for name, datatype in DATATYPES.items() if name != "BYTES" and not datatype.is_binary_only]


def nest(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("datatype", "data", "got"),
    [
        ("FP32", ["1.0"], "'1.0'"),
        ("FP32", [1.0, "x"], "'x'"),
        ("FP32", [1.0, None], "null"),
        ("FP32", None, "null"),
        ("FP32", {}, "an object"),
        ("FP32", [{}], "an object"),
        ("FP32", [True], "a boolean"),
        ("FP32", [[1, 2], [3, False]], "a boolean"),
        ("FP32", ["nan", 1.0], "'nan'"),
        ("FP32", ["NaN", "1.5"], "'1.5'"),
        ("FP32", ["NaN", None], "null"),
        ("FP32", ["NaN", True], "a boolean"),
        ("FP32", ["+Infinity"], "'+Infinity'"),
        ("INT64", ["NaN"], "'NaN'"),
        ("INT64", [1, True], "a boolean"),
        ("INT64", [1.0], "1.0"),
        ("INT64", [1, 2.5], "2.5"),
        ("INT64", [float("nan")], "nan"),
        ("BOOL", [True, 0], "a number"),
        ("BOOL", ["true"], "'true'"),
        ("BOOL", ["NaN"], "'NaN'"),
        ("FP64", [10**400], "numbers out of range"),
        ("BF16", [1.0, 3.4e38, "Infinity"], "3.4e+38, which is too large for it"),
        ("FP16", [1.0, 65520.0, "Infinity"], "65520, which is too large for it"),
        ("FP32", [1.0, 1e39, "Infinity"], "1e+39, which is too large for it"),
        ("BYTES as strings", [["a"], [1]], "a number"),
        ("BYTES as strings", [["a"], [True]], "a boolean"),
        ("BYTES as strings", [["a"], [None]], "null"),
        ("BYTES as strings", [["a"], [{}]], "an object"),
    ],
)
def test_value_of_another_type_is_refused(datatype: str, data: Any, got: str) -> None:
    """Texts, null, objects, booleans, fractions and what would overflow are not converted: the first one is told."""
    with pytest.raises(InvalidInput) as caught:
        array_of(data, DATATYPES[datatype.split()[0]], "x")
    assert str(caught.value) == f"x: expected {datatype}, got {got}"


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        *[("INT8", 128), ("INT8", -129), ("UINT8", 256), ("UINT8", -1)],
        *[("INT32", 1 << 31), ("UINT64", -1), ("INT64", 1 << 63)],
    ],
)
def test_integer_out_of_range_is_refused(datatype: str, value: int) -> None:
    """A whole number that the datatype cannot hold is refused, never wrapped round."""
    with pytest.raises(InvalidInput, match=rf"^x: expected {datatype}, -?\d+ to \d+, got {value}$"):
        array_of([0, value] if abs(value) < 1 << 62 else [value], DATATYPES[datatype], "x")


@pytest.mark.parametrize("data", [[[1, 2], [3]], [1, [2]], [[1], 2], [[], [1]], [[[1]], [[1, 2]]]])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL"])
def test_ragged_nesting_is_refused(datatype: str, data: Any) -> None:
    """Rows of different lengths make no tensor."""
    with pytest.raises(InvalidInput, match=r"^x: expected arrays of equal length, got a ragged nesting$"):
        array_of(data, DATATYPES[datatype], "x")


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BYTES", [["a"], ["b", "c"]]),
        ("BYTES", ["a", ["b"]]),
        ("BYTES", nest(["a", ["b"]], 40)),
        ("BYTES", nest("a", 101)),
        ("BYTES", nest("a", 5000)),
        ("FP32", nest(1, 101)),
        ("FP32", nest(1, 5000)),
        ("BOOL", nest(True, 5000)),
        ("INT64", nest("x", 63)),
        ("FP32", [nest(1, 40), nest([1, 2], 39)]),
        ("FP32", [nest(1, 40), 2]),
        ("FP32", [nest(1, 40), nest(1, 20)]),
    ],
)
def test_nesting_that_makes_no_tensor_is_refused(datatype: str, data: Any) -> None:
    """Ragged texts, more than a hundred arrays, and ragged arrays that are flattened are the caller's fault."""
    with pytest.raises(InvalidInput, match=r"^x: "):
        array_of(data, DATATYPES[datatype], "x")


@pytest.mark.parametrize("name", IN_JSON)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_numbers_survive_json(name: str, data: st.DataObject) -> None:
    """An array that is rendered as nested JSON numbers is read back bit for bit, in shape and datatype."""
    datatype = DATATYPES[name]
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)
    options: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if datatype.is_float else {}
    if name == "UINT64":
        options = {"max_value": (1 << 63) - 1}  # NumPy gives larger ones no JSON of the same type
    array = data.draw(arrays.arrays(datatype.dtype, shapes, elements=arrays.from_dtype(datatype.dtype, **options)))
    again = array_of(parse_json(render_json(array.tolist())), datatype, "x")
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("FP16", [[1.5, -2], [0, 0.25]], [[1.5, -2], [0, 0.25]]),
        ("BF16", [[1.5, -2], [0, 0.25]], [[1.5, -2], [0, 0.25]]),
        ("FP32", [1, 2.5], [1.0, 2.5]),
        ("FP32", [math.inf, -math.inf], [math.inf, -math.inf]),
        ("UINT64", [1, 1 << 63], [1, 1 << 63]),
    ],
)
def test_numbers_become_the_datatype(name: str, data: Any, expected: Any) -> None:
    """Whole numbers stand for floats, half floats are made of numbers, and UINT64 has its whole range."""
    array = array_of(data, DATATYPES[name], "x")
    assert (array.dtype, array.tolist()) == (DATATYPES[name].dtype, expected)


@settings(deadline=None, max_examples=50)
@given(array=arrays.arrays("object", arrays.array_shapes(max_dims=3, max_side=3), elements=st.text(max_size=5)))
def test_texts_keep_their_nesting(array: np.ndarray) -> None:
    """Strings of any letters and lengths, the empty one too, keep their places."""
    again = array_of(array.tolist(), DATATYPES["BYTES"], "x")
    assert (again.dtype, again.shape, again.tolist()) == (np.dtype(object), array.shape, array.tolist())


@pytest.mark.parametrize("name", [*IN_JSON, "BYTES"])
@pytest.mark.parametrize("data", [[], [[], []]])
def test_empty_array_has_the_datatype_that_was_asked_for(name: str, data: Any) -> None:
    """An empty array is read as any datatype."""
    array = array_of(data, DATATYPES[name], "x")
    assert (array.dtype, array.size, array.ndim) == (DATATYPES[name].dtype, 0, np.ndim(data))


@pytest.mark.parametrize("name", ["FP32", "FP64"])
@pytest.mark.parametrize("data", [["NaN", "Infinity", "-Infinity"], [["NaN"], [1]], [[2], ["Infinity"]], "NaN"])
def test_texts_stand_for_numbers_that_json_lacks(data: Any, name: str) -> None:
    """The texts "NaN" and "Infinity" are the same numbers as the literals, alone, beside numbers and nested."""
    literals = json.loads(re.sub(r'"(NaN|-?Infinity)"', r"\1", json.dumps(data)))
    np.testing.assert_array_equal(
        array_of(data, DATATYPES[name], "x"), np.array(literals, DATATYPES[name].dtype), strict=True
    )


@pytest.mark.parametrize("depth", [32, 33, 64, 65, 100])
def test_nesting_deeper_than_an_array_is_flattened(depth: int) -> None:
    """A hundred nested arrays are read: the outermost axes, which NumPy cannot have, become one."""
    array = array_of(nest([1, 2], depth - 1), DATATYPES["FP32"], "x")
    assert (array.ravel().tolist(), array.ndim) == ([1, 2], 32)
    texts = array_of([nest("a", depth - 1), nest("b", depth - 1)], DATATYPES["BYTES"], "x")
    assert (texts.ravel().tolist(), texts.ndim) == (["a", "b"], 32)
