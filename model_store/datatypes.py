"""The tensor datatypes as one table: protocol name, NumPy dtype, ONNX Runtime type, bytes per element."""

from collections.abc import Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

_TABLE: tuple[tuple[str, DTypeLike, str], ...] = (
    # protocol, numpy, onnx runtime
    ("BOOL", "bool", "bool"),
    ("UINT8", "uint8", "uint8"),
    ("UINT16", "uint16", "uint16"),
    ("UINT32", "uint32", "uint32"),
    ("UINT64", "uint64", "uint64"),
    ("INT8", "int8", "int8"),
    ("INT16", "int16", "int16"),
    ("INT32", "int32", "int32"),
    ("INT64", "int64", "int64"),
    ("FP16", "float16", "float16"),
    ("FP32", "float32", "float"),
    ("FP64", "float64", "double"),
    ("BF16", ml_dtypes.bfloat16, "bfloat16"),
    ("BYTES", "object", "string"),
)


@dataclass(frozen=True, slots=True)
class Datatype:
    """One element type.

    ``itemsize`` is in bytes; 0 for BYTES, whose elements carry their own length. ``kind`` is NumPy's letter for the
    kind of element, but BF16 counts as a float here. ``is_binary_only`` types have no JSON form in the protocol.
    """

    name: str
    dtype: np.dtype
    onnx: str
    itemsize: int
    kind: str
    is_float: bool
    is_binary_only: bool

    def zeros(self, shape: Sequence[int]) -> np.ndarray:
        """Zeros, or empty texts."""
        return np.zeros(shape, self.dtype) if self.itemsize else np.full(shape, "", object)


def _datatype(name: str, dtype: np.dtype, onnx: str) -> Datatype:
    kind = "f" if name == "BF16" else dtype.kind
    itemsize = 0 if name == "BYTES" else dtype.itemsize
    return Datatype(name, dtype, f"tensor({onnx})", itemsize, kind, kind == "f", name in ("FP16", "BF16"))


DATATYPES = {name: _datatype(name, np.dtype(dtype), onnx) for name, dtype, onnx in _TABLE}
BY_DTYPE = {d.dtype: d for d in DATATYPES.values()}
BY_ONNX = {d.onnx: d for d in DATATYPES.values()}


def datatype_of(array: np.ndarray) -> Datatype:
    """The datatype of an array. NumPy strings and bytes of any width are BYTES. Raises TypeError for other dtypes."""
    if array.dtype.kind in "USO":
        return DATATYPES["BYTES"]
    found = BY_DTYPE.get(array.dtype)
    if found is None:
        raise TypeError(f"no tensor datatype for NumPy dtype {array.dtype}: use one of {', '.join(DATATYPES)}")
    return found
