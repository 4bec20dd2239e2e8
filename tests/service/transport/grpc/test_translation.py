"""Requests and answers of gRPC as those of HTTP, without a server."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest

from model_store.datatypes import DATATYPES
from service.errors import BodyTooLarge, InvalidInput
from service.protocol.infer_request import parse_infer
from service.transport.grpc.messages import MESSAGES
from service.transport.grpc.translation import write_answer, write_body, write_streamed
from service.transport.request import Reply

Request = MESSAGES["ModelInferRequest"]
Answer = MESSAGES["ModelInferResponse"]
Streamed = MESSAGES["ModelStreamInferResponse"]
LIMIT = 1000
EMPTY: dict[str, Any] = {"a": {}}
"""A parameter without a value."""


def typed(datatype: str, contents: Mapping[str, Any], shape: tuple[int, ...] = (1, 2)) -> Any:
    return Request(inputs=[{"name": "x", "datatype": datatype, "shape": shape, "contents": contents}])


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (typed("BF16", {"fp32_contents": [1, 2]}), "expected raw_input_contents, or contents of one of BOOL"),
        (typed("FP16", {"fp32_contents": [1, 2]}), "expected raw_input_contents, or contents of one of BOOL"),
        (typed("NONE", {}), "got contents of 'NONE'"),
        (typed("FP32", {"fp64_contents": [1, 2]}), "expected fp32_contents for FP32, got fp64_contents"),
        (typed("FP32", {"fp32_contents": [1], "int_contents": [1]}), "expected fp32_contents for FP32, got int_con"),
        (typed("INT8", {"int_contents": [1, 128]}), "expected INT8 from -128 to 127"),
        (typed("INT16", {"int_contents": [1, -32769]}), "expected INT16 from -32768 to 32767"),
        (typed("UINT8", {"uint_contents": [1, 256]}), "expected UINT8 from 0 to 255"),
        (Request(inputs=[{"name": "x"}], raw_input_contents=[b"", b""]), "expected one for each of 1 inputs, got 2"),
        (
            Request(inputs=[{"name": "x", "contents": {"int_contents": [1]}}], raw_input_contents=[b""]),
            "expected either contents or raw_input_contents, got both",
        ),
        (Request(parameters=EMPTY), "parameters: expected each with a value, got 'a' without one"),
        (Request(inputs=[{"name": "x", "parameters": EMPTY}], raw_input_contents=[b""]), "input 'x': parameters: exp"),
        (Request(outputs=[{"name": "y", "parameters": EMPTY}]), "output 'y': parameters: expected each with a value"),
    ],
)
def test_request_that_means_nothing_is_refused(request_: Any, said: str) -> None:
    """A message that gRPC allows and HTTP cannot express is refused with what was expected."""
    with pytest.raises(InvalidInput) as raised:
        write_body(request_, LIMIT)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "request_",
    [
        typed("INT64", {"int64_contents": [0] * 126}),
        typed("BYTES", {"bytes_contents": [b""] * 251}),
        typed("BYTES", {"bytes_contents": [b"x" * 997]}),
        Request(inputs=[{"name": n, "datatype": "FP64", "contents": {"fp64_contents": [0] * 63}} for n in "ab"]),
    ],
)
def test_small_message_of_large_tensors_is_refused(request_: Any) -> None:
    """The limit of a body counts the tensors, which may be larger than their message."""
    with pytest.raises(BodyTooLarge, match="at most"):
        write_body(request_, LIMIT)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-(2**15), 2**15 - 1]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 2**16 - 1]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [1.5, float("inf")]),
        ("FP64", "fp64_contents", [1e300, -0.1]),
        ("BYTES", "bytes_contents", [b"", "ü".encode()]),
    ],
)
def test_typed_contents_become_the_array(datatype: str, field: str, values: list[Any]) -> None:
    """Typed contents of each datatype arrive with their values, the ends of its range included."""
    body, header_bytes = write_body(typed(datatype, {field: values}), LIMIT)
    array = parse_infer(body, header_bytes).inputs["x"]
    assert array.dtype == DATATYPES[datatype].dtype
    expected = [value.decode() if isinstance(value, bytes) else value for value in values]
    assert array.tolist() == [expected]


def test_raw_contents_become_views_of_one_body() -> None:
    """Raw tensors are copied once, into the body, and the arrays are views of it."""
    first, second = np.arange(4, dtype=np.float32), np.arange(2, dtype=np.int64)
    request = Request(
        inputs=[{"name": "a", "datatype": "FP32", "shape": [2, 2]}, {"name": "b", "datatype": "INT64", "shape": [2]}],
        raw_input_contents=[first.tobytes(), second.tobytes()],
    )
    inputs = parse_infer(*write_body(request, LIMIT)).inputs
    np.testing.assert_array_equal(inputs["a"], first.reshape(2, 2))
    np.testing.assert_array_equal(inputs["b"], second)
    assert not any(array.flags.owndata for array in inputs.values())


def test_request_keeps_its_parameters() -> None:
    """Schedule, outputs and classes mean the same as over HTTP."""
    request = Request(
        id="7",
        inputs=[{"name": "x", "datatype": "INT8", "shape": [1]}],
        raw_input_contents=[b"\1"],
        parameters={
            "timeout": {"int64_param": 2_000_000},
            "priority": {"uint64_param": 1},
            "of mine": {"double_param": 0.5},
            "triton_enable_empty_final_response": {"bool_param": True},
        },
        outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 3}}}],
    )
    header = parse_infer(*write_body(request, LIMIT)).header
    assert (header.timeout_s, header.priority) == (2.0, 0)
    assert header.outputs == {"y": True}
    assert header.classes == {"y": 3}
    assert parse_infer(*write_body(Request(), LIMIT)).inputs == {}


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000, 3_000_000])
def test_answer_is_the_message_of_its_parts(size: int) -> None:
    """An answer that is written around its tensors is a valid message, for tensors of every length."""
    content = np.random.default_rng(size).bytes(size)
    text = orjson.dumps(
        {
            "model_name": "m",
            "model_version": "1",
            "parameters": {"a": True, "b": 3, "c": 0.5, "d": "text"},
            "outputs": [
                {"name": "y", "datatype": "UINT8", "shape": [size], "parameters": {"binary_data_size": size}},
                {"name": "z", "datatype": "BYTES", "shape": [0], "parameters": {"binary_data_size": 0}},
            ],
        }
    )
    reply = Reply(200, [text, content], [(b"inference-header-content-length", b"%d" % len(text))])
    values = {"a": {"bool_param": True}, "b": {"int64_param": 3}}
    values |= {"c": {"double_param": 0.5}, "d": {"string_param": "text"}}
    expected = Answer(
        model_name="m",
        model_version="1",
        id="7",
        parameters=values,
        outputs=[{"name": "y", "datatype": "UINT8", "shape": [size]}, {"name": "z", "datatype": "BYTES", "shape": [0]}],
        raw_output_contents=[content, b""],
    )
    assert Answer.FromString(write_answer(reply, "7")) == expected
    expected.parameters["triton_final_response"].bool_param = True
    assert Streamed.FromString(write_streamed(reply, "7")) == Streamed(infer_response=expected)
