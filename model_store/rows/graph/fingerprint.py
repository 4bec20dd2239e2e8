"""A digest of everything that the analysis reads in a graph. Models that differ only in their weights have the same
one."""

import hashlib

import onnx

from model_store.rows.graph.nodes import MOST_FLOATS
from model_store.rows.graph.weights import strip_weights

_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)
_DECIDING = frozenset({"If", "Loop"})


def fingerprint(content: bytes) -> bytes | None:
    """Equal for two files with equal analyses. None if weights may decide what runs, in an If or a Loop.

    Raises what the parser raises.
    """
    model = strip_weights(content)[0]
    if model.functions or any(node.op_type in _DECIDING for node in model.graph.node):
        return None
    for tensor in model.graph.initializer:
        if tensor.data_type in _FLOATS and _count(tensor) > MOST_FLOATS:
            for field in ("raw_data", "float_data", "double_data", "int32_data", "external_data", "data_location"):
                tensor.ClearField(field)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).digest()


def _count(tensor: onnx.TensorProto) -> int:
    count = 1
    for dim in tensor.dims:
        count *= dim
    return count


def identify(content: bytes) -> bytes:
    """The fingerprint of a file, or a digest of all of it if it has no fingerprint."""
    try:
        found = fingerprint(content)
    except Exception:  # noqa: BLE001  # the parser raises several types; ONNX Runtime may know the format
        found = None
    return found or hashlib.sha256(content).digest()
