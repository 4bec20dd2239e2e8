"""Inference answers: the wanted outputs in the wanted form, as clients read them; what is sent comes back."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_store.datatypes import DATATYPES, datatype_of
from service.errors import InvalidInput
from service.protocol.infer_request import parse_infer
from service.protocol.infer_response import render_infer, to_nested
from service.protocol.json import render_json

Json = dict[str, Any]
ALL_BINARY: Json = {"parameters": {"binary_data_output": True}}
X: Json = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}


def render(arrays_given: Mapping[str, np.ndarray], /, **fields: Any) -> tuple[Json, bytes, int | None]:
    """The answer to a request with these fields: its JSON part, the rest of the body, the length of the JSON part."""
    body = json.dumps({"inputs": [X], **fields}).encode()
    chunks, header_bytes = render_infer("m", "3", parse_infer(body, None).header, arrays_given)
    body = b"".join(chunks)
    end = len(body) if header_bytes is None else header_bytes
    return json.loads(body[:end]), body[end:], header_bytes


def test_answer_of_a_model_that_has_changed_describes_what_it_has() -> None:
    """A kept JSON part of an answer is used for the same names, types and shapes only."""
    for name, dtype in (("y", np.float32), ("y", np.float64), ("z", np.float64), ("y", np.float32)):
        document, content, _ = render({name: np.zeros(3, dtype)}, **ALL_BINARY)
        [output] = document["outputs"]
        assert (output["name"], output["datatype"]) == (name, "FP32" if dtype is np.float32 else "FP64")
        assert output["parameters"]["binary_data_size"] == len(content)


@pytest.mark.parametrize("name", ["FP16", "BF16"])
@pytest.mark.parametrize("asked", [{}, {"outputs": [{"name": "y"}]}])
def test_half_floats_have_no_json_answer(asked: Json, name: str) -> None:
    """An output of 16-bit floats that is asked for as JSON is refused, as the protocol has no form for it."""
    with pytest.raises(InvalidInput, match=f"output 'y': {name} has no JSON form"):
        render({"y": np.zeros(1, DATATYPES[name].dtype)}, **asked)


@pytest.mark.parametrize("size", [3, 100_000])
def test_brain_floats_are_answered_in_binary(size: int) -> None:
    """BF16, which has no buffer of its own in Python, is written as its bits, in small answers and in large ones."""
    bits = np.arange(size, dtype=np.uint16)
    answer, rest, _ = render({"y": bits.view(DATATYPES["BF16"].dtype)}, **ALL_BINARY)
    assert (answer["outputs"][0]["datatype"], rest) == ("BF16", bits.tobytes())


def test_answer_has_the_id_and_no_parameters_of_the_request() -> None:
    """An answer has the id if one was given, the version as a text, and no parameters of the request."""
    y = {"y": np.zeros(1, np.float32)}
    assert render(y, parameters={"mine": 1})[0].keys() == {"model_name", "model_version", "outputs"}
    answer = render(y, id="a-1")[0]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a-1", "m", "3")


TWO = {"y": np.ones((1, 2), np.float32), "z": np.ones(1, np.int64)}


@pytest.mark.parametrize(
    ("fields", "binary"),
    [
        ({}, {"y": False, "z": False}),
        ({"outputs": []}, {"y": False, "z": False}),
        (ALL_BINARY, {"y": True, "z": True}),
        ({"outputs": [{"name": "z"}]}, {"z": False}),
        ({"outputs": [{"name": "z"}, {"name": "y", "parameters": {"binary_data": True}}]}, {"z": False, "y": True}),
        ({"outputs": [{"name": "y"}], **ALL_BINARY}, {"y": True}),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": False}}], **ALL_BINARY}, {"y": False}),
    ],
)
def test_wanted_outputs_come_in_the_wanted_form(fields: Json, binary: dict[str, bool]) -> None:
    """All outputs or the listed ones, in their order; binary by their own flag, else by that of the request."""
    answer, rest, length = render(TWO, **fields)
    got = {item["name"]: "data" not in item for item in answer["outputs"]}
    assert list(got.items()) == list(binary.items())
    assert (length is not None) == any(binary.values())
    assert len(rest) == sum(TWO[name].nbytes for name in binary if binary[name])


@pytest.mark.parametrize("array", [np.float32([[1, 2], [3, 4]]), np.float32([[1, 3], [2, 4]]).T])
def test_data_of_an_answer_is_flat_and_row_by_row(array: np.ndarray) -> None:
    """JSON data is flat, row-major whatever the array's memory looks like, and so are the bytes."""
    item = render({"y": array})[0]["outputs"][0]
    assert (item["shape"], item["data"]) == ([2, 2], [1, 2, 3, 4])
    assert render({"y": array}, **ALL_BINARY)[1] == struct.pack("<4f", 1, 2, 3, 4)


def test_nan_and_infinities_of_an_answer_are_not_lost() -> None:
    """Numbers that JSON lacks are written as texts that NumPy reads as these numbers."""
    values = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    answer, _, _ = render({"y": values, "n": np.array([7], np.int64), "t": np.array(["é"], object)})
    y, n, t = (item["data"] for item in answer["outputs"])
    assert y == ["NaN", "Infinity", "-Infinity", 0.5]
    np.testing.assert_array_equal(np.array(y, np.float32), values)
    assert (n, t) == ([7], ["é"])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.float32([[0.1, np.nan], [np.inf, -np.inf]]), '[[0.1,"NaN"],["Infinity","-Infinity"]]'),
        (np.float64([[0.5, -2]]).T, "[[0.5],[-2.0]]"),
        (np.array(-np.inf), '"-Infinity"'),
        (np.float32(0.1), "0.1"),
        (np.array([True, False]), "[true,false]"),
        (np.empty((0, 2), np.float32), "[]"),
    ],
)
def test_nested_numbers_are_json_that_every_parser_takes(array: np.ndarray, text: str) -> None:
    """Nested numbers of any shape are valid JSON: those that are not finite are texts."""
    assert render_json(to_nested(array)).decode() == text


@pytest.mark.parametrize("element", ["é", "é".encode(), ""])
def test_texts_of_an_answer_are_texts(element: str | bytes) -> None:
    """Outputs of strings or of bytes are JSON strings, and length and bytes in the binary form."""
    array = np.array([element], object)
    encoded = element if isinstance(element, bytes) else element.encode()
    [output] = render({"y": array})[0]["outputs"]
    assert output == {"name": "y", "datatype": "BYTES", "shape": [1], "data": [encoded.decode()]}
    _, rest, _ = render({"y": array}, **ALL_BINARY)
    assert rest == struct.pack("<I", len(encoded)) + encoded


def draw_array(data: st.DataObject, name: str) -> np.ndarray:
    datatype = DATATYPES[name]
    # The last 128 characters look different on the way: test_escape.py has them.
    texts = st.text(st.characters(codec="utf-8", max_codepoint=0x10FF7F), max_size=4) if name == "BYTES" else None
    shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)
    bits = np.dtype(np.uint16)  # hypothesis has no BF16
    array: np.ndarray = data.draw(arrays.arrays(bits if name == "BF16" else datatype.dtype, shapes, elements=texts))
    return array.view(datatype.dtype) if name == "BF16" else array


def encode(array: np.ndarray) -> bytes:
    """The binary form by the specification, written here a second time."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(e.encode())) + e.encode() for e in array.ravel())
    return array.astype(array.dtype.newbyteorder("<")).tobytes("C")


@pytest.mark.parametrize("name", DATATYPES)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_binary_tensors_survive_the_round_trip(name: str, data: st.DataObject) -> None:
    """Any datatype and shape, empty, scalar or with NaN, comes back bit for bit through the binary form."""
    array = draw_array(data, name)
    sent = encode(array)
    item = {"name": "x", "shape": list(array.shape), "datatype": name, "parameters": {"binary_data_size": len(sent)}}
    text = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    request = parse_infer(text + sent, len(text))
    got = request.inputs["x"]
    assert (datatype_of(got).name, got.shape) == (name, array.shape)
    chunks, header_bytes = render_infer("m", "1", request.header, {"x": got})
    body = b"".join(chunks)
    assert header_bytes is not None
    assert body[header_bytes:] == sent
    assert json.loads(body[:header_bytes])["outputs"] == [item]


@pytest.mark.parametrize("name", [name for name in DATATYPES if name not in ("FP16", "BF16", "UINT64")])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_json_tensors_survive_the_round_trip(name: str, data: st.DataObject) -> None:
    """Any datatype that JSON has a form for comes back value for value, NaN and infinities included."""
    array = draw_array(data, name)
    given_item = {"name": "x", "shape": array.shape, "datatype": name, "data": array.ravel().tolist()}
    request = parse_infer(json.dumps({"inputs": [given_item]}).encode(), None)
    np.testing.assert_array_equal(request.inputs["x"], array)
    [item] = json.loads(b"".join(render_infer("m", "1", request.header, request.inputs)[0]))["outputs"]
    assert (item["datatype"], tuple(item["shape"])) == (name, array.shape)
    again = np.array(item["data"], array.dtype).reshape(array.shape)
    np.testing.assert_array_equal(again, array)
