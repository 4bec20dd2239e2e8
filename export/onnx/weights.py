"""Writes an ONNX model as files: the graph, and its weights beside it if one protobuf message cannot hold them."""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx

from export.errors import ExportError

LARGEST_BYTES = 2**31 - 1
"""The most bytes of a protobuf message."""
_LARGEST_TENSOR_BYTES = 2**31
_GRAPH_BYTES = 2**26  # reserved for everything except weights
_LEAST_BYTES = 4096  # smaller tensors stay in the graph
_PAGE_BYTES = 4096
"""Offsets are multiples of it, so that a file can be memory-mapped (ONNX, External Data)."""


@dataclass(frozen=True, slots=True)
class Files:
    """A model's ONNX file, and the contents of the weight files that it names."""

    content: bytes
    external: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return len(self.content) + sum(len(data) for data in self.external.values())


def count_weights(model: onnx.ModelProto) -> int:
    """The bytes of all initializers. The message's own size method would serialise it, which fails above 2 GB."""
    return sum(_size_of(tensor) for tensor in model.graph.initializer)


def serialise(model: onnx.ModelProto, file: str = "model.onnx", external_data_bytes: int | None = None) -> Files:
    """The files, with the same bytes for the same model. Above a limit, the weights go to ``<file>.data``.

    The limit is ``external_data_bytes``; None: what one message holds. Weights that move are removed from the model, so
    that they are in memory at most twice. Raises ExportError if the rest is still too large.
    """
    limit = LARGEST_BYTES - _GRAPH_BYTES if external_data_bytes is None else external_data_bytes
    external = {}
    if count_weights(model) > limit:
        data = _move_weights(model, f"{file}.data")
        if data:
            external[f"{file}.data"] = data
    try:
        content: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # each implementation of protobuf has its own type
        raise ExportError(
            f"{file}: without its weights the graph has more than the {LARGEST_BYTES:,} bytes that one file can hold "
            f"({type(error).__name__}): keep large constants in parameters or buffers"
        ) from error
    return Files(content, external)


def restore(files: Files) -> onnx.ModelProto:
    """The model with all its weights in the graph."""
    model = onnx.load_from_string(files.content)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            start, length = int(place["offset"]), int(place["length"])
            tensor.raw_data = files.external[place["location"]][start : start + length]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that fits into one message, for checks: large weights become inputs with their name, type and shape, after
    the other inputs."""
    copy = onnx.ModelProto()
    for descriptor, value in model.ListFields():
        if descriptor.name == "graph":
            _copy_graph(value, copy.graph)
        else:
            _copy_field(copy, descriptor.name, value)
    return copy


def _copy_graph(graph: onnx.GraphProto, copy: onnx.GraphProto) -> None:
    for descriptor, value in graph.ListFields():
        if descriptor.name != "initializer":
            _copy_field(copy, descriptor.name, value)
    for tensor in graph.initializer:
        if _size_of(tensor) < _LEAST_BYTES:
            copy.initializer.append(tensor)
        else:
            copy.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


def _copy_field(copy: object, name: str, value: object) -> None:
    if isinstance(value, str | int):
        setattr(copy, name, value)
    else:
        getattr(copy, name).MergeFrom(value)


def _move_weights(model: onnx.ModelProto, location: str) -> bytes:
    """Move the large weights out of the model, in the graph's order, and return them."""
    buffer = io.BytesIO()  # grows in place, and returns its content without a copy
    for tensor in _large_tensors(model):
        if _size_of(tensor) > _LARGEST_TENSOR_BYTES:
            raise ExportError(
                f"weight {tensor.name!r} has {_size_of(tensor):,} bytes, but ONNX Runtime takes at most "
                f"{_LARGEST_TENSOR_BYTES:,} from memory: split it into several parameters"
            )
        buffer.write(bytes(-buffer.tell() % _PAGE_BYTES))
        offset = buffer.tell()
        length = buffer.write(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    return buffer.getvalue()


def _large_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for tensor in model.graph.initializer:
        if _size_of(tensor) >= _LEAST_BYTES and tensor.HasField("raw_data"):
            yield tensor


def _size_of(tensor: onnx.TensorProto) -> int:
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    size: int = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return size
