"""Tensors as bytes, and the check of answers."""

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from loadtests.answer import check_outputs, check_status, check_task
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


ENTRY = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
PREDICTION = {"label": "a", "index": 0, "probability": 1}
MALFORMED = (
    *({"datatype": "FP31"}, {"shape": "abc"}, {"data": [1.0]}, {"data": ["a", "b"]}, {"data": [[1.0], [2.0, 3.0]]}),
    *({"parameters": {"binary_data_size": -1}}, {"parameters": {"binary_data_size": "8"}}, {"parameters": []}),
)
BODIES = (
    *(b"", b"not json", b"[]", b'{"outputs": 5}', answer_with("no object"), answer_with({"name": "y"})),
    *(answer_with(output(**changes)) for changes in MALFORMED),
)
WRONG_OUTPUTS = {
    "output 'y' is missing": ({"name": "z"},),
    "does not have its signature's shape": ({"shape": [2, 1]}, {"shape": [2]}, {"shape": [2, 2], "data": [1, 2, 3, 4]}),
    "not finite": ({"data": [1.0, math.nan]},),
}
WRONG_PREDICTIONS = (
    *({}, [], [5], [{"label": "a", "index": 0}]),
    *([{**PREDICTION, "probability": p}] for p in (1.5, math.nan, "high")),
)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        *((partial(decode, {}, body), "") for body in BODIES),
        # Bytes that are missing or left over after the last output.
        *((partial(decode, *binary({"outputs": [ENTRY]}, bytes(size))), "") for size in (7, 9, 0)),
        # A length that is no number, or beyond the body.
        *(
            (partial(decode, {HEADER_LENGTH.lower(): length}, answer_with(output())), HEADER_LENGTH)
            for length in ("-1", "9999", "ten", "")
        ),
        # Against the signature, although the status was 200.
        *(
            (partial(check_outputs, {}, answer_with(output(**changes)), SIGNATURE, rows=1), text)
            for text, wrong in WRONG_OUTPUTS.items()
            for changes in wrong
        ),
        # One prediction a row, each with a label, an index and a probability.
        *((partial(check_task, "classify", body, rows=1), "") for body in (b"<html>", b"[]")),
        *(
            (partial(check_task, "classify", json.dumps({"predictions": wrong}).encode(), rows=1), "")
            for wrong in WRONG_PREDICTIONS
        ),
        # 0 is how Locust reports a connection that failed.
        *((partial(check_status, status), "") for status in (0, 204, 301, 429, 503)),
    ],
)
def test_wrong_answer_is_a_wrong_answer(check: Callable[[], object], text: str) -> None:
    """Whatever a broken server sends is a WrongAnswer, never another exception that would end the user."""
    with pytest.raises(WrongAnswer, match=text or None):
        check()


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=4), st.integers(0, 200).map(str)))
def test_any_bytes_are_read_or_wrong(body: bytes, length: str | None) -> None:
    """No body and no length header makes the reader raise anything but WrongAnswer."""
    headers = {} if length is None else {HEADER_LENGTH.lower(): length}
    try:
        decode(headers, body)
    except WrongAnswer:
        return


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
    assert json.dumps(shorten(np.array([[0.1, 1.0]], np.float32))) == "[[0.1, 1.0]]"


def test_right_answers_pass() -> None:
    """Right answers in both encodings raise nothing."""
    check_status(200)
    check_task("classify", json.dumps({"predictions": [PREDICTION]}).encode(), rows=1)
    check_outputs({}, answer_with(output()), SIGNATURE, rows=1)
    check_outputs(*binary({"outputs": [ENTRY]}, bytes(8)), SIGNATURE, rows=1)
