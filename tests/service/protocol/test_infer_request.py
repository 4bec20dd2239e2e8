"""Open Inference Protocol v2: requests are read strictly, answers are written as clients read them."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from model_store.datatypes import datatype_of
from model_store.graph import Tensor
from service.errors import InvalidInput
from service.protocol.infer_request import InferRequest, parse_infer
from service.protocol.infer_response import render_infer
from service.protocol.raw import parse_raw

Json = dict[str, Any]
X: Json = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
B: Json = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}


def parse(header: Any, binary: bytes | None = None) -> InferRequest:
    text = json.dumps(header).encode()
    return parse_infer(text, None) if binary is None else parse_infer(text + binary, len(text))


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ([], "body: expected an object, got an array"),
        ({"inputs": None}, "inputs: expected an array of at most 4096 tensors, got null"),
        ({"inputs": X}, "inputs: expected an array of at most 4096 tensors, got an object"),
        ({"inputs": [X] * 4097}, "inputs: expected an array of at most 4096 tensors, got 4097"),
        ({"inputs": [X, X]}, "inputs: expected each name once"),
        ({"inputs": ["x"]}, r"inputs\[0\]: expected an object, got a string"),
        ({"inputs": [X], "output": []}, "body: unknown field 'output', expected id, parameters, inputs, outputs"),
        ({"inputs": [X | {"dtype": "FP32"}]}, r"inputs\[0\]: unknown field 'dtype'"),
        ({"inputs": [X], "id": 3}, "id: expected a string, got a number"),
        ({"inputs": [X], "parameters": []}, "parameters: expected an object, got an array"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "binary_data_output: expected a boolean"),
        ({"inputs": [X], "parameters": {"timeout": -1}}, "timeout: expected microseconds, a whole number, got -1"),
        ({"inputs": [X], "parameters": {"timeout": 1.5}}, "timeout: expected microseconds, a whole number, got 1.5"),
        ({"inputs": [X], "parameters": {"priority": "high"}}, "priority: expected a whole number from 0, got 'high'"),
        ({"inputs": [X], "parameters": {"sequence_id": -1}}, "parameters.sequence_id: expected a whole number of 64"),
        ({"inputs": [X], "parameters": {"mine": {}}}, "parameters.mine: expected a string, a number or a boolean"),
        ({"inputs": [X], "parameters": {"triton_x": 1}}, "parameters.triton_x: this server does not support"),
        ({"inputs": [X], "parameters": {"headers": {}}}, "parameters.headers: this server does not support"),
        ({"inputs": [X | {"name": None}]}, r"inputs\[0\].name: expected a string, got null"),
        ({"inputs": [X | {"datatype": None}]}, r"inputs\[0\].datatype: expected one of BOOL, .*, got None"),
        ({"inputs": [X | {"shape": None}]}, r"inputs\[0\].shape: expected an array of sizes from 0, got None"),
        ({"inputs": [X | {"data": None}]}, "expected either data or .*, got neither"),
        ({"inputs": [X], "outputs": [None]}, r"outputs\[0\]: expected an object, got null"),
        ({"inputs": [X | {"datatype": "FLOAT"}]}, r"inputs\[0\].datatype: expected one of BOOL, .*, got 'FLOAT'"),
        ({"inputs": [X | {"shape": 2}]}, r"inputs\[0\].shape: expected an array of sizes from 0, got 2"),
        ({"inputs": [X | {"shape": [-1]}]}, r"inputs\[0\].shape: expected .*, got \[-1\]"),
        ({"inputs": [X | {"shape": [True, 2]}]}, r"inputs\[0\].shape: expected .*, got \[True, 2\]"),
        ({"inputs": [X | {"shape": [1 << 63]}]}, r"inputs\[0\].shape: expected"),
        ({"inputs": [X | {"shape": [1] * 33}]}, r"inputs\[0\].shape: expected"),
        ({"inputs": [X | {"shape": [3]}]}, r"input 'x': expected 3 elements for the shape \[3\], got 2"),
        ({"inputs": [X | {"shape": [1 << 40, 1 << 40]}]}, r"inputs\[0\].shape: expected a tensor that fits in memory"),
        ({"inputs": [X | {"parameters": {"binary_data_size": 8}}]}, "expected either data or .*, got both"),
        ({"inputs": [X | {"datatype": "FP16"}]}, "FP16 has no JSON form, send it as binary data"),
        ({"inputs": [X | {"datatype": "BF16"}]}, "BF16 has no JSON form, send it as binary data"),
        ({"inputs": [X], "outputs": {}}, "outputs: expected an array of at most 4096, got an object"),
        ({"inputs": [X], "outputs": [{"name": "y"}] * 4097}, "outputs: expected an array of at most 4096, got 4097"),
        ({"inputs": [X], "outputs": [{}]}, r"outputs\[0\].name: expected a string, got null"),
        ({"inputs": [X], "outputs": [{"name": "y", "datatype": "FP32"}]}, r"outputs\[0\]: unknown field 'datatype'"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "binary_data: expected a bool"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": -1}}]}, "from 0, got -1"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": "2"}}]}, "from 0, got '2'"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "a number of bytes"),
        (
            {"inputs": [X | {"parameters": {"shared_memory_offset": 1}}]},
            r"inputs\[0\].*: expected the name of a region",
        ),
    ],
)
def test_faulty_header_is_refused(header: Any, complaint: str) -> None:
    """A field that is unknown, mistyped or contradictory is refused by its place, with what came."""
    with pytest.raises(InvalidInput, match=complaint):
        parse(header)


@pytest.mark.parametrize(
    ("header", "binary", "complaint"),
    [
        (B, b"", "body: expected 8 bytes of tensors after the header, got 0"),
        (B, bytes(9), "body: expected 8 bytes of tensors after the header, got 9"),
        (X, bytes(1), "body: expected 0 bytes of tensors after the header, got 1"),
        (B | {"shape": [3]}, bytes(8), r"expected 12 bytes for FP32 \[3\], got 8"),
        (B | {"parameters": {"binary_data_size": -8}}, bytes(8), "size: expected a number of bytes, got -8"),
        (B | {"parameters": {"binary_data_size": "8"}}, bytes(8), "expected a number of bytes, got '8'"),
        (B | {"datatype": "BOOL", "shape": [8]}, b"\0\1\2\0\0\0\0\0", "expected 0 or 1 in each byte of a BOOL"),
        (B | {"datatype": "BYTES"}, b"\4\0\0\0abcd", "expected 2 elements, got 1"),
        (B | {"datatype": "BYTES"}, b"\5\0\0\0abcd", "element 0 reaches beyond the end"),
        (B | {"datatype": "BYTES"}, b"\0\0\0\0\1\0\0\0", "element 1 reaches beyond the end"),
        (B | {"datatype": "BYTES"}, b"\xff\xff\xff\xffabcd", "element 0 reaches beyond the end"),
    ],
)
def test_faulty_binary_body_is_refused(header: Json, binary: bytes, complaint: str) -> None:
    """Too few, too many or invalid bytes of tensors are refused with what was expected."""
    with pytest.raises(InvalidInput, match=complaint):
        parse({"inputs": [header]}, binary)


@pytest.mark.parametrize("length", [0, -1, 1000])
def test_header_length_outside_the_body_is_refused(length: int) -> None:
    """The JSON part must not be empty and must lie within the body."""
    with pytest.raises(InvalidInput, match=f"Inference-Header-Content-Length: expected 1 to 13 .*, got {length}"):
        parse_infer(b'{"inputs":{}}', length)


def test_header_that_is_not_json_is_refused_each_time() -> None:
    """A JSON part that is not valid is refused the second time as the first time."""
    for _ in range(2):
        with pytest.raises(InvalidInput, match=r"^header: expected JSON"):
            parse_infer(b"{nope}rest", 6)


@pytest.mark.parametrize("form", [{"data": []}, {"parameters": {"binary_data_size": 0}}])
def test_empty_tensor_of_vast_shape_is_refused(form: Json) -> None:
    """A size of zero does not allow vast sizes beside it."""
    with pytest.raises(InvalidInput):
        parse({"inputs": [{"name": "x", "shape": [0, 1 << 62, 8], "datatype": "FP32"} | form]}, b"")


VAST: Json = {"name": "x", "shape": [10**12], "datatype": "FP32"}


@pytest.mark.parametrize(
    ("item", "binary", "complaint"),
    [
        (VAST | {"data": [0] * 5}, None, "expected 1000000000000 elements for the shape .*, got JSON of [0-9]+ bytes"),
        (VAST | {"data": [0] * 5}, b"", "expected 1000000000000 elements .*, got JSON of"),
        (VAST | {"data": ["a"], "datatype": "BYTES"}, None, "expected 1000000000000 elements .*, got JSON of"),
        (VAST | {"parameters": {"binary_data_size": 10}}, bytes(10), "expected 4000000000000 bytes .*, got 10"),
        (VAST | {"parameters": {"binary_data_size": 4 * 10**12}}, bytes(10), "4000000000000 bytes of tensors after"),
        (VAST | {"datatype": "BYTES", "parameters": {"binary_data_size": 10}}, bytes(10), "at least 4000000000000"),
    ],
)
def test_shape_beyond_the_body_is_refused_before_asking(item: Json, binary: bytes | None, complaint: str) -> None:
    """A small body that claims a vast tensor is refused before the engine is asked about its rows."""
    text = json.dumps({"inputs": [item]}, separators=(",", ":")).encode()

    def admit(_: object) -> None:
        raise AssertionError("a request that cannot be was let on")

    with pytest.raises(InvalidInput, match=complaint):
        parse_infer(text + (binary or b""), None if binary is None else len(text), admit)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"inputs":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_endless_nesting_is_refused(text: bytes) -> None:
    """Very deeply nested JSON is refused and does not exhaust the stack."""
    for body in (
        text,
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":' + text,
        b'{"id":NaN,"a":' + text,
    ):
        with pytest.raises(InvalidInput, match="expected JSON"):
            parse_infer(body, None)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"shape": [], "datatype": "FP32", "data": [5]}, 5),
        ({"shape": [], "datatype": "INT8", "data": 5}, 5),
        ({"shape": [2], "datatype": "BOOL", "data": [True, False]}, [True, False]),
        ({"shape": [2, 0], "datatype": "FP32", "data": []}, [[], []]),
        ({"shape": [0, 2], "datatype": "FP32"}, []),
        ({"shape": [2, 0], "datatype": "BF16"}, [[], []]),
        ({"shape": [0], "datatype": "BYTES"}, []),
        ({"shape": [2], "datatype": "BYTES", "data": ["", "é\0"]}, ["", "é\0"]),
        ({"shape": [1], "datatype": "FP64", "data": json.loads("[" * 100 + "2.5" + "]" * 100)}, [2.5]),
    ],
)
def test_odd_tensors_are_read(item: Json, expected: Any) -> None:
    """Scalars, empty tensors, booleans, empty texts and a number in a hundred arrays are read."""
    assert parse({"inputs": [{"name": "x"} | item]}).inputs["x"].tolist() == expected


@pytest.mark.parametrize("count", [0, 300, 4096])
def test_many_inputs_are_read(count: int) -> None:
    """As many inputs as allowed, and none, are read in their order, as JSON and in binary form."""
    json_form = parse({"inputs": [X | {"name": f"x{i}", "data": [i, i]} for i in range(count)]})
    content = np.arange(count, dtype="<f4").repeat(2).tobytes()
    binary_form = parse({"inputs": [B | {"name": f"x{i}"} for i in range(count)]}, content)
    for got in (json_form.inputs, binary_form.inputs):
        assert [(name, a.tolist()) for name, a in got.items()] == [(f"x{i}", [i, i]) for i in range(count)]


def test_as_many_tensors_are_read_as_the_caller_says() -> None:
    """The limit is that of the call, also for a header that was read before with another."""
    text = json.dumps({"inputs": [X, X | {"name": "z"}]}).encode()
    assert len(parse_infer(text, None, max_tensors=2).inputs) == 2
    with pytest.raises(InvalidInput, match="inputs: expected an array of at most 1 tensors, got 2"):
        parse_infer(text, None, max_tensors=1)


@pytest.mark.parametrize(
    "nulls",
    [
        {"id": None, "outputs": None, "parameters": None},
        {"parameters": dict.fromkeys(("binary_data_output", "timeout", "priority", "sequence_id", "mine", "headers"))},
        {"inputs": [X | {"parameters": None}]},
        {"inputs": [X | {"parameters": {"binary_data_size": None, "shared_memory_region": None}}]},
    ],
)
def test_optional_members_that_are_null_are_as_absent(nulls: Json) -> None:
    """A null member means the same as no such member."""
    header, inputs = parse({"inputs": [X]} | nulls)
    plain = parse({"inputs": [X]})
    assert header == plain.header
    assert inputs["x"].tolist() == plain.inputs["x"].tolist()


def test_null_beside_the_binary_form_is_as_absent() -> None:
    """Null as data of a binary input or as a parameter of an output is as absent, and so is the name of the model."""
    wanted = [{"name": "y", "parameters": None}, {"name": "z", "parameters": {"binary_data": None}}]
    header, inputs = parse({"inputs": [B | {"data": None}], "outputs": wanted}, bytes(8))
    assert (inputs["x"].tolist(), header.outputs) == ([0, 0], {"y": False, "z": False})
    assert parse({"model_name": "m", "inputs": [X]}).header == parse({"inputs": [X]}).header


def test_classes_are_wanted_by_output() -> None:
    """The number of classes is kept for each output that has one; 0 is none, as clients send it by default."""
    outputs = [{"name": n, "parameters": {"classification": c}} for n, c in (("y", 3), ("z", 0))]
    header = parse({"inputs": [X], "outputs": outputs}).header
    assert (header.classes, header.outputs) == ({"y": 3}, {"y": False, "z": False})


def test_example_of_the_reference() -> None:
    """The hand-made example of protocol.md, section 17, byte for byte: two binary inputs, one binary output."""
    header = (
        b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
        b'{"name":"tag","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}],'
        b'"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'
    )
    assert len(header) == 234
    request = parse_infer(header + bytes.fromhex("0000803f00000040" + "020000006f6b"), 234)
    np.testing.assert_array_equal(request.inputs["x"], np.array([[1, 2]], np.float32))
    assert request.inputs["tag"].tolist() == ["ok"]
    chunks, header_bytes = render_infer("echo", "1", request.header, {"y": request.inputs["x"]})
    body = b"".join(chunks)
    assert (header_bytes, len(body)) == (134, 142)
    y = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    assert json.loads(body[:134]) == {"model_name": "echo", "model_version": "1", "outputs": [y]}
    assert body[134:].hex() == "0000803f00000040"


def test_inputs_take_their_bytes_in_the_order_of_the_header() -> None:
    """JSON and binary inputs may be mixed; the bytes belong to the binary ones, in order."""
    second = B | {"name": "z", "datatype": "INT16", "shape": [1], "parameters": {"binary_data_size": 2}}
    request = parse({"inputs": [B, X | {"name": "y"}, second]}, struct.pack("<ffh", 3, 4, -5))
    assert {name: a.tolist() for name, a in request.inputs.items()} == {"x": [3, 4], "y": [1, 2], "z": [-5]}


@pytest.mark.parametrize("length", [1, 5000], ids=["kept", "too long to be kept"])
def test_same_header_with_other_bytes_gives_other_tensors(length: int) -> None:
    """A request with a known JSON part gets the tensors of its own bytes; a long JSON part is read as well."""
    requests = [parse({"inputs": [B], "id": "i" * length}, struct.pack("<ff", i, i)) for i in range(3)]
    assert [r.inputs["x"].tolist() for r in requests] == [[0, 0], [1, 1], [2, 2]]
    assert requests[-1].header.id == "i" * length


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1], [2]], [[3], [4]]]])
def test_data_may_be_flat_or_nested(data: Any) -> None:
    """Whatever its nesting, the data is read row by row into the declared shape."""
    assert parse({"inputs": [X | {"shape": [2, 2], "data": data}]}).inputs["x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("parameters", "timeout_s", "priority"),
    [
        ({}, None, 1),
        ({"timeout": 0, "priority": 0}, None, 1),
        ({"timeout": 2_500_000, "priority": 1}, 2.5, 0),
        ({"priority": 7, "mine": "anything", "also": 1.5, "flag": True}, None, 1),
    ],
)
def test_timeout_in_microseconds_priority_from_one(parameters: Json, timeout_s: float | None, priority: int) -> None:
    """Timeout 0 is none and priority 0 the default, as in Triton; parameters of others are let through."""
    header = parse({"inputs": [X], "parameters": parameters}).header
    assert (header.timeout_s, header.priority) == (timeout_s, priority)


def tensor(datatype: str, *shape: int | str) -> Tensor:
    return Tensor(name="x", datatype=datatype, shape=("batch", *shape), batch_axis=0)


@pytest.mark.parametrize(
    ("tensors", "body", "complaint"),
    [
        ([tensor("FP32", 2)] * 2, bytes(8), "a model with one input, but there are 2: send a JSON header"),
        ([tensor("FP32", "n", "m")], bytes(8), r"at most one open size, but 'x' has \[1, 'n', 'm'\]: send a JSON"),
        ([tensor("FP32", 2)], bytes(7), r"input 'x': expected 8 bytes for FP32 \[1, 2\], got 7 bytes"),
        ([tensor("FP32", 2)], bytes(12), "expected 8 bytes for FP32 .*, got 12"),
        ([tensor("FP32", 2)], b"", "expected 8 bytes for FP32 .*, got 0"),
        ([tensor("FP32", "n", 2)], bytes(12), r"expected a multiple of 8 bytes for FP32 \[1, 'n', 2\], got 12"),
        ([tensor("FP32", 0)], b"", "expected 0 bytes"),
        ([tensor("BOOL", 2)], b"\0\2", "expected 0 or 1 in each byte of a BOOL"),
        ([tensor("BYTES", 2)], b"ab", r"expected one element for BYTES \[1, 2\], got 2 bytes"),
    ],
)
def test_raw_body_that_is_not_the_row_is_refused(tensors: list[Tensor], body: bytes, complaint: str) -> None:
    """A raw body that is not one row of the only input is refused with the expected size."""
    with pytest.raises(InvalidInput, match=complaint):
        parse_raw(body, tensors, True)


@pytest.mark.parametrize(
    ("given", "body", "expected"),
    [
        (tensor("FP32", 2), struct.pack("<ff", 1, 2), [[1, 2]]),
        (tensor("INT16", "n", 2), struct.pack("<4h", 1, 2, 3, -4), [[[1, 2], [3, -4]]]),
        (tensor("FP16"), struct.pack("<e", 1.5), [1.5]),
        (tensor("BF16", "n"), b"\xc0\x3f\x00\xc0", [[1.5, -2]]),
        (tensor("BYTES", 1), "né\0".encode(), [["né\0"]]),
        (tensor("BYTES", "n"), b"", [[""]]),
        (tensor("BYTES", 1), b"\xff\0", [["\U0010ffff\0"]]),
    ],
)
def test_raw_body_is_one_row(given: Tensor, body: bytes, expected: list[Any]) -> None:
    """A raw body is one row of the only input, an open size follows from the bytes, and all outputs are binary."""
    header, inputs = parse_raw(body, [given], True)
    assert (inputs["x"].tolist(), datatype_of(inputs["x"]).name) == (expected, given.datatype)
    assert (header.outputs, header.binary_default, header.id) == (None, True, None)


def test_raw_body_of_a_model_without_a_batch_is_its_whole_input() -> None:
    """Without a batch axis a raw body is the whole input."""
    fixed = Tensor(name="x", datatype="UINT8", shape=(2, "n"), batch_axis=None)
    assert parse_raw(b"abcd", [fixed], False).inputs["x"].tolist() == [[97, 98], [99, 100]]
