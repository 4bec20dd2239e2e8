"""Open Inference Protocol v2: requests are read strictly, answers are written as clients read them."""

import json
import re
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
from service.protocol.v2 import InferRequest, parse_infer, render_infer

Json = dict[str, Any]
X: Json = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
B: Json = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}


def parse(header: Any, binary: bytes | None = None) -> InferRequest:
    text = json.dumps(header).encode()
    return parse_infer(text, None) if binary is None else parse_infer(text + binary, len(text))


def render(given: Mapping[str, np.ndarray], /, **fields: Any) -> tuple[Json, bytes, int | None]:
    """The answer to a request with these fields: its JSON part, the rest of the body, the length of the JSON part."""
    answer = render_infer("m", "3", parse({"inputs": [X], **fields}).header, given)
    body = b"".join(answer.chunks)
    end = len(body) if answer.header_bytes is None else answer.header_bytes
    return json.loads(body[:end]), body[end:], answer.header_bytes


# Refused


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ([], "body: expected an object, got an array"),
        ({}, "inputs: expected an array of 1 to 256 tensors, got null"),
        ({"inputs": []}, "inputs: expected an array of 1 to 256 tensors, got 0"),
        ({"inputs": X}, "inputs: expected an array of 1 to 256 tensors, got an object"),
        ({"inputs": [X] * 257}, "inputs: expected an array of 1 to 256 tensors, got 257"),
        ({"inputs": [X, X]}, "inputs: expected each name once"),
        ({"inputs": ["x"]}, r"inputs\[0\]: expected an object, got a string"),
        ({"inputs": [X], "output": []}, "body: unknown field 'output', expected id, parameters, inputs, outputs"),
        ({"inputs": [X | {"dtype": "FP32"}]}, r"inputs\[0\]: unknown field 'dtype'"),
        ({"inputs": [X], "id": 3}, "id: expected a string, got a number"),
        ({"inputs": [X], "parameters": []}, "parameters: expected an object, got an array"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "binary_data_output: expected a boolean"),
        ({"inputs": [X], "parameters": {"timeout": -1}}, "timeout: expected microseconds, a whole number, got -1"),
        ({"inputs": [X], "parameters": {"timeout": 1.5}}, "timeout: expected microseconds, a whole number, got 1.5"),
        ({"inputs": [X], "parameters": {"timeout": True}}, "timeout: expected microseconds"),
        ({"inputs": [X], "parameters": {"priority": "high"}}, "priority: expected a whole number from 0, got 'high'"),
        ({"inputs": [X], "parameters": {"sequence_id": 0}}, "parameters.sequence_id: this server does not support"),
        ({"inputs": [X], "parameters": {"triton_x": 1}}, "parameters.triton_x: this server does not support"),
        ({"inputs": [X], "parameters": {"headers": {}}}, "parameters.headers: this server does not support"),
        ({"inputs": [X | {"name": None}]}, r"inputs\[0\].name: expected a string, got null"),
        ({"inputs": [X | {"datatype": "FLOAT"}]}, r"inputs\[0\].datatype: expected one of BOOL, .*, got 'FLOAT'"),
        ({"inputs": [X | {"datatype": ["FP32"]}]}, r"inputs\[0\].datatype: expected one of"),
        ({"inputs": [X | {"shape": 2}]}, r"inputs\[0\].shape: expected an array of sizes from 0, got 2"),
        ({"inputs": [X | {"shape": [-1]}]}, r"inputs\[0\].shape: expected .*, got \[-1\]"),
        ({"inputs": [X | {"shape": [2.0]}]}, r"inputs\[0\].shape: expected .*, got \[2.0\]"),
        ({"inputs": [X | {"shape": [True, 2]}]}, r"inputs\[0\].shape: expected .*, got \[True, 2\]"),
        ({"inputs": [X | {"shape": [1 << 63]}]}, r"inputs\[0\].shape: expected"),
        ({"inputs": [X | {"shape": [1] * 33}]}, r"inputs\[0\].shape: expected"),
        ({"inputs": [X | {"shape": [3]}]}, r"input 'x': expected 3 elements for the shape \[3\], got 2"),
        ({"inputs": [X | {"shape": [1 << 40, 1 << 40]}]}, r"inputs\[0\].shape: expected a tensor that fits in memory"),
        ({"inputs": [X | {"data": ["1", "2"]}]}, "input 'x': expected FP32, got '1'"),
        ({"inputs": [X | {"parameters": {"binary_data_size": 8}}]}, "expected either data or .*, got both"),
        ({"inputs": [{k: v for k, v in X.items() if k != "data"}]}, "expected either data or .*, got neither"),
        ({"inputs": [X | {"datatype": "FP16"}]}, "FP16 has no JSON form, send it as binary data"),
        ({"inputs": [X], "outputs": {}}, "outputs: expected an array of at most 256, got an object"),
        ({"inputs": [X], "outputs": [{"name": "y"}] * 257}, "outputs: expected an array of at most 256, got 257"),
        ({"inputs": [X], "outputs": ["y"]}, r"outputs\[0\]: expected an object, got a string"),
        ({"inputs": [X], "outputs": [{}]}, r"outputs\[0\].name: expected a string, got null"),
        ({"inputs": [X], "outputs": [{"name": "y", "datatype": "FP32"}]}, r"outputs\[0\]: unknown field 'datatype'"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "binary_data: expected a bool"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "are not supported"),
    ],
)
def test_faulty_header_is_refused(header: Any, complaint: str) -> None:
    """Every field that is unknown, mistyped or contradictory is refused by its place, with what came."""
    with pytest.raises(InvalidInput, match=complaint):
        parse(header)


@pytest.mark.parametrize(
    ("header", "binary", "complaint"),
    [
        (B, b"", "body: expected 8 bytes of tensors after the header, got 0"),
        (B, bytes(7), "body: expected 8 bytes of tensors after the header, got 7"),
        (B, bytes(9), "body: expected 8 bytes of tensors after the header, got 9"),
        (X, bytes(1), "body: expected 0 bytes of tensors after the header, got 1"),
        (B | {"shape": [3]}, bytes(8), r"expected 12 bytes for FP32 \[3\], got 8"),
        (
            B | {"parameters": {"binary_data_size": -8}},
            bytes(8),
            "binary_data_size: expected a number of bytes, got -8",
        ),
        (B | {"parameters": {"binary_data_size": "8"}}, bytes(8), "expected a number of bytes, got '8'"),
        (B | {"datatype": "BOOL", "shape": [8]}, b"\0\1\2\0\0\0\0\0", "expected 0 or 1 in each byte of a BOOL"),
        (B | {"datatype": "BYTES"}, b"\4\0\0\0abcd", "expected 2 elements, got 1"),
        (B | {"datatype": "BYTES"}, b"\5\0\0\0abcd", "element 0 reaches beyond the end"),
        (B | {"datatype": "BYTES"}, b"\0\0\0\0abcd", "element 1 reaches beyond the end"),
        (B | {"datatype": "BYTES"}, b"\0\0\0\0\1\0\0\0", "element 1 reaches beyond the end"),
        (B | {"datatype": "BYTES", "shape": [1]}, b"\4\0\0\0\xff\xfeab", "expected UTF-8 text, element 0 is not"),
        (B | {"datatype": "BYTES"}, b"\xff\xff\xff\xffabcd", "element 0 reaches beyond the end"),
    ],
)
def test_faulty_binary_body_is_refused(header: Json, binary: bytes, complaint: str) -> None:
    """Too few, too many or impossible bytes of tensors are refused, with the bytes or the input that was expected."""
    with pytest.raises(InvalidInput, match=complaint):
        parse({"inputs": [header]}, binary)


@pytest.mark.parametrize("length", [0, -1, 1000])
def test_header_length_outside_the_body_is_refused(length: int) -> None:
    """The header must lie within the body; the raw request of length 0 is not supported, and says so."""
    with pytest.raises(InvalidInput, match=f"Inference-Header-Content-Length: expected 1 to 13 .*, got {length}"):
        parse_infer(b'{"inputs":[]}', length)


def test_header_that_is_not_json_is_refused_each_time() -> None:
    """A faulty header is refused the second time as it was the first: nothing of it is remembered."""
    for _ in range(2):
        with pytest.raises(InvalidInput, match=r"^header: expected JSON"):
            parse_infer(b"{nope}rest", 6)


@pytest.mark.parametrize("form", [{"data": []}, {"parameters": {"binary_data_size": 0}}])
def test_empty_tensor_of_vast_shape_is_refused(form: Json) -> None:
    """A zero in the shape does not make the other sizes harmless."""
    with pytest.raises(InvalidInput):
        parse({"inputs": [{"name": "x", "shape": [0, 1 << 62, 8], "datatype": "FP32"} | form]}, b"")


@pytest.mark.parametrize("asked", [{}, {"outputs": [{"name": "y"}]}])
def test_half_floats_have_no_json_answer(asked: Json) -> None:
    """An FP16 output that is asked for as JSON is refused, as the protocol has no form for it."""
    with pytest.raises(InvalidInput, match="output 'y': FP16 has no JSON form"):
        render({"y": np.zeros(1, np.float16)}, **asked)


# Accepted


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
    answer = render_infer("echo", "1", request.header, {"y": request.inputs["x"]})
    body = b"".join(answer.chunks)
    assert (answer.header_bytes, len(body)) == (134, 142)
    expected = (
        '{"model_name":"echo","model_version":"1","outputs":'
        '[{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}'
    )
    assert json.loads(body[:134]) == json.loads(expected)
    assert body[134:].hex() == "0000803f00000040"


def test_inputs_take_their_bytes_in_the_order_of_the_header() -> None:
    """JSON and binary inputs may be mixed; the bytes belong to the binary ones, in order."""
    second = B | {"name": "z", "datatype": "INT16", "shape": [1], "parameters": {"binary_data_size": 2}}
    request = parse({"inputs": [B, X | {"name": "y"}, second]}, struct.pack("<ffh", 3, 4, -5))
    assert {name: a.tolist() for name, a in request.inputs.items()} == {"x": [3, 4], "y": [1, 2], "z": [-5]}


def test_same_header_with_other_bytes_gives_other_tensors() -> None:
    """A header that is remembered brings no tensor of an earlier request with it."""
    requests = [parse({"inputs": [B]}, struct.pack("<ff", i, i)) for i in range(3)]
    assert [r.inputs["x"].tolist() for r in requests] == [[0, 0], [1, 1], [2, 2]]


def test_long_header_is_read_like_a_short_one() -> None:
    """A header above the size that is remembered is understood all the same."""
    request = parse({"inputs": [B], "id": "i" * 5000}, struct.pack("<ff", 1, 2))
    assert request.header.id == "i" * 5000
    assert request.inputs["x"].tolist() == [1, 2]


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
        ({"priority": 7, "mine": {"any": "thing"}}, None, 1),
    ],
)
def test_timeout_is_microseconds_and_one_is_the_highest_priority(
    parameters: Json, timeout_s: float | None, priority: int
) -> None:
    """Timeout 0 is none and priority 0 the default, as in Triton; parameters of others are let through."""
    header = parse({"inputs": [X], "parameters": parameters}).header
    assert (header.timeout_s, header.priority) == (timeout_s, priority)


def test_id_comes_back_only_if_given() -> None:
    """The answer carries the request's id, and none where there was none; the version is text."""
    y = {"y": np.zeros(1, np.float32)}
    assert "id" not in render(y)[0]
    answer = render(y, id="a-1")[0]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a-1", "m", "3")


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
    """Numbers that JSON lacks are written as the literals that clients read, and the others stay as they are."""
    values = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    answer, _, _ = render({"y": values, "n": np.array([7], np.int64), "t": np.array(["é"], object)})
    y, n, t = (item["data"] for item in answer["outputs"])
    np.testing.assert_array_equal(np.float32(y), values)
    assert (n, t) == ([7], ["é"])


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


# Round trips: what a client sends, echoed, is what it gets


def draw_array(data: st.DataObject, name: str) -> np.ndarray:
    datatype = DATATYPES[name]
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) if name == "BYTES" else None
    shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)
    array: np.ndarray = data.draw(arrays.arrays(datatype.dtype, shapes, elements=texts))
    return array


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
    header = {"inputs": [item], "parameters": {"binary_data_output": True}}
    request = parse(header, sent)
    got = request.inputs["x"]
    assert (datatype_of(got).name, got.shape) == (name, array.shape)
    answer = render_infer("m", "1", request.header, {"x": got})
    body = b"".join(answer.chunks)
    assert answer.header_bytes is not None
    assert body[answer.header_bytes :] == sent
    assert json.loads(body[: answer.header_bytes])["outputs"] == [item]


@pytest.mark.parametrize("name", [name for name in DATATYPES if name not in ("FP16", "UINT64")])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_json_tensors_survive_the_round_trip(name: str, data: st.DataObject) -> None:
    """Any datatype that JSON has a form for comes back value for value, NaN and infinities included."""
    array = draw_array(data, name)
    text = json.dumps(
        {"inputs": [{"name": "x", "shape": array.shape, "datatype": name, "data": array.ravel().tolist()}]}
    )
    request = parse_infer(text.encode(), None)
    np.testing.assert_array_equal(request.inputs["x"], array)
    [item] = json.loads(b"".join(render_infer("m", "1", request.header, request.inputs).chunks))["outputs"]
    assert (item["datatype"], tuple(item["shape"])) == (name, array.shape)
    again = np.array(item["data"], array.dtype).reshape(array.shape)
    np.testing.assert_array_equal(again, array)


# Flat arrays of numbers, which are read without the general parser


def parse_generally(body: bytes) -> InferRequest | str:
    """The request, or the complaint, of the general parser: a space before each colon keeps the short way from it."""
    try:
        return parse_infer(body.replace(b'"data":', b'"data" :'), None)
    except InvalidInput as error:
        return re.sub(r"column.*", "", str(error))


def parse_shortly(body: bytes) -> InferRequest | str:
    try:
        return parse_infer(body, None)
    except InvalidInput as error:
        return re.sub(r"column.*", "", str(error))


def assert_same(body: bytes) -> None:
    """Both ways give the same arrays, or the same complaint."""
    short, general = parse_shortly(body), parse_generally(body)
    if isinstance(general, str) or isinstance(short, str):
        assert short == general
        return
    assert short.inputs.keys() == general.inputs.keys()
    for name, array in general.inputs.items():
        assert short.inputs[name].dtype == array.dtype
        assert short.inputs[name].shape == array.shape
        bits = np.ndarray.tolist if array.dtype.hasobject else np.ndarray.tobytes
        assert bits(short.inputs[name]) == bits(array)


NUMBER = st.one_of(
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.floats(width=32),
    st.booleans(),
    st.none(),
    st.just("1"),
    st.just("]"),
)


@settings(deadline=None, max_examples=300)
@given(
    datatypes=st.lists(st.sampled_from([*DATATYPES]), min_size=1, max_size=3),
    data=st.lists(
        st.lists(NUMBER, max_size=5) | st.lists(st.lists(NUMBER, max_size=2), max_size=3), min_size=3, max_size=3
    ),
    compact=st.booleans(),
    request_id=st.text(alphabet='"\\data:[]{}, 01', max_size=20),
)
def test_short_way_and_general_parser_agree(
    datatypes: list[str], data: list[Any], compact: bool, request_id: str
) -> None:
    """Whatever the values, the nesting and the texts around them: the same bits, or the same complaint."""
    inputs = [
        {"name": f"x{i}", "shape": [len(values)], "datatype": datatype, "data": values}
        for i, (datatype, values) in enumerate(zip(datatypes, data, strict=False))
    ]
    separators = (",", ":") if compact else None
    assert_same(json.dumps({"inputs": inputs, "id": request_id}, separators=separators).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"data":[2]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"outputs":[{"name":"y","data":[3]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"data":[3]},"data" :0}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,[2]]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]} ]',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2,]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1e39,2]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[NaN,2]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","data":[1,200]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","data":[1,2.5]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT64","data":[1,18446744073709551615]}]}',
        b'{"inputs":[{"name":"x","shape":[0],"datatype":"FP32","data":[]}]}',
        b'{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,2]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}',
        b'{"data":[1]}',
        b'"data":[1]',
    ],
)
def test_odd_bodies_are_read_as_the_general_parser_reads_them(body: bytes) -> None:
    """Fields that come twice, that hide elsewhere, and arrays that are none: the short way gives nothing of its own."""
    for _ in range(2):  # a body that was refused leaves nothing behind
        assert_same(body)
