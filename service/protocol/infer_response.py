"""Inference answers: a JSON part, then the binary tensors, which are views of the outputs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from model_store.datatypes import BY_DTYPE, Datatype, datatype_of
from service.errors import InvalidInput
from service.protocol.escape import write_bytes, write_texts
from service.protocol.infer_request import LENGTH_BYTES, InferHeader
from service.protocol.json import WORDS_OF_NUMBERS, render_numbers
from service.protocol.large_json import PIECE_NUMBERS, render_large

_COPY_BELOW_BYTES: Final = 16 << 10
"""Smaller tensors are copied: that is faster than a view, and does not keep the whole batch alive."""
_CACHED_TEXTS: Final = 256


def render_infer(
    model: str, version: str, header: InferHeader, outputs: Mapping[str, np.ndarray]
) -> tuple[Sequence[bytes | memoryview], int | None]:
    """The wanted outputs as chunks, and the length of the JSON part; None if there is no binary part.

    Raises InvalidInput for an output that cannot be sent as JSON (such as FP16, or BYTES that are not UTF-8).
    """
    wanted = header.outputs
    arrays = outputs if wanted is None else {name: outputs[name] for name in wanted}
    # The key has names and types too, because the file of a version may be replaced.
    key: tuple[object, ...] = (model, version, *arrays, *[(array.dtype.num, array.shape) for array in arrays.values()])
    text = header.texts.get(key)
    if text is not None:
        known: list[bytes | memoryview] = [text]
        for array in arrays.values():
            known.append(write_tensor(array))  # noqa: PERF401  # compiled, this is a direct call
        return known, len(text)
    text, chunks = _render_text(model, version, header, arrays)
    is_kept = header.is_all_binary and not header.output_regions and len(header.texts) < _CACHED_TEXTS
    if is_kept and not any(array.dtype.hasobject for array in arrays.values()):  # the JSON has the length of texts
        header.texts[key] = text
    return [text, *chunks], len(text) if chunks else None


def _render_text(
    model: str, version: str, header: InferHeader, arrays: Mapping[str, np.ndarray]
) -> tuple[bytes, list[bytes | memoryview]]:
    """The JSON part of an answer and its binary tensors."""
    described: list[dict[str, Any]] = []
    chunks: list[bytes | memoryview] = []
    for name, array in arrays.items():
        datatype = BY_DTYPE.get(array.dtype) or datatype_of(array)
        item: dict[str, Any] = {"name": name, "datatype": datatype.name, "shape": array.shape}
        if name in header.output_regions:
            pass  # no parameters: Triton's C++ client would take them for those of binary data
        elif header.binary_default if header.outputs is None else header.outputs[name]:
            chunk = write_tensor(array)
            item["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            if datatype.is_binary_only:
                raise InvalidInput(f"output {name!r}: {datatype.name} has no JSON form, ask for binary data")
            item["data"] = to_json(name, array, datatype)
        described.append(item)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if header.id is not None:
        answer["id"] = header.id
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), chunks


def write_tensor(array: np.ndarray) -> bytes | memoryview:
    """The bytes of a tensor: the inverse of ``read_tensor``. A large array is not copied."""
    if array.dtype.hasobject or array.dtype.kind in "SU":
        return write_elements(write_bytes(array.ravel().tolist()))
    if array.nbytes <= _COPY_BELOW_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data  # as bytes, because buffers have no BF16


def write_elements(elements: Sequence[bytes]) -> bytes:
    """Elements of BYTES, each after its length."""
    return b"".join(part for e in elements for part in (len(e).to_bytes(LENGTH_BYTES, "little"), e))


def to_json(name: str, array: np.ndarray, datatype: Datatype) -> Any:
    """The elements in row-major order, for ``render_json``; NaN and infinities become texts.

    Raises InvalidInput, which names the output, for BYTES that are not UTF-8.
    """
    if datatype.name == "BYTES":
        try:
            return write_texts(array.ravel().tolist())
        except UnicodeDecodeError:
            reason = "BYTES that are not UTF-8 have no JSON form, ask for binary data"
            raise InvalidInput(f"output {name!r}: {reason}") from None
    return _render_array(np.ascontiguousarray(array).ravel())


def to_nested(array: np.ndarray) -> Any:
    """Nested numbers, for ``render_json``; NaN and infinities become texts."""
    if not array.ndim:
        value = array[()]  # orjson renders a NumPy scalar with the digits of its type
        return WORDS_OF_NUMBERS.get(str(value), value)
    return _render_array(np.ascontiguousarray(array))


def _render_array(array: np.ndarray) -> orjson.Fragment:
    return render_large(array) if array.size > PIECE_NUMBERS else orjson.Fragment(render_numbers(array))
