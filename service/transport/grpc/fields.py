"""Counts the fields of a message before it is parsed, because protobuf does not limit them.

A field of two bytes becomes an object of hundreds of bytes, so a message within the size limit could take all memory.
Fields of nested messages count too. Elements of tensors take only a few bytes each, so by default they do not count.
"""

import functools
from collections.abc import Mapping
from typing import Any

from service.errors import InvalidInput

_TENSOR = "InferTensorContents"  # its fields are the elements of a tensor
_MAX_VARINT_BYTES = 10
_VARINT, _FIXED_64, _SIZED, _FIXED_32 = 0, 1, 2, 5
"""The encodings of fields (the last three bits of their tags)."""

NestedFields = Mapping[int, "NestedFields"]
"""The fields of a message that hold messages, by number, each with its own nested fields."""


class BrokenMessage(Exception):
    """The bytes are not a message."""


@functools.cache
def find_nested(descriptor: Any, *, tensors: bool = False) -> NestedFields:
    """The nested messages to count; ``tensors``: elements of tensors too. A message must not contain itself."""
    return {
        field.number: find_nested(field.message_type, tensors=tensors)
        for field in descriptor.fields
        if field.message_type is not None and (tensors or field.message_type.name != _TENSOR)
    }


def check_fields(content: bytes, inner: NestedFields, limit: int) -> None:
    """Raises InvalidInput if there are more than ``limit`` fields, BrokenMessage if the bytes are not a message."""
    try:
        _count(content, 0, len(content), inner, limit)
    except IndexError:
        raise BrokenMessage("a field that is cut off") from None


def _count(content: bytes, at: int, end: int, inner: NestedFields, limit: int) -> int:
    """Returns what is left of the limit."""
    left = limit
    while at < end:
        if not left:
            raise InvalidInput("message: expected fewer fields, got more than a request for tensors can need")
        left -= 1
        tag = content[at]
        at += 1
        if tag > 127:
            tag, at = _read_varint(content, at - 1)
        kind = tag & 7
        if kind == _SIZED:
            size = content[at]
            at += 1
            if size > 127:
                size, at = _read_varint(content, at - 1)
            if at + size > end:
                raise BrokenMessage("a field that is cut off")
            found = inner.get(tag >> 3)
            if found is not None:
                left = _count(content, at, at + size, found, left)
            at += size
        elif kind == _VARINT:
            _, at = _read_varint(content, at)
        elif kind in (_FIXED_32, _FIXED_64):
            at += 4 if kind == _FIXED_32 else 8
        else:
            raise BrokenMessage(f"encoding {kind}")
    if at > end:
        raise BrokenMessage("a field that is cut off")
    return left


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next byte is."""
    value = 0
    for i in range(_MAX_VARINT_BYTES):
        byte = content[at + i]
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise BrokenMessage("a number of more than 64 bits")
