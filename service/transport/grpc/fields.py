"""Counts the fields of a message before it is parsed. protobuf has no limit for them.

A field of two bytes becomes an object of hundreds of bytes, so a message within the size limit could take all memory.
The fields of nested messages count too. Elements of tensors take a few bytes each, so they do not count by default.
"""

import functools
from collections.abc import Mapping
from typing import Any

from service.errors import InvalidInput

_TENSOR = "InferTensorContents"  # its fields are the elements of a tensor
_MAX_VARINT_BYTES = 10
_VARINT, _FIXED_64, _SIZED, _FIXED_32 = 0, 1, 2, 5
"""The encodings of fields: the last three bits of their tags."""

Inner = Mapping[int, "Inner"]
"""The fields of a message that hold messages, by number, and theirs in turn."""


class BrokenMessage(Exception):
    """The bytes are not a message."""


@functools.cache
def find_inner(descriptor: Any, *, tensors: bool = False) -> Inner:
    """The nested messages to count in. ``tensors``: the elements of tensors too. A message must not contain itself."""
    return {
        field.number: find_inner(field.message_type, tensors=tensors)
        for field in descriptor.fields
        if field.message_type is not None and (tensors or field.message_type.name != _TENSOR)
    }


def check_fields(content: bytes, inner: Inner, limit: int) -> None:
    """Count fields. Raises InvalidInput at once if there are more than ``limit``, BrokenMessage if it is no message."""
    try:
        _count(content, 0, len(content), inner, limit)
    except IndexError:
        raise BrokenMessage("a field that is cut off") from None


def _count(content: bytes, at: int, end: int, inner: Inner, limit: int) -> int:
    """The rest of the limit."""
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
    """A number, and the place behind it."""
    value = 0
    for i in range(_MAX_VARINT_BYTES):
        byte = content[at + i]
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise BrokenMessage("a number of more than 64 bits")
