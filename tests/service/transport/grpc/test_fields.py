"""The fields of a message are counted before it is parsed."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.transport.grpc.fields import BrokenMessage, check_fields, find_nested
from service.transport.grpc.messages import MESSAGES

Request = MESSAGES["ModelInferRequest"]
INNER = find_nested(Request.DESCRIPTOR)
MANY = 10_000
GOOD = Request(
    model_name="m",
    id="1",
    parameters={"a": {"int64_param": -1}, "b": {"double_param": 0.5}, "c": {}},
    inputs=[
        {"name": "x", "datatype": "BYTES", "shape": [1, 2], "contents": {"bytes_contents": [b"a", b""]}},
        {"name": "y" * 200, "parameters": {"d": {"string_param": "e"}}},
    ],
    outputs=[{"name": "z", "parameters": {"classification": {"int64_param": 3}}}, {}],
    raw_input_contents=[b"", bytes(300)],
).SerializeToString()


def count(content: bytes) -> int:
    """The smallest limit that the content passes."""
    low, high = 0, MANY
    while low < high:
        middle = (low + high) // 2
        try:
            check_fields(content, INNER, middle)
            high = middle
        except InvalidInput:
            low = middle + 1
    return low


def parts(message: Any) -> int:
    """The fields that must be counted: messages, elements of lists and maps, and values that are set."""
    found = 0
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            found += len(value) if field.name == "raw_input_contents" else 1
        elif field.message_type.name == "InferTensorContents":
            found += 1
        elif field.message_type.GetOptions().map_entry:
            found += sum(1 + parts(each) for each in value.values())
        else:
            found += sum(1 + parts(each) for each in value)
    return found


@pytest.mark.parametrize(
    "content",
    [
        GOOD[:-1],
        b"\x0a",
        b"\x0a\x05abc",
        b"\x2a\x04\x0a\x05ab",  # the field of an input is longer than the input
        b"\x18" + b"\x80" * 10 + b"\x01",
        b"\x80" * 100,
        b"\x0b\x0c",  # a group
        b"\x0e",
        b"\x0d\0\0\0",
    ],
)
def test_what_is_no_message_is_found(content: bytes) -> None:
    """Truncated bytes, unknown wire types and numbers without an end are refused."""
    with pytest.raises(BrokenMessage):
        check_fields(content, INNER, MANY)


def test_fields_are_counted_at_all_levels() -> None:
    """A message with as many fields as the limit passes; one more is too many."""
    assert count(GOOD) == 33
    with pytest.raises(InvalidInput, match=r"^message: expected fewer fields, got more than"):
        check_fields(GOOD, INNER, 32)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=3), st.binary(max_size=12))
def test_parser_finds_no_more_than_was_counted(changes: list[tuple[int, int]], tail: bytes) -> None:
    """For any bytes, the parser makes no more objects than were counted."""
    content = bytearray(GOOD + tail)
    for at, byte in changes:
        content[at] = byte
    try:
        message = Request.FromString(bytes(content))
    except DecodeError:
        return
    try:
        counted = count(bytes(content))
    except BrokenMessage:
        return  # refused
    assert parts(message) <= counted
