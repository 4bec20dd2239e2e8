"""Open Inference Protocol v2: requests whose body is just the bytes of the model's only input, without JSON."""

import math
from collections.abc import Sequence

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from service.errors import InvalidInput
from service.protocol.escape import read_bytes
from service.protocol.infer_request import InferHeader, InferRequest, InputHeader, read_tensor

RAW = InferHeader(binary_default=True)
_NEEDS = "Inference-Header-Content-Length: 0 needs"


def parse_raw(body: bytes | memoryview, tensors: Sequence[Tensor], leads_with_rows: bool) -> InferRequest:
    """Decode a request with ``Inference-Header-Content-Length: 0``: one row, as the bytes of the model's only input.

    One open size of the row follows from the length of the body. For BYTES the body is the only element, without its
    length. All outputs are returned binary. Raises InvalidInput, also if the model's inputs cannot be sent like this.
    """
    if len(tensors) != 1:
        raise InvalidInput(f"{_NEEDS} a model with one input, but there are {len(tensors)}: send a JSON header")
    tensor, datatype = tensors[0], DATATYPES[tensors[0].datatype]
    count, rest = divmod(len(body), datatype.itemsize) if datatype.itemsize else (1, 0)
    axis_of_rows = 0 if leads_with_rows else tensor.batch_axis
    sizes = tuple(1 if axis == axis_of_rows else size for axis, size in enumerate(tensor.shape))
    known = math.prod(size for size in sizes if isinstance(size, int))
    open_sizes = sum(isinstance(size, str) for size in sizes)
    if open_sizes > 1:
        got = f"but {tensor.name!r} has {list(sizes)}: send a JSON header"
        raise InvalidInput(f"{_NEEDS} an input with at most one open size, {got}")
    if rest or not known or count % known or (not open_sizes and count != known):
        unit = f"{known * datatype.itemsize} bytes" if datatype.itemsize else "one element"
        expected = f"{'a multiple of ' if open_sizes else ''}{unit} for {datatype.name} {list(sizes)}"
        raise InvalidInput(f"input {tensor.name!r}: expected {expected}, got {len(body)} bytes")
    shape = tuple(size if isinstance(size, int) else count // known for size in sizes)
    if not datatype.itemsize:
        text = np.array(read_bytes([bytes(body)]), object)
        return InferRequest(RAW, {tensor.name: text.reshape(shape)})
    item = InputHeader(tensor.name, datatype, datatype.dtype.newbyteorder("<"), shape, count, len(body), None)
    return InferRequest(RAW, {tensor.name: read_tensor(item, body, 0)})
