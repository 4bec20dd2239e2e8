"""Counts the fields of a message before it is parsed.

A field of two bytes becomes an object of hundreds, so a message within the limit of bytes could take all memory. Its
own fields are counted, and those of the messages in it; where nothing else is said, the elements of tensors are not:
they take a few bytes each.
"""

from collections.abc import Mapping
from typing import Any

from service.errors import InvalidInput

_TENSOR = "InferTensorContents"
"""The message whose fields are the elements of a tensor."""
_MESSAGE = 11
"""The type of fields that hold a message, in descriptors."""
_MAX_VARINT_BYTES = 10
_VARINT, _FIXED_64, _SIZED, _FIXED_32 = 0, 1, 2, 5
"""How a field is encoded: the last three bits of its tag."""

Inner = Mapping[int, "Inner"]
"""The fields of a message that hold messages, by their numbers, with what is in these."""


class BrokenMessage(Exception):
    """The bytes are no message."""


def find_inner(descriptor: Any, *, tensors: bool = False) -> Inner:
    """The fields to look into, of a kind of message that is not part of itself. ``tensors``: into theirs as well."""
    return {
        field.number: find_inner(field.message_type, tensors=tensors)
        for field in descriptor.fields
        if field.type == _MESSAGE and (tensors or field.message_type.name != _TENSOR)
    }


def check_fields(content: bytes, inner: Inner, limit: int) -> None:
    """Raises InvalidInput where there are more fields than ``limit``, which takes no longer than to count so many.

    Raises BrokenMessage where the bytes are no message.
    """
    try:
        _count(content, 0, len(content), inner, limit)
    except IndexError:
        raise BrokenMessage("a field that is cut off") from None


def _count(content: bytes, at: int, end: int, inner: Inner, limit: int) -> int:
    """How many more fields there may be."""
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
    """A number, and where it ends."""
    value = 0
    for i in range(_MAX_VARINT_BYTES):
        byte = content[at + i]
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise BrokenMessage("a number of more than 64 bits")
