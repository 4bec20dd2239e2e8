"""Tensors as bytes, and the check of answers."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from loadtests.answer import check_outputs, check_predictions, check_status
from loadtests.signature import Signature, Tensor
from loadtests.wire import DTYPES, HEADER_LENGTH, WrongAnswer, decode, encode_binary, encode_json, shorten

SIGNATURE = Signature("m", (Tensor("x", "FP32", (-1, 4)),), (Tensor("y", "FP32", (-1, 2)),))


def answer_with(*outputs: Any) -> bytes:
    return json.dumps({"outputs": outputs}).encode()


def output(**changes: Any) -> dict[str, Any]:
    return {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.5], **changes}


def binary(header: dict[str, Any], content: bytes) -> tuple[dict[str, str], bytes]:
    text = json.dumps(header).encode()
    return {HEADER_LENGTH.lower(): str(len(text))}, text + content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"outputs": 5}',
        answer_with("no object"),
        answer_with({"name": "y"}),
        answer_with(output(datatype="FP31")),
        answer_with(output(shape="abc")),
        answer_with(output(data=[1.0])),
        answer_with(output(data=["a", "b"])),
        answer_with(output(data=[[1.0], [2.0, 3.0]])),
        answer_with(output(parameters={"binary_data_size": -1})),
        answer_with(output(parameters={"binary_data_size": "8"})),
        answer_with(output(parameters=[])),
    ],
)
def test_malformed_answer_is_wrong(body: bytes) -> None:
    """Whatever a broken server sends is a WrongAnswer, never another exception that would end the user."""
    with pytest.raises(WrongAnswer):
        decode({}, body)


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=4), st.integers(0, 200).map(str)))
def test_any_bytes_are_read_or_wrong(body: bytes, length: str | None) -> None:
    """No body and no length header makes the reader raise anything but WrongAnswer."""
    headers = {} if length is None else {HEADER_LENGTH.lower(): length}
    try:
        decode(headers, body)
    except WrongAnswer:
        return


@pytest.mark.parametrize("content", [b"\0" * 7, b"\0" * 9, b""])
def test_binary_size_must_add_up(content: bytes) -> None:
    """Bytes that are missing or left over after the last output are wrong."""
    entry = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    with pytest.raises(WrongAnswer):
        decode(*binary({"outputs": [entry]}, content))


@pytest.mark.parametrize("length", ["-1", "9999", "ten", ""])
def test_wrong_header_length(length: str) -> None:
    """A length header that is no number, or beyond the body, is wrong."""
    with pytest.raises(WrongAnswer, match=HEADER_LENGTH):
        decode({HEADER_LENGTH.lower(): length}, answer_with(output()))


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([output(name="z")], "output 'y' is missing"),
        ([output(shape=[2, 1])], "has not the shape"),
        ([output(shape=[2])], "has not the shape"),
        ([output(shape=[2, 2], data=[1, 2, 3, 4])], "has not the shape"),
        ([output(data=[1.0, float("nan")])], "not finite"),
    ],
)
def test_output_against_the_signature(outputs: list[dict[str, Any]], text: str) -> None:
    """A missing output, another shape, another number of rows and NaN are wrong although the status was 200."""
    with pytest.raises(WrongAnswer, match=text):
        check_outputs({}, answer_with(*outputs), SIGNATURE, rows=1)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"predictions": {}}',
        b'{"predictions": []}',
        b'{"predictions": [5]}',
        b'{"predictions": [{"label": "a", "index": 0}]}',
        b'{"predictions": [{"label": "a", "index": 0, "probability": 1.5}]}',
        b'{"predictions": [{"label": "a", "index": 0, "probability": NaN}]}',
        b'{"predictions": [{"label": "a", "index": 0, "probability": "high"}]}',
    ],
)
def test_malformed_prediction_is_wrong(body: bytes) -> None:
    """A /classify answer must hold one prediction a row, each with a label, an index and a probability."""
    with pytest.raises(WrongAnswer):
        check_predictions(body, rows=1)


@pytest.mark.parametrize("status", [0, 204, 301, 429, 503])
def test_only_200_is_an_answer(status: int) -> None:
    """Only status 200 counts; 0 is how Locust reports a connection that failed."""
    with pytest.raises(WrongAnswer):
        check_status(status)


arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: npst.arrays(DTYPES[name], npst.array_shapes(min_dims=1, max_dims=4, max_side=4))
)


@given(arrays, arrays)
def test_binary_round_trip(first: np.ndarray, second: np.ndarray) -> None:
    """What is encoded as a request and read back as an answer are the same bytes, for every datatype."""
    headers, body = encode_binary({"a": first, "b": second})
    length = int(headers[HEADER_LENGTH])
    header = json.loads(body[:length])
    assert header["parameters"] == {"binary_data_output": True}
    outputs = decode(*binary({"outputs": header["inputs"]}, body[length:]))
    for name, values in (("a", first), ("b", second)):
        assert outputs[name].dtype == values.dtype
        assert outputs[name].shape == values.shape
        assert outputs[name].tobytes() == values.tobytes()


@given(
    npst.arrays(np.float32, npst.array_shapes(max_dims=3, max_side=4), elements=st.floats(width=32, allow_nan=False))
)
def test_json_round_trip(values: np.ndarray) -> None:
    """A float32 keeps its value through JSON, though it is written with as few digits as will do."""
    headers, body = encode_json({"x": values})
    assert headers == {"Content-Type": "application/json"}
    outputs = decode({}, json.dumps({"outputs": json.loads(body)["inputs"]}).encode())
    np.testing.assert_array_equal(outputs["x"], values)
    np.testing.assert_array_equal(np.asarray(shorten(values), np.float32).reshape(values.shape), values)


def test_numbers_are_short() -> None:
    """0.1 as a float32 is sent as 0.1: servers are measured, not their reading of digits."""
    assert shorten(np.array([[0.1, 1.0]], np.float32)) == [[0.1, 1.0]]
    assert json.dumps(shorten(np.array([0.1], np.float32))) == "[0.1]"


def test_right_answers_pass() -> None:
    """Right answers in both encodings raise nothing."""
    check_status(200)
    check_predictions(b'{"predictions": [{"label": "a", "index": 0, "probability": 1}]}', rows=1)
    check_outputs({}, answer_with(output()), SIGNATURE, rows=1)
    entry = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    check_outputs(*binary({"outputs": [entry]}, bytes(8)), SIGNATURE, rows=1)
