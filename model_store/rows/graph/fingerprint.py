"""A digest of all in a graph that its analysis looks at: models that differ in their weights only have the same."""

import hashlib

import onnx

from model_store.rows.graph.nodes import MOST_FLOATS
from model_store.rows.graph.weights import strip_weights

_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)
_DECIDING = frozenset({"If", "Loop"})


def fingerprint(content: bytes) -> bytes | None:
    """Equal for two files whose analyses are equal, None where weights may decide what runs, in an If or a Loop.

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
    """The fingerprint of a file; of one that has none, a digest of all of it."""
    try:
        found = fingerprint(content)
    except Exception:  # noqa: BLE001  # the parser raises several types for what only ONNX Runtime reads, its own format
        found = None
    return found or hashlib.sha256(content).digest()
