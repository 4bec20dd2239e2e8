"""Open Inference Protocol v2: inference requests, as JSON, with binary tensors, or raw.

A binary body is the JSON header, then the raw bytes of the tensors in the order of the header; request tensors are
views of the body. A raw body is the bytes of the only input.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.manifest import Tensor
from service.errors import InvalidInput
from service.protocol.binary import read_tensor
from service.protocol.escape import read_bytes
from service.protocol.header import Header, InputHeader, parse_header
from service.protocol.numbers import array_of, numbers_of
from service.protocol.text import parse_json
from service.settings import MAX_INPUTS

MAX_KEPT_BYTES = 4096
"""Of a JSON part that is remembered because it may come again."""
_token = os.urandom(8).hex()
_PLACES = [b'"%b.%d"' % (_token.encode(), i) for i in range(MAX_KEPT_BYTES // 48)]
"""What stands for the arrays that were cut out of a request; nobody else can have written it. It takes 48 bytes or more
to declare an input, so what a request of more inputs leaves is too long to be remembered."""
_RAW = Header(binary_default=True)


class InferRequest(NamedTuple):
    header: Header
    inputs: Mapping[str, np.ndarray]


@dataclass(eq=False)
class Layout:
    """Where the tensors lie in every body that begins with the same header. ``size_bytes`` is that of such a body."""

    size_bytes: int
    places: Sequence[tuple[str, tuple[int, ...], np.dtype, int]]
    """Name, shape, dtype and first byte of each."""

    def read(self, body: bytes | memoryview) -> dict[str, np.ndarray]:
        """The tensors, as views of a body of that size."""
        if len(self.places) == 1:
            [(name, shape, dtype, at)] = self.places
            return {name: np.ndarray(shape, dtype, body, at)}
        return {name: np.ndarray(shape, dtype, body, at) for name, shape, dtype, at in self.places}


def find_layout(header: Header, header_bytes: int) -> Layout | None:
    """The layout of bodies with a JSON part of ``header_bytes``; None where the tensors' bytes need a check as well."""
    places = []
    at = header_bytes
    for item in header.inputs:
        if item.size_bytes is None or item.dtype is None or item.dtype.kind == "b" or not item.count:
            return None
        places.append((item.name, item.shape, item.dtype, at))
        at += item.size_bytes
    return Layout(at, places)


def parse_infer(
    body: bytes | memoryview,
    header_bytes: int | None,
    admit: Callable[[Header], None] = lambda _: None,
    max_tensors: int = MAX_INPUTS,
) -> InferRequest:
    """Decode a request. ``header_bytes`` is its ``Inference-Header-Content-Length``. Raises InvalidInput.

    ``admit`` is called before the tensors are decoded, and may raise what ends the request. ``max_tensors`` is how many
    inputs it may have, and how many outputs it may name.
    """
    at = len(body) if header_bytes is None else header_bytes
    if not 0 < at <= len(body) and header_bytes is not None:
        raise InvalidInput(f"Inference-Header-Content-Length: expected 1 to {len(body)} (the body), got {header_bytes}")
    text = bytes(body[:at])
    if header_bytes is None:
        found = _parse_template(text, admit, max_tensors)
        if found is not None:
            return found
    is_kept = header_bytes and at <= MAX_KEPT_BYTES
    header = _parse_cached(text, max_tensors) if is_kept else parse_header(parse_json(text), max_tensors)
    _check_lengths(header, at, len(body) - at)
    admit(header)
    inputs = {}
    booleans: bool | None = None
    for item in header.inputs:
        if item.size_bytes is None:
            if booleans is None:
                booleans = b"true" in text or b"false" in text
            inputs[item.name] = _from_json(item, booleans)
        else:
            inputs[item.name] = read_tensor(item, body, at)
            at += item.size_bytes
    return InferRequest(header, inputs)


def parse_raw(body: bytes | memoryview, tensors: Sequence[Tensor], leads_with_rows: bool) -> InferRequest:
    """Decode a request of ``Inference-Header-Content-Length: 0``: one row, as the bytes of the model's only input.

    One open size of the row is found by the length of the body. For BYTES the body is the one element, without its
    length. All outputs come back binary. Raises InvalidInput, also where the model's inputs cannot be sent so.
    """
    if len(tensors) != 1:
        raise InvalidInput(
            f"Inference-Header-Content-Length: 0 needs a model with one input, but there are {len(tensors)}: "
            "send a JSON header"
        )
    tensor, datatype = tensors[0], DATATYPES[tensors[0].datatype]
    count, rest = divmod(len(body), datatype.itemsize) if datatype.itemsize else (1, 0)
    axis_of_rows = 0 if leads_with_rows else tensor.batch_axis
    sizes = tuple(1 if axis == axis_of_rows else size for axis, size in enumerate(tensor.shape))
    known = math.prod(size for size in sizes if isinstance(size, int))
    open_sizes = sum(isinstance(size, str) for size in sizes)
    if open_sizes > 1:
        raise InvalidInput(
            f"Inference-Header-Content-Length: 0 needs an input with one open size at most, but {tensor.name!r} has "
            f"{list(sizes)}: send a JSON header"
        )
    if rest or not known or count % known or (not open_sizes and count != known):
        unit = f"{known * datatype.itemsize} bytes" if datatype.itemsize else "one element"
        raise InvalidInput(
            f"input {tensor.name!r}: expected {'a multiple of ' if open_sizes else ''}{unit} for {datatype.name} "
            f"{list(sizes)}, got {len(body)} bytes"
        )
    shape = tuple(size if isinstance(size, int) else count // known for size in sizes)
    if not datatype.itemsize:
        text = np.array(read_bytes([bytes(body)]), object)
        return InferRequest(_RAW, {tensor.name: text.reshape(shape)})
    dtype = datatype.dtype.newbyteorder("<")
    item = InputHeader(tensor.name, datatype, dtype, shape, count, len(body), None)
    return InferRequest(_RAW, {tensor.name: read_tensor(item, body, 0)})


def _check_lengths(header: Header, header_bytes: int, rest_bytes: int) -> None:
    """Whether the body is long enough for the shapes: before anything is made or queued for them."""
    if header.binary_bytes != rest_bytes:
        raise InvalidInput(f"body: expected {header.binary_bytes} bytes of tensors after the header, got {rest_bytes}")
    for item in header.inputs:
        if item.size_bytes is None and item.count > header_bytes:
            raise InvalidInput(
                f"input {item.name!r}: expected {item.count} elements for the shape {list(item.shape)}, "
                f"got JSON of {header_bytes} bytes"
            )


def _parse_template(body: bytes, admit: Callable[[Header], None], max_tensors: int) -> InferRequest | None:
    """Decode a JSON request whose tensors are flat arrays of numbers without a Python object for each number.

    Each array, from ``"data":[`` to the next ``]``, is cut out, and a word that nobody knows put in its place. What is
    left is small, and often the same as last time. None where anything is unusual: then the whole body is parsed, which
    also finds the words for what is wrong. This cannot mistake the inside of a string for an array: it would hold a
    quote that is not escaped, so what is left would not be JSON; nor cut an array short, for then the piece is none.
    """
    pieces: list[bytes] = []
    arrays: list[bytes] = []
    at = 0
    while (found := body.find(b'"data":', at)) >= 0:
        begin = body.find(b"[", found + 7, found + 9)
        end = body.find(b"]", begin) + 1
        if begin < 0 or not end:
            return None
        if len(arrays) == len(_PLACES):
            return None
        pieces += (body[at:begin], _PLACES[len(arrays)])
        arrays.append(body[begin:end])
        at = end
    if not arrays or len(body) - sum(map(len, arrays)) > MAX_KEPT_BYTES:
        return None
    pieces.append(body[at:])
    try:
        header = _parse_cached(b"".join(pieces), max_tensors)
        for item, place, text in zip(header.inputs, _PLACES[: len(arrays)], arrays, strict=True):
            if item.data != place[1:-1].decode() or item.count > len(text):
                return None
    except (InvalidInput, ValueError):
        return None
    admit(header)
    try:
        shaped = [
            _shaped(item, numbers_of(text, item.datatype)) for item, text in zip(header.inputs, arrays, strict=True)
        ]
    except (InvalidInput, ValueError):
        return None
    return InferRequest(header, dict(zip((item.name for item in header.inputs), shaped, strict=True)))


@functools.lru_cache(maxsize=1024)
def _parse_cached(text: bytes, max_tensors: int) -> Header:
    """Programs send the same header again and again; only the bytes of the tensors change."""
    return parse_header(parse_json(text, "header"), max_tensors)


def _from_json(item: InputHeader, booleans: bool) -> np.ndarray:
    return _shaped(item, array_of(item.data, item.datatype, f"input {item.name!r}", booleans))


def _shaped(item: InputHeader, array: np.ndarray) -> np.ndarray:
    if array.size != item.count:
        raise InvalidInput(
            f"input {item.name!r}: expected {item.count} elements for the shape {list(item.shape)}, got {array.size}"
        )
    return array.reshape(item.shape)
