"""Arrays to the binary form of the Open Inference Protocol and back.

The JSON comes first, then the bytes of the tensors: little-endian, row-major. Texts have their length before each.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sluice_client.errors import BadAnswer
from sluice_client.files import Array

LENGTH_HEADER = "inference-header-content-length"
_DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_BFLOAT = "BF16"
_TEXTS = "BYTES"
_NAMES = {dtype: name for name, dtype in _DATATYPES.items()}


def encode_tensors(
    inputs: Mapping[str, Any], outputs: Sequence[str] | Mapping[str, Any] | None, parameters: Mapping[str, Any]
) -> tuple[bytes, int]:
    """The body of a request, and how many of its bytes are JSON.

    ``outputs``: names, or names with their parameters; None: all. Raises TypeError for arrays that no datatype holds,
    and for one name that is not in a list.
    """
    if isinstance(outputs, str):  # a sequence too, of letters
        raise TypeError(f"outputs: expected a list of names, got the text {outputs!r}: write [{outputs!r}]")
    headers, parts = [], []
    for name, value in inputs.items():
        datatype, shape, content = _encode_array(name, value)
        size = {"binary_data_size": len(content)}
        headers.append({"name": name, "shape": shape, "datatype": datatype, "parameters": size})
        parts.append(content)
    head: dict[str, Any] = {"inputs": headers, "parameters": {"binary_data_output": True, **parameters}}
    if outputs is not None:
        wanted = outputs if isinstance(outputs, Mapping) else {name: {} for name in outputs}
        head["outputs"] = [
            {"name": name, "parameters": {"binary_data": True, **options}} for name, options in wanted.items()
        ]
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((text, *parts)), len(text)


def decode_tensors(body: bytes, json_bytes: int | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """The JSON of an answer, and its outputs by name. ``json_bytes`` None: all of it is JSON. Raises BadAnswer."""
    text = body if json_bytes is None else body[:json_bytes]
    rest = memoryview(body)[len(text) :]
    try:
        head = json.loads(text)
        arrays = {}
        for output in head["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is None:
                arrays[output["name"]] = _read_values(output)
            else:
                arrays[output["name"]] = _decode_array(output["datatype"], output["shape"], rest[:size])
                rest = rest[size:]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadAnswer(f"expected tensors, got {body[:100]!r} ({type(error).__name__}: {error})") from None
    return head, arrays


def _encode_array(name: str, value: Any) -> tuple[str, list[int], bytes]:
    array = np.asarray(value)
    shape = list(array.shape)
    if array.dtype.kind in "OSU":
        return _TEXTS, shape, b"".join(_encode_texts(name, array))
    if array.dtype.name == "bfloat16":  # of ml_dtypes
        return _BFLOAT, shape, array.tobytes()
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise TypeError(f"{name}: expected booleans, integers, floats or texts, got an array of {array.dtype}")
    return _NAMES[dtype], shape, array.astype(dtype, copy=False).tobytes()


def _encode_texts(name: str, array: Array) -> Iterator[bytes]:
    for element in array.ravel():
        content = element.encode() if isinstance(element, str) else element
        if not isinstance(content, bytes):
            raise TypeError(f"{name}: expected texts or bytes in an array of objects, got {type(element).__name__}")
        yield struct.pack("<I", len(content)) + content


def _decode_array(datatype: str, shape: list[int], content: memoryview) -> Array:
    if datatype == _TEXTS:
        texts = np.empty(len(found := list(_decode_texts(content))), object)
        texts[:] = found
        return texts.reshape(shape)
    if datatype == _BFLOAT:  # NumPy has none: the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(content, _DATATYPES[datatype]).reshape(shape)


def _decode_texts(content: memoryview) -> Iterator[str | bytes]:
    """Texts; bytes where they are no UTF-8."""
    start = 0
    while start < len(content):
        (size,) = struct.unpack_from("<I", content, start)
        start += 4 + size
        text = bytes(content[start - size : start])
        if len(text) < size:
            raise ValueError("a text ends too early")
        try:
            yield text.decode()
        except UnicodeDecodeError:
            yield text


def _read_values(output: Mapping[str, Any]) -> Array:
    """Values in JSON, where floats may be the texts NaN, Infinity and -Infinity."""
    dtype = np.dtype(object) if output["datatype"] == _TEXTS else _DATATYPES.get(output["datatype"], np.dtype("<f4"))
    return np.array(output["data"], dtype).reshape(output["shape"])
