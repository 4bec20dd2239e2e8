"""Strips large weights from an ONNX file, so that the rest is quick to parse, change and write."""

import math
from collections.abc import Iterator, Mapping

import onnx

from model_store.rows.graph.inner import every_graph

_OWN = "weights-of-this-file"
_LEAST_BYTES = 1 << 10
_WORTH_BYTES = 1 << 16
"""A smaller file is parsed whole."""
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def strip_weights(content: bytes) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    """The model with its initializers above 1 kB turned into external data that points into the file itself.

    Returns it with the files that hold such data, by name: none, or the given content without a copy. Raises ValueError
    or IndexError for content that is no ONNX file, and what the parser raises.
    """
    if len(content) < _WORTH_BYTES:
        return onnx.load_model_from_string(content), {}
    pieces: list[bytes] = []
    view = memoryview(content)
    for number, start, body, end in _fields(view, 0, len(view)):
        if number == _GRAPH:
            graph = _strip_graph(view, body, end)
            pieces.append(_tag(_GRAPH, len(graph)) + graph)
        else:
            pieces.append(bytes(view[start:end]))
    return onnx.load_model_from_string(b"".join(pieces)), {_OWN: content}


def embed_small(model: onnx.ModelProto, files: Mapping[str, bytes]) -> None:
    """Copy the small tensors from external files into the model.

    ONNX Runtime needs axes, shapes and other parameters in the model itself. ``files`` has the contents by name. A
    tensor that lies beyond the end of its file stays as it is.
    """
    for tensor in _list_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        content, offset = files.get(place.get("location", "")), int(place.get("offset", 0))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        size = math.prod(tensor.dims) * dtype.itemsize
        plain = dtype.kind in "iubf" and int(place.get("length", size)) == size
        if content is None or not plain or size >= _LEAST_BYTES or offset + size > len(content):
            continue
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.raw_data = bytes(content[offset : offset + size])


def _list_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The initializers of a graph and of the graphs inside its nodes."""
    for one in every_graph(graph):
        yield from one.initializer


def _strip_graph(view: memoryview, start: int, end: int) -> bytes:
    pieces = []
    for number, begin, body, stop in _fields(view, start, end):
        stripped = _strip_tensor(view, body, stop) if number == _INITIALIZER else None
        pieces.append(bytes(view[begin:stop]) if stripped is None else _tag(_INITIALIZER, len(stripped)) + stripped)
    return b"".join(pieces)


def _strip_tensor(view: memoryview, start: int, end: int) -> bytes | None:
    """The tensor with its raw data replaced by offset and length; None if it is small or external."""
    fields = list(_fields(view, start, end))
    raw = next(((body, stop) for number, _, body, stop in fields if number == _RAW_DATA), None)
    if raw is None or raw[1] - raw[0] < _LEAST_BYTES:
        return None
    kept = b"".join(bytes(view[begin:stop]) for number, begin, _, stop in fields if number != _RAW_DATA)
    place = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", _OWN), ("offset", str(raw[0])), ("length", str(raw[1] - raw[0]))):
        place.external_data.add(key=key, value=value)
    return kept + bytes(place.SerializeToString())


def _fields(view: memoryview, at: int, end: int) -> "list[tuple[int, int, int, int]]":
    """Number, start, content start and end of each field of a protocol buffers message."""
    found = []
    while at < end:
        start = at
        key, at = _read_varint(view, at)
        kind = key & 7
        body = at
        if kind == 0:
            _, at = _read_varint(view, at)
        elif kind == 2:
            size, body = _read_varint(view, at)
            at = body + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"expected a protocol buffers field of a known type, got type {kind}")
        found.append((key >> 3, start, body, at))
    if at > end:
        raise ValueError("a field reaches beyond the end of its message")
    return found


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """A varint (seven bits per byte, lowest first) and the position after it."""
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _tag(number: int, size: int) -> bytes:
    """The tag and length before a field's content."""
    head = bytearray()
    for value in (number << 3 | 2, size):
        while value > 127:
            head.append(value & 127 | 128)
            value >>= 7
        head.append(value)
    return bytes(head)
