"""Open Inference Protocol v2: inference requests, as JSON or as JSON followed by binary tensors.

A binary body is the JSON header, then the bytes of the tensors in the order of the header: little-endian, row-major,
without padding; each element of BYTES follows its length. Tensors are views of the body where possible. Where Triton
differs from the specification, its clients must still work.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES, Datatype
from service.errors import InvalidInput
from service.protocol.escape import read_bytes
from service.protocol.json import MAX_AXES, expect, numbers_of, parse_json, read_optional, refuse_unknown, type_name
from service.protocol.large_json import LARGE_BYTES, array_of_large, numbers_of_large, parse_body, release_large
from service.settings import MAX_INPUTS
from service.shared_memory.parts import RegionPart, read_region

MAX_KEPT_BYTES: Final = 4096
"""A longer JSON part is not cached."""
_KEPT_HEADERS: Final = 256  # a parsed header takes up to sixteen times its bytes
_token = os.urandom(8).hex()
_PLACES: Final = [b'"%b.%d"' % (_token.encode(), i) for i in range(MAX_KEPT_BYTES // 48)]
"""Placeholders for arrays that are cut out of a request. They are random, so no request contains them. An input takes
at least 48 bytes of JSON, so the JSON part of more inputs is too long to be cached."""
LENGTH_BYTES: Final = 4
"""The size of the length before each element of BYTES."""
_UNSUPPORTED: Final = ("headers",)
_REGION: Final = "shared_memory_"
_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")
_MAX_ID_CHARACTERS: Final = 128


@dataclass(frozen=True)
class InputHeader:
    """One input of the header. Its elements are in the binary part (``size_bytes``), in JSON (``data``), or in shared
    memory (``region``). ``dtype`` is None for BYTES.
    """

    name: str
    datatype: Datatype
    dtype: np.dtype | None
    shape: tuple[int, ...]
    count: int
    size_bytes: int | None
    data: Any
    region: RegionPart | None = None


class SequenceStep(NamedTuple):
    """The sequence of a request, and whether the request starts and ends it."""

    id: int | str
    starts: bool
    ends: bool


@dataclass(frozen=True)
class InferHeader:
    """``outputs`` maps each wanted output to whether it is returned binary; None: all outputs, by ``binary_default``.

    ``classes`` maps each output that is wanted as a classification to the number of classes. ``level`` is the priority
    in the protocol, 0 if there is none; ``priority`` is that of the engine, where 0 goes before 1.
    """

    id: str | None = None
    inputs: tuple[InputHeader, ...] = ()
    binary_bytes: int = 0
    outputs: Mapping[str, bool] | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    binary_default: bool = False
    timeout_s: float | None = None
    level: int = 0
    priority: int = 1
    sequence: SequenceStep | None = None
    output_regions: Mapping[str, RegionPart] = field(default_factory=dict)
    """Where outputs are written in shared memory. The answer does not have them."""
    uses_regions: bool = False
    """Whether an input or an output is in shared memory. Such inputs are not read here."""
    texts: dict[tuple[object, ...], bytes] = field(default_factory=dict, compare=False)
    """A cache of the JSON parts of answers, by model, version and shapes. If all outputs are binary, they depend on
    nothing else."""

    @property
    def is_all_binary(self) -> bool:
        """Whether all outputs are returned binary."""
        return self.binary_default if self.outputs is None else all(self.outputs.values())


class InferRequest(NamedTuple):
    header: InferHeader
    inputs: Mapping[str, np.ndarray]


def parse_infer(
    body: bytes | memoryview,
    header_bytes: int | None,
    admit: Callable[[InferHeader], None] = lambda _: None,
    max_tensors: int = MAX_INPUTS,
) -> InferRequest:
    """Decode a request. ``header_bytes`` is its ``Inference-Header-Content-Length``. Raises InvalidInput.

    ``admit`` is called before tensors are decoded, and may raise. ``max_tensors`` limits the inputs and the outputs.
    """
    at = len(body) if header_bytes is None else header_bytes
    if header_bytes is not None and not 0 < at <= len(body):
        raise InvalidInput(f"Inference-Header-Content-Length: expected 1 to {len(body)} (the body), got {header_bytes}")
    text = bytes(body[:at])
    if header_bytes is None:
        found = _parse_template(text, admit, max_tensors)
        if found is not None:
            return found
    is_kept = header_bytes and at <= MAX_KEPT_BYTES
    header = _parse_cached(text, max_tensors) if is_kept else parse_header(parse_body(text), max_tensors)
    try:
        _check_lengths(header, at, len(body) - at)
        admit(header)
        return InferRequest(header, _read_tensors(header, body, at, b"true" in text or b"false" in text))
    finally:
        if len(text) > LARGE_BYTES:  # or else the event loop would have to free them
            release_large([item.data for item in header.inputs])


def _read_tensors(header: InferHeader, body: bytes | memoryview, at: int, booleans: bool) -> dict[str, np.ndarray]:
    """The tensors of a request, of which the binary ones begin at ``at``. ``booleans``: the JSON may contain some."""
    inputs: dict[str, np.ndarray] = {}
    for item in header.inputs:
        if item.region is not None:
            continue
        if item.size_bytes is None:
            array = array_of_large(item.data, item.datatype, f"input {item.name!r:.60}", booleans)
            inputs[item.name] = _shaped(item, array)
        else:
            inputs[item.name] = read_tensor(item, body, at)
            at += item.size_bytes
    return inputs


def _check_lengths(header: InferHeader, header_bytes: int, rest_bytes: int) -> None:
    """Raises InvalidInput if the body is too short for the shapes, before memory is allocated for them."""
    if header.binary_bytes != rest_bytes:
        raise InvalidInput(f"body: expected {header.binary_bytes} bytes of tensors after the header, got {rest_bytes}")
    for item in header.inputs:
        if item.size_bytes is None and item.region is None and item.count > header_bytes:
            raise InvalidInput(
                f"input {item.name!r:.60}: expected {item.count} elements for the shape {list(item.shape)}, "
                f"got JSON of {header_bytes} bytes"
            )


def _parse_template(body: bytes, admit: Callable[[InferHeader], None], max_tensors: int) -> InferRequest | None:
    """Decode a JSON request whose tensors are flat arrays of numbers, without a Python object for each number.

    Each array, from ``"data":[`` to the next ``]``, is replaced by a placeholder. The rest is small and often cached.
    Returns None if anything is unusual: then the whole body is parsed, which also finds the error.

    The inside of a string is never taken for an array: the quote before ``data`` would end the string, so the rest
    would not be JSON. An array is never cut short: the piece would not be valid JSON.
    """
    pieces: list[bytes] = []
    arrays: list[bytes] = []
    at = 0
    while (found := body.find(b'"data":', at)) >= 0:
        begin = body.find(b"[", found + 7, found + 9)
        end = body.find(b"]", begin) + 1
        if begin < 0 or not end or len(arrays) == len(_PLACES):
            return None
        pieces += (body[at:begin], _PLACES[len(arrays)])
        arrays.append(body[begin:end])
        at = end
    if not arrays or len(body) - sum(map(len, arrays)) > MAX_KEPT_BYTES:
        return None
    pieces.append(body[at:])
    try:
        header = _parse_cached(b"".join(pieces), max_tensors)
        for item, place, text in zip(header.inputs, _PLACES[: len(arrays)], arrays, strict=True):
            if item.data != place[1:-1].decode() or item.count > len(text):
                return None
    except (InvalidInput, ValueError):
        return None
    admit(header)
    inputs: dict[str, np.ndarray] = {}
    for item, text in zip(header.inputs, arrays, strict=True):
        try:
            numbers = (numbers_of_large if len(text) > LARGE_BYTES else numbers_of)(text, item.datatype)
        except (InvalidInput, ValueError):
            return None
        inputs[item.name] = _shaped(item, numbers)
    return InferRequest(header, inputs)


@functools.lru_cache(maxsize=_KEPT_HEADERS)
def _parse_cached(text: bytes, max_tensors: int) -> InferHeader:
    """Cached, because programs often send the same header with other tensors."""
    return parse_header(parse_json(text, "header"), max_tensors)


def _shaped(item: InputHeader, array: np.ndarray) -> np.ndarray:
    if array.size != item.count:
        wanted = f"{item.count} elements for the shape {list(item.shape)}"
        raise InvalidInput(f"input {item.name!r:.60}: expected {wanted}, got {array.size}")
    return array.reshape(item.shape)


def read_tensor(item: InputHeader, body: bytes | memoryview, at: int) -> np.ndarray:
    """The tensor that begins at ``at``. The body must be long enough. Raises InvalidInput."""
    if item.dtype is None:
        size_bytes = len(body) if item.size_bytes is None else item.size_bytes
        return _read_texts(item, bytes(body[at : at + size_bytes]))
    if item.dtype.kind == "b" and np.frombuffer(body, np.uint8, item.count, at).max(initial=0) > 1:
        raise InvalidInput(f"input {item.name!r:.60}: expected 0 or 1 in each byte of a BOOL")
    return np.frombuffer(body, item.dtype, item.count, at).reshape(item.shape)


def _read_texts(item: InputHeader, content: bytes) -> np.ndarray:
    """Read elements of BYTES, each after its length. Raises InvalidInput."""
    elements: list[bytes] = []
    at = 0
    while at < len(content):
        begin = at + LENGTH_BYTES
        end = begin + int.from_bytes(content[at:begin], "little")
        if begin > len(content) or end > len(content):
            raise InvalidInput(f"input {item.name!r:.60}: element {len(elements)} reaches beyond the end of the data")
        elements.append(content[begin:end])
        at = end
    if len(elements) != item.count:
        raise InvalidInput(f"input {item.name!r:.60}: expected {item.count} elements, got {len(elements)}")
    return np.array(read_bytes(elements), dtype=object).reshape(item.shape)


def parse_header(value: Any, max_tensors: int) -> InferHeader:
    """Read the parsed JSON. An optional member that is null counts as absent.

    Raises InvalidInput, which names the field, what was expected and what came.
    """
    header = expect(value, dict, "body")
    # KServe's client also sends model_name, which is ignored: the path names the model.
    refuse_unknown(header, ("id", "parameters", "inputs", "outputs", "model_name"), "body")
    request_id = header.get("id")
    if request_id is not None:
        expect(request_id, str, "id")
    parameters = read_optional(header, "parameters", "parameters")
    check_parameters(parameters)
    timeout_s, level = read_schedule(parameters)
    binary_default = expect(parameters.get("binary_data_output", False), bool, "parameters.binary_data_output")
    inputs = header.get("inputs")
    if not isinstance(inputs, list) or len(inputs) > max_tensors:
        raise InvalidInput(f"inputs: expected an array of at most {max_tensors} tensors, got {_count(inputs)}")
    parsed = tuple(_parse_input(item, f"inputs[{i}]") for i, item in enumerate(inputs))
    if len({item.name for item in parsed}) != len(parsed):
        raise InvalidInput("inputs: expected each name once, got one twice")
    outputs, classes, regions = _parse_outputs(header.get("outputs"), binary_default, max_tensors)
    binary_bytes = sum(item.size_bytes or 0 for item in parsed)
    sequence = _parse_sequence(parameters)
    schedule = (timeout_s, level, priority_of(level))
    uses_regions = bool(regions) or any(item.region is not None for item in parsed)
    about_outputs = (outputs, classes, binary_default)
    return InferHeader(request_id, parsed, binary_bytes, *about_outputs, *schedule, sequence, regions, uses_regions)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises InvalidInput for reserved names and for values that the protocol does not have."""
    for name, value in parameters.items():
        if name in _UNSUPPORTED or name.startswith("triton_"):
            raise InvalidInput(f"parameters.{name:.60}: this server does not support it")
        if not isinstance(value, str | int | float):
            raise InvalidInput(
                f"parameters.{name:.60}: expected a string, a number or a boolean, got {type_name(value)}"
            )


def _parse_sequence(parameters: Mapping[str, Any]) -> SequenceStep | None:
    """The sequence of a request; None without an id, or if it is 0 or an empty text. Raises InvalidInput."""
    found = parameters.get("sequence_id", 0)
    starts, ends = (expect(parameters.get(name, False), bool, f"parameters.{name}") for name in _SEQUENCE[1:])
    is_number = type(found) is int and 0 <= found < 1 << 64
    if not is_number and not (isinstance(found, str) and len(found) <= _MAX_ID_CHARACTERS):
        expected = f"a whole number of 64 bits or a text of at most {_MAX_ID_CHARACTERS} characters"
        raise InvalidInput(f"parameters.sequence_id: expected {expected}, got {found!r:.40}")
    if found:
        return SequenceStep(found, starts, ends)
    if starts or ends:
        raise InvalidInput("parameters.sequence_id: expected the id of the sequence that starts or ends, got none")
    return None


def read_schedule(parameters: Mapping[str, Any]) -> tuple[float | None, int]:
    """The wanted timeout in seconds, or None, and the wanted priority, or 0. Raises InvalidInput."""
    timeout = parameters.get("timeout")
    if timeout is not None and not _is_count(timeout):
        raise InvalidInput(f"parameters.timeout: expected microseconds, a whole number, got {timeout!r:.40}")
    priority = parameters.get("priority", 0)
    if not _is_count(priority):
        raise InvalidInput(f"parameters.priority: expected a whole number from 0, got {priority!r:.40}")
    return timeout / 1e6 if timeout else None, priority


def priority_of(level: int) -> int:
    """The engine's priority, where 0 goes before 1. In the protocol 1 is the highest, and 0 means none."""
    return 0 if level == 1 else 1


def _parse_input(value: Any, where: str) -> InputHeader:
    item = expect(value, dict, where)
    refuse_unknown(item, ("name", "shape", "datatype", "parameters", "data"), where)
    name, shape = expect(item.get("name"), str, f"{where}.name"), item.get("shape")
    datatype = DATATYPES.get(str(item.get("datatype")))
    if datatype is None:
        raise InvalidInput(
            f"{where}.datatype: expected one of {', '.join(DATATYPES)}, got {item.get('datatype')!r:.40}"
        )
    if not isinstance(shape, list) or len(shape) > MAX_AXES or not all(map(_is_count, shape)):
        raise InvalidInput(f"{where}.shape: expected an array of sizes from 0, got {shape!r:.60}")
    if math.prod(size or 1 for size in shape) * max(1, datatype.itemsize) >= 1 << 63:
        raise InvalidInput(f"{where}.shape: expected a tensor that fits in memory, got {shape!r:.60}")
    parameters = read_optional(item, "parameters", f"{where}.parameters")
    region = read_region(parameters, where) if any(n.startswith(_REGION) for n in parameters) else None
    size_bytes, data = parameters.get("binary_data_size"), item.get("data")
    count = math.prod(shape)
    if size_bytes is None and data is None and region is None and not count:
        size_bytes = 0  # the protocol needs no data for a tensor without elements
    if (size_bytes is None) + (data is None) + (region is None) != 2:
        _refuse_places(where, size_bytes, region)
    if region is not None:
        _check_size(region.size_bytes, count, datatype, shape, where)
    elif size_bytes is not None:
        _check_size(size_bytes, count, datatype, shape, where)
    elif datatype.is_binary_only:
        raise InvalidInput(f"{where}: {datatype.name} has no JSON form, send it as binary data")
    dtype = datatype.dtype.newbyteorder("<") if datatype.itemsize else None
    return InputHeader(name, datatype, dtype, tuple(shape), count, size_bytes, data, region)


def _refuse_places(where: str, size_bytes: Any, region: RegionPart | None) -> None:
    """Raises InvalidInput for an input that has its elements nowhere, or in several places."""
    if region is not None:
        other = "data" if size_bytes is None else "binary_data_size"
        raise InvalidInput(f"{where}: expected its elements in one place, got a region of shared memory and {other}")
    got = "neither" if size_bytes is None else "both"
    raise InvalidInput(f"{where}: expected either data or parameters.binary_data_size, got {got}")


def _check_size(size_bytes: Any, count: int, datatype: Datatype, shape: list[int], where: str) -> None:
    """Raises InvalidInput if ``count`` elements cannot have ``size_bytes``. BYTES have only a minimum."""
    if not _is_count(size_bytes):
        raise InvalidInput(f"{where}.parameters.binary_data_size: expected a number of bytes, got {size_bytes!r:.40}")
    expected = count * (datatype.itemsize or LENGTH_BYTES)
    if size_bytes < expected or (datatype.itemsize and size_bytes != expected):
        least = "" if datatype.itemsize else "at least "
        raise InvalidInput(f"{where}: expected {least}{expected} bytes for {datatype.name} {shape}, got {size_bytes}")


def _parse_outputs(
    value: Any, binary_default: bool, max_tensors: int
) -> tuple[Mapping[str, bool] | None, Mapping[str, int], Mapping[str, RegionPart]]:
    """The ``outputs``, ``classes`` and ``output_regions`` of a header. Raises InvalidInput."""
    if value is None:
        return None, {}, {}
    if not isinstance(value, list) or len(value) > max_tensors:
        raise InvalidInput(f"outputs: expected an array of at most {max_tensors}, got {_count(value)}")
    outputs: dict[str, bool] = {}
    classes: dict[str, int] = {}
    regions: dict[str, RegionPart] = {}
    for i, element in enumerate(value):
        where = f"outputs[{i}]"
        item = expect(element, dict, where)
        refuse_unknown(item, ("name", "parameters"), where)
        parameters = read_optional(item, "parameters", f"{where}.parameters")
        name = expect(item.get("name"), str, f"{where}.name")
        if name in outputs:
            raise InvalidInput(f"{where}.name: expected each output once, got {name!r:.60} twice")
        is_binary = parameters.get("binary_data", binary_default)
        outputs[name] = expect(is_binary, bool, f"{where}.parameters.binary_data")
        number = parameters.get("classification", 0)
        if not _is_count(number):
            field = f"{where}.parameters.classification"
            raise InvalidInput(f"{field}: expected a number of classes from 0, got {number!r:.40}")
        if number:
            classes[name] = number
        region = read_region(parameters, where) if any(n.startswith(_REGION) for n in parameters) else None
        if region is not None:
            if number:
                raise InvalidInput(f"{where}: expected either classification or shared memory, got both")
            outputs[name], regions[name] = True, region
    return outputs or None, classes, regions


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _count(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else type_name(value)
