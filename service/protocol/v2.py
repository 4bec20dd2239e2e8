"""Open Inference Protocol v2: inference requests and answers, JSON and the binary tensor extension.

A binary body is the JSON header, then the raw bytes of the tensors in the order of the header; request tensors are
views of the body, answer tensors views of the outputs. Where Triton is stricter or looser than the specification we
take what keeps its clients working.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from model_store.datatypes import DATATYPES, Datatype, datatype_of
from service.errors import InvalidInput
from service.protocol.numbers import array_of, numbers_of
from service.protocol.text import parse_json, type_name

MAX_INPUTS = 256
MAX_AXES = 32
_CACHED_HEADER_BYTES = 4096
_CACHED_TEXTS = 256
_COPY_BELOW_BYTES = 16 << 10
"""Smaller tensors are copied: that is faster than to make a view, and does not keep the whole batch alive."""
_token = os.urandom(8).hex()
_PLACES = [b'"%b.%d"' % (_token.encode(), i) for i in range(MAX_INPUTS)]
"""What stands for the arrays that were cut out of a request; nobody else can have written it."""
_UNSUPPORTED = ("sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True, slots=True)
class InputHeader:
    """One input as the header declares it: ``size_bytes`` of the binary part, or ``data`` in JSON.

    ``dtype`` is that of its elements in the binary part, None for BYTES.
    """

    name: str
    datatype: Datatype
    dtype: np.dtype | None
    shape: tuple[int, ...]
    count: int
    size_bytes: int | None
    data: Any


@dataclass(frozen=True, slots=True)
class Header:
    """The JSON part of a request. ``outputs`` maps each wanted output to whether it comes back binary; None: all."""

    id: str | None
    inputs: tuple[InputHeader, ...]
    binary_bytes: int
    outputs: Mapping[str, bool] | None
    binary_default: bool
    timeout_s: float | None
    priority: int
    texts: dict[tuple[object, ...], bytes] = field(default_factory=dict, compare=False)
    """The JSON parts of answers to this header, by model, version and shapes: with all outputs binary they only
    depend on these."""


class InferRequest(NamedTuple):
    header: Header
    inputs: Mapping[str, np.ndarray]


class InferAnswer(NamedTuple):
    """An encoded answer. ``header_bytes`` is the length of its JSON part, None where there is no binary one."""

    chunks: Sequence[bytes | memoryview]
    header_bytes: int | None


def parse_infer(
    body: bytes | memoryview, header_bytes: int | None, admit: Callable[[Header], None] = lambda _: None
) -> InferRequest:
    """Decode a request. ``header_bytes`` is its ``Inference-Header-Content-Length``. Raises InvalidInput.

    ``admit`` is called before the tensors are decoded, and may raise what ends the request.
    """
    at = len(body) if header_bytes is None else header_bytes
    if not 0 < at <= len(body) and header_bytes is not None:
        raise InvalidInput(f"Inference-Header-Content-Length: expected 1 to {len(body)} (the body), got {header_bytes}")
    text = bytes(body[:at])
    if header_bytes is None:
        found = _parse_template(text, admit)
        if found is not None:
            return found
    header = _parse_cached(text) if header_bytes and at <= _CACHED_HEADER_BYTES else _parse_header(parse_json(text))
    admit(header)
    if at + header.binary_bytes != len(body):
        raise InvalidInput(
            f"body: expected {header.binary_bytes} bytes of tensors after the header, got {len(body) - at}"
        )
    inputs = {}
    for item in header.inputs:
        if item.size_bytes is None:
            inputs[item.name] = _from_json(item, b"true" in text or b"false" in text)
        else:
            inputs[item.name] = _from_binary(item, body, at)
            at += item.size_bytes
    return InferRequest(header, inputs)


def _parse_template(body: bytes, admit: Callable[[Header], None]) -> InferRequest | None:
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
        if len(arrays) == MAX_INPUTS:
            return None
        pieces += (body[at:begin], _PLACES[len(arrays)])
        arrays.append(body[begin:end])
        at = end
    if not arrays or len(body) - sum(map(len, arrays)) > _CACHED_HEADER_BYTES:
        return None
    pieces.append(body[at:])
    try:
        header = _parse_cached(b"".join(pieces))
        for item, place in zip(header.inputs, _PLACES[: len(arrays)], strict=True):
            if item.data != place[1:-1].decode():
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
def _parse_cached(text: bytes) -> Header:
    """Programs send the same header again and again; only the bytes of the tensors change."""
    return _parse_header(parse_json(text, "header"))


def _parse_header(value: Any) -> Header:
    header = _object(value, "body")
    _known(header, ("id", "parameters", "inputs", "outputs"), "body")
    request_id = header.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f"id: expected a string, got {type_name(request_id)}")
    parameters = _object(header.get("parameters", {}), "parameters")
    timeout_s, priority = _parse_schedule(parameters)
    binary_default = _boolean(parameters.get("binary_data_output", False), "parameters.binary_data_output")
    inputs = header.get("inputs")
    if not isinstance(inputs, list) or not 0 < len(inputs) <= MAX_INPUTS:
        raise InvalidInput(f"inputs: expected an array of 1 to {MAX_INPUTS} tensors, got {_count(inputs)}")
    parsed = tuple(_parse_input(item, f"inputs[{i}]") for i, item in enumerate(inputs))
    if len({item.name for item in parsed}) != len(parsed):
        raise InvalidInput("inputs: expected each name once, got one twice")
    outputs = _parse_outputs(header.get("outputs"), binary_default)
    binary_bytes = sum(item.size_bytes or 0 for item in parsed)
    return Header(request_id, parsed, binary_bytes, outputs, binary_default, timeout_s, priority)


def _parse_schedule(parameters: Mapping[str, Any]) -> tuple[float | None, int]:
    for name in parameters:
        if name in _UNSUPPORTED or name.startswith("triton_") or name == "headers":
            raise InvalidInput(f"parameters.{name}: this server does not support it")
    timeout = parameters.get("timeout")
    if timeout is not None and not _is_count(timeout):
        raise InvalidInput(f"parameters.timeout: expected microseconds, a whole number, got {timeout!r:.40}")
    priority = parameters.get("priority", 0)
    if not _is_count(priority):
        raise InvalidInput(f"parameters.priority: expected a whole number from 0, got {priority!r:.40}")
    # In the protocol 1 is the highest and 0 the default; the engine has two: 0 before 1.
    return timeout / 1e6 if timeout else None, 0 if priority == 1 else 1


def _parse_input(value: Any, where: str) -> InputHeader:
    item = _object(value, where)
    _known(item, ("name", "shape", "datatype", "parameters", "data"), where)
    name, shape = item.get("name"), item.get("shape")
    if not isinstance(name, str):
        raise InvalidInput(f"{where}.name: expected a string, got {type_name(name)}")
    datatype = DATATYPES.get(str(item.get("datatype")))
    if datatype is None:
        raise InvalidInput(
            f"{where}.datatype: expected one of {', '.join(DATATYPES)}, got {item.get('datatype')!r:.40}"
        )
    if not isinstance(shape, list) or len(shape) > MAX_AXES or not all(map(_is_count, shape)):
        raise InvalidInput(f"{where}.shape: expected an array of sizes from 0, got {shape!r:.60}")
    if math.prod(size or 1 for size in shape) * max(1, datatype.itemsize) >= 1 << 63:
        raise InvalidInput(f"{where}.shape: expected a tensor that fits in memory, got {shape!r:.60}")
    parameters = _object(item.get("parameters", {}), f"{where}.parameters")
    size_bytes = parameters.get("binary_data_size")
    if (size_bytes is None) == ("data" not in item):
        got = "neither" if size_bytes is None else "both"
        raise InvalidInput(f"{where}: expected either data or parameters.binary_data_size, got {got}")
    count = math.prod(shape)
    if size_bytes is not None:
        if not _is_count(size_bytes):
            raise InvalidInput(
                f"{where}.parameters.binary_data_size: expected a number of bytes, got {size_bytes!r:.40}"
            )
        if datatype.itemsize and size_bytes != count * datatype.itemsize:
            raise InvalidInput(
                f"{where}: expected {count * datatype.itemsize} bytes for {datatype.name} {shape}, got {size_bytes}"
            )
    elif datatype.name == "FP16":
        raise InvalidInput(f"{where}: FP16 has no JSON form, send it as binary data")
    dtype = datatype.dtype.newbyteorder("<") if datatype.itemsize else None
    return InputHeader(name, datatype, dtype, tuple(shape), count, size_bytes, item.get("data"))


def _parse_outputs(value: Any, binary_default: bool) -> Mapping[str, bool] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_INPUTS:
        raise InvalidInput(f"outputs: expected an array of at most {MAX_INPUTS}, got {_count(value)}")
    outputs = {}
    for i, element in enumerate(value):
        item = _object(element, f"outputs[{i}]")
        _known(item, ("name", "parameters"), f"outputs[{i}]")
        parameters = _object(item.get("parameters", {}), f"outputs[{i}].parameters")
        if "classification" in parameters or "shared_memory_region" in parameters:
            raise InvalidInput(f"outputs[{i}].parameters: classification and shared memory are not supported")
        name = item.get("name")
        if not isinstance(name, str):
            raise InvalidInput(f"outputs[{i}].name: expected a string, got {type_name(name)}")
        binary = parameters.get("binary_data", binary_default)
        outputs[name] = _boolean(binary, f"outputs[{i}].parameters.binary_data")
    return outputs or None


def _from_json(item: InputHeader, booleans: bool) -> np.ndarray:
    return _shaped(item, array_of(item.data, item.datatype, f"input {item.name!r}", booleans))


def _shaped(item: InputHeader, array: np.ndarray) -> np.ndarray:
    if array.size != item.count:
        raise InvalidInput(
            f"input {item.name!r}: expected {item.count} elements for the shape {list(item.shape)}, got {array.size}"
        )
    return array.reshape(item.shape)


def _from_binary(item: InputHeader, body: bytes | memoryview, at: int) -> np.ndarray:
    """The tensor whose bytes begin at ``at``; the body is known to be long enough."""
    if item.dtype is None:
        return _texts_from_binary(item, memoryview(body)[at : at + (item.size_bytes or 0)])
    if item.dtype.kind == "b" and np.frombuffer(body, np.uint8, item.count, at).max(initial=0) > 1:
        raise InvalidInput(f"input {item.name!r}: expected 0 or 1 in each byte of a BOOL")
    return np.frombuffer(body, item.dtype, item.count, at).reshape(item.shape)


def _texts_from_binary(item: InputHeader, content: memoryview) -> np.ndarray:
    """BYTES: each element is its length in four bytes, little-endian, then itself. ONNX strings are UTF-8."""
    texts: list[str] = []
    at = 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if at + 4 > len(content) or end > len(content):
            raise InvalidInput(f"input {item.name!r}: element {len(texts)} reaches beyond the end of the data")
        try:
            texts.append(str(content[at + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise InvalidInput(f"input {item.name!r}: expected UTF-8 text, element {len(texts)} is not") from None
        at = end
    if len(texts) != item.count:
        raise InvalidInput(f"input {item.name!r}: expected {item.count} elements, got {len(texts)}")
    return np.array(texts, dtype=object).reshape(item.shape)


def render_infer(model: str, version: str, header: Header, outputs: Mapping[str, np.ndarray]) -> InferAnswer:
    """Encode the wanted outputs. Raises InvalidInput for an output that cannot be sent as JSON (FP16)."""
    wanted = header.outputs
    arrays = outputs if wanted is None else {name: outputs[name] for name in wanted}
    has_texts = any(array.dtype.hasobject for array in arrays.values())
    if not has_texts and (header.binary_default if wanted is None else all(wanted.values())):
        key = (model, version, *[array.shape for array in arrays.values()])
        text = header.texts.get(key)
        if text is None:
            text = _render_text(model, version, header, arrays)[0]
            if len(header.texts) < _CACHED_TEXTS:
                header.texts[key] = text
        return InferAnswer([text, *map(_to_binary, arrays.values())], len(text))
    text, chunks = _render_text(model, version, header, arrays)
    return InferAnswer([text, *chunks], len(text) if chunks else None)


def _render_text(
    model: str, version: str, header: Header, arrays: Mapping[str, np.ndarray]
) -> tuple[bytes, list[bytes | memoryview]]:
    """The JSON part of an answer and its binary tensors."""
    described: list[dict[str, Any]] = []
    chunks: list[bytes | memoryview] = []
    is_finite = True
    for name, array in arrays.items():
        datatype = datatype_of(array)
        item: dict[str, Any] = {"name": name, "datatype": datatype.name, "shape": array.shape}
        if header.binary_default if header.outputs is None else header.outputs[name]:
            chunk = _to_binary(array)
            item["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            if datatype.name == "FP16":
                raise InvalidInput(f"output {name!r}: FP16 has no JSON form, ask for binary data")
            is_finite = is_finite and not (datatype.is_float and not np.isfinite(array).all())
            item["data"] = _to_json(array, datatype)
        described.append(item)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if header.id is not None:
        answer["id"] = header.id
    if is_finite:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), chunks
    # The fast renderer writes null for NaN and infinities.
    return json.dumps(answer, default=np.ndarray.tolist).encode(), chunks


def _to_json(array: np.ndarray, datatype: Datatype) -> Any:
    if datatype.name == "BYTES":
        return [e.decode(errors="replace") if isinstance(e, bytes) else str(e) for e in array.ravel()]
    return np.ascontiguousarray(array).ravel()


def _to_binary(array: np.ndarray) -> bytes | memoryview:
    if array.dtype.hasobject or array.dtype.kind in "SU":
        encoded = [e if isinstance(e, bytes) else str(e).encode() for e in array.ravel()]
        return b"".join(part for e in encoded for part in (len(e).to_bytes(4, "little"), e))
    if array.nbytes <= _COPY_BELOW_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).data.cast("B")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected an object, got {type_name(value)}")
    return value


def _known(item: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in item:
        if name not in names:
            raise InvalidInput(f"{where}: unknown field {name!r:.60}, expected {', '.join(names)}")


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{where}: expected a boolean, got {type_name(value)}")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _count(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else type_name(value)
