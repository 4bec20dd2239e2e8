"""Inference answers: the wanted outputs in the wanted form, as clients read them."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from model_store.datatypes import DATATYPES
from service.errors import InvalidInput
from service.protocol.infer_request import parse_infer
from service.protocol.infer_response import render_infer, to_nested
from service.protocol.json import render_json

Json = dict[str, Any]
X: Json = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}


def render(given: Mapping[str, np.ndarray], /, **fields: Any) -> tuple[Json, bytes, int | None]:
    """The answer to a request with these fields: its JSON part, the rest of the body, the length of the JSON part."""
    body = json.dumps({"inputs": [X], **fields}).encode()
    answer = render_infer("m", "3", parse_infer(body, None).header, given)
    body = b"".join(answer.chunks)
    end = len(body) if answer.header_bytes is None else answer.header_bytes
    return json.loads(body[:end]), body[end:], answer.header_bytes


def test_answer_of_a_model_that_has_changed_describes_what_it_has() -> None:
    """What is kept of an answer's JSON part belongs to names, types and shapes: a version may be given another file."""
    asked = {"parameters": {"binary_data_output": True}}
    for name, dtype in (("y", np.float32), ("y", np.float64), ("z", np.float64), ("y", np.float32)):
        document, content, _ = render({name: np.zeros(3, dtype)}, **asked)
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
    answer, rest, _ = render({"y": bits.view(DATATYPES["BF16"].dtype)}, parameters={"binary_data_output": True})
    assert (answer["outputs"][0]["datatype"], rest) == ("BF16", bits.tobytes())


def test_id_comes_back_only_if_given() -> None:
    """The answer carries the request's id, and none where there was none; the version is text."""
    y = {"y": np.zeros(1, np.float32)}
    assert "id" not in render(y)[0]
    answer = render(y, id="a-1")[0]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a-1", "m", "3")


def test_parameters_of_the_request_do_not_come_back() -> None:
    """The parameters of an answer are the model's own, as in Triton, and ours have none."""
    assert set(render({"y": np.zeros(1, np.float32)}, parameters={"mine": 1})[0]) == {
        "model_name",
        "model_version",
        "outputs",
    }


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_empty_output_is_sent_in_either_form(shape: tuple[int, ...]) -> None:
    """An output without elements keeps its shape: as an empty array, and as zero bytes."""
    empty = {"y": np.zeros(shape, np.float32)}
    assert render(empty)[0]["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [*shape], "data": []}
    answer, rest, length = render(empty, parameters={"binary_data_output": True})
    assert (answer["outputs"][0]["parameters"], rest, length is None) == ({"binary_data_size": 0}, b"", False)


TWO = {"y": np.ones((1, 2), np.float32), "z": np.ones(1, np.int64)}


@pytest.mark.parametrize(
    ("fields", "binary"),
    [
        ({}, {"y": False, "z": False}),
        ({"outputs": []}, {"y": False, "z": False}),
        ({"parameters": {"binary_data_output": True}}, {"y": True, "z": True}),
        ({"outputs": [{"name": "z"}]}, {"z": False}),
        ({"outputs": [{"name": "z"}, {"name": "y", "parameters": {"binary_data": True}}]}, {"z": False, "y": True}),
        ({"outputs": [{"name": "y"}], "parameters": {"binary_data_output": True}}, {"y": True}),
        (
            {
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
                "parameters": {"binary_data_output": True},
            },
            {"y": False},
        ),
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
    assert render({"y": array}, parameters={"binary_data_output": True})[1] == struct.pack("<4f", 1, 2, 3, 4)


def test_nan_and_infinities_of_an_answer_are_not_lost() -> None:
    """Numbers that JSON lacks are texts that NumPy reads as such numbers, and the others stay as they are."""
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
    """Of any shape, a single number too: what is not finite is a text, and nothing else changes."""
    assert render_json(to_nested(array)).decode() == text


@pytest.mark.parametrize("element", ["é", "é".encode(), ""])
def test_texts_of_an_answer_are_texts(element: str | bytes) -> None:
    """Outputs of strings or of bytes are JSON strings, and length and bytes in the binary form."""
    array = np.array([element], object)
    encoded = element if isinstance(element, bytes) else element.encode()
    assert render({"y": array})[0]["outputs"][0] == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [1],
        "data": [encoded.decode()],
    }
    _, rest, _ = render({"y": array}, parameters={"binary_data_output": True})
    assert rest == struct.pack("<I", len(encoded)) + encoded
