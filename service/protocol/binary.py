"""The bytes of a tensor: little-endian, row by row, without padding; BYTES are elements with their lengths.

Tensors that are read are views of the body where they can be.
"""

import numpy as np

from service.errors import InvalidInput
from service.protocol.escape import read_bytes, write_bytes
from service.protocol.header import LENGTH_BYTES, InputHeader

_COPY_BELOW_BYTES = 16 << 10
"""Smaller tensors are copied: that is faster than to make a view, and does not keep the whole batch alive."""


def read_tensor(item: InputHeader, body: bytes | memoryview, at: int) -> np.ndarray:
    """The tensor whose bytes begin at ``at``; the body is known to be long enough. Raises InvalidInput."""
    if item.dtype is None:
        return _read_texts(item, bytes(body[at : at + (item.size_bytes or 0)]))
    if item.dtype.kind == "b" and np.frombuffer(body, np.uint8, item.count, at).max(initial=0) > 1:
        raise InvalidInput(f"input {item.name!r}: expected 0 or 1 in each byte of a BOOL")
    return np.frombuffer(body, item.dtype, item.count, at).reshape(item.shape)


def write_tensor(array: np.ndarray) -> bytes | memoryview:
    """The inverse of ``read_tensor``; a large array is not copied."""
    if array.dtype.hasobject or array.dtype.kind in "SU":
        elements = write_bytes(array.ravel().tolist())
        return b"".join(part for e in elements for part in (len(e).to_bytes(LENGTH_BYTES, "little"), e))
    if array.nbytes <= _COPY_BELOW_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data  # a view first: a buffer has no BF16


def _read_texts(item: InputHeader, content: bytes) -> np.ndarray:
    """Each element is its length in four bytes, then itself."""
    elements: list[bytes] = []
    at = 0
    while at < len(content):
        begin = at + LENGTH_BYTES
        end = begin + int.from_bytes(content[at:begin], "little")
        if begin > len(content) or end > len(content):
            raise InvalidInput(f"input {item.name!r}: element {len(elements)} reaches beyond the end of the data")
        elements.append(content[begin:end])
        at = end
    if len(elements) != item.count:
        raise InvalidInput(f"input {item.name!r}: expected {item.count} elements, got {len(elements)}")
    return np.array(read_bytes(elements), dtype=object).reshape(item.shape)
