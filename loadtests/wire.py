"""Tensors as bytes: Open Inference Protocol v2 JSON and its binary tensor extension, for clients.

Written by hand, because sharing the server's codec would share its mistakes.

In binary form, a JSON header is followed by the tensors' bytes in the header's order (little-endian, row-major, no
padding). ``Inference-Header-Content-Length`` is the length of the JSON. Each tensor states its ``binary_data_size``.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

HEADER_LENGTH = "Inference-Header-Content-Length"

DTYPES: Mapping[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The protocol's datatypes that a load test can fill with numbers (not BF16 and BYTES)."""

DATATYPES: Mapping[np.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


class WrongAnswer(Exception):
    """The server answered something that the protocol or the model's signature does not allow.

    The text is short and free of values that change from answer to answer, so that equal failures are counted together.
    """


def dtype_of(datatype: str) -> np.dtype:
    """The numpy dtype of a protocol datatype; raises WrongAnswer for one that is not in the table."""
    try:
        return DTYPES[datatype]
    except KeyError:
        raise WrongAnswer(f"datatype {datatype[:20]!r} is not one of {', '.join(DTYPES)}") from None


def encode_binary(inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, str], bytes]:
    """Headers and body of an infer request whose tensors, and whose answer's tensors, are binary."""
    entries: list[dict[str, Any]] = []
    contents = []
    for name, values in inputs.items():
        content = np.ascontiguousarray(values).tobytes()
        entries.append(
            {
                "name": name,
                "shape": list(values.shape),
                "datatype": DATATYPES[values.dtype],
                "parameters": {"binary_data_size": len(content)},
            }
        )
        contents.append(content)
    header = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return headers, b"".join([header, *contents])


def encode_json(inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, str], bytes]:
    """Headers and body of an infer request whose tensors are flat lists in JSON."""
    entries = [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": DATATYPES[values.dtype],
            "data": shorten(values.reshape(-1)),
        }
        for name, values in inputs.items()
    ]
    return {"Content-Type": "application/json"}, json.dumps({"inputs": entries}).encode()


def shorten(values: np.ndarray) -> list[Any]:
    """Nested lists of numbers. A float32 is written as short as possible without changing its value.

    ``tolist`` alone would write 0.1 as 0.10000000149011612, so the test would measure how fast servers read digits.
    """
    if values.dtype == np.float32:
        return _nest([float(str(value)) for value in values.reshape(-1)], values.shape)
    return list(values.tolist())


def decode(headers: Mapping[str, str], body: bytes) -> dict[str, np.ndarray]:
    """The output tensors of an infer answer, JSON or binary; ``headers`` has lower-case names. Raises WrongAnswer."""
    header_length = _read_header_length(headers, len(body))
    try:
        document = json.loads(body[:header_length])
        outputs = list(document["outputs"])
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer("the answer is not a JSON object with a list of outputs") from None
    offset = header_length
    tensors = {}
    for entry in outputs:
        size = _read_binary_size(entry)
        content = None if size is None else body[offset : offset + size]
        offset += size or 0
        name, values = _read_output(entry, content)
        tensors[name] = values
    if offset != len(body):
        raise WrongAnswer("the binary sizes of the outputs do not add up to the body's length")
    return tensors


def _read_header_length(headers: Mapping[str, str], body_length: int) -> int:
    stated = headers.get(HEADER_LENGTH.lower())
    if stated is None:
        return body_length
    if not stated.isdecimal() or int(stated) > body_length:
        raise WrongAnswer(f"{HEADER_LENGTH} is not a number up to the body's length")
    return int(stated)


def _read_binary_size(entry: Any) -> int | None:
    try:
        size = entry.get("parameters", {}).get("binary_data_size")
    except AttributeError:
        raise WrongAnswer("an output is not a JSON object") from None
    if size is not None and (not isinstance(size, int) or size < 0):
        raise WrongAnswer("binary_data_size of an output is not a size in bytes")
    return size


def _read_output(entry: Mapping[str, Any], content: bytes | None) -> tuple[str, np.ndarray]:
    try:
        name, datatype, shape = str(entry["name"]), str(entry["datatype"]), [int(size) for size in entry["shape"]]
    except (KeyError, TypeError, ValueError):
        raise WrongAnswer("an output lacks name, datatype or shape") from None
    dtype = dtype_of(datatype)
    try:
        values = np.asarray(entry["data"], dtype) if content is None else np.frombuffer(content, dtype)
        return name, values.reshape(shape)
    except (KeyError, TypeError, ValueError):
        raise WrongAnswer(f"the data of output {name[:40]!r} does not fill its shape") from None


def _nest(values: list[float], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) <= 1:
        return values
    rows = len(values) // shape[0] if shape[0] else 0
    return [_nest(values[start * rows : (start + 1) * rows], shape[1:]) for start in range(shape[0])]
