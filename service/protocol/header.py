"""The JSON part of an inference request: what it declares of its tensors, and how it wants its answer.

Where Triton is stricter or looser than the specification we take what keeps its clients working.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES, Datatype
from service.errors import InvalidInput
from service.protocol.text import type_name

MAX_AXES = 32
LENGTH_BYTES = 4
"""What stands before each element of BYTES in the binary form."""
_UNSUPPORTED = ("headers",)
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_MAX_ID_CHARACTERS = 128
_SHARED_MEMORY = "shared_memory_"


@dataclass(frozen=True)
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


class SequenceStep(NamedTuple):
    """Which sequence a request goes on with, and whether it is its first and its last."""

    id: int | str
    starts: bool
    ends: bool


@dataclass(frozen=True)
class Header:
    """``outputs`` maps each wanted output to whether it comes back binary; None: all, by ``binary_default``.

    ``classes`` maps each output that is wanted as a classification to how many classes. ``timeout_s`` is None where the
    request has none; ``level`` is the priority that it asks for, 0 where it does not, and of the two values that the
    engine has, ``priority``, 0 goes before 1.
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
    texts: dict[tuple[object, ...], bytes] = field(default_factory=dict, compare=False)
    """The JSON parts of answers to this header, by model, version and shapes: with all outputs binary they only
    depend on these."""

    @property
    def is_all_binary(self) -> bool:
        """Whether every output comes back binary."""
        return self.binary_default if self.outputs is None else all(self.outputs.values())


def parse_header(value: Any, max_tensors: int) -> Header:
    """Read the parsed JSON, with at most ``max_tensors`` inputs and as many wanted outputs.

    An optional member that is null is as one that is absent. Raises InvalidInput, which names the field, what was
    expected and what came.
    """
    header = _object(value, "body")
    # KServe's client sends model_name too; who answers is in the path.
    _known(header, ("id", "parameters", "inputs", "outputs", "model_name"), "body")
    request_id = header.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f"id: expected a string, got {type_name(request_id)}")
    parameters = read_optional(header, "parameters", "parameters")
    check_parameters(parameters)
    timeout_s, level = read_schedule(parameters)
    binary_default = _boolean(parameters.get("binary_data_output", False), "parameters.binary_data_output")
    inputs = header.get("inputs")
    if not isinstance(inputs, list) or len(inputs) > max_tensors:
        raise InvalidInput(f"inputs: expected an array of at most {max_tensors} tensors, got {_count(inputs)}")
    parsed = tuple(_parse_input(item, f"inputs[{i}]") for i, item in enumerate(inputs))
    if len({item.name for item in parsed}) != len(parsed):
        raise InvalidInput("inputs: expected each name once, got one twice")
    outputs, classes = _parse_outputs(header.get("outputs"), binary_default, max_tensors)
    binary_bytes = sum(item.size_bytes or 0 for item in parsed)
    sequence = _parse_sequence(parameters)
    schedule = (timeout_s, level, priority_of(level))
    return Header(request_id, parsed, binary_bytes, outputs, classes, binary_default, *schedule, sequence)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Reserved names are refused; those of others are let through, if their values are ones that the protocol has."""
    for name, value in parameters.items():
        if name in _UNSUPPORTED or name.startswith("triton_"):
            raise InvalidInput(f"parameters.{name:.60}: this server does not support it")
        if not isinstance(value, str | int | float):
            raise InvalidInput(
                f"parameters.{name:.60}: expected a string, a number or a boolean, got {type_name(value)}"
            )


def _parse_sequence(parameters: Mapping[str, Any]) -> SequenceStep | None:
    """None where there is no sequence: without an id, or with 0 or an empty text for it."""
    found = parameters.get("sequence_id", 0)
    starts, ends = (_boolean(parameters.get(name, False), f"parameters.{name}") for name in _SEQUENCE[1:])
    is_number = type(found) is int and 0 <= found < 1 << 64
    if not is_number and not (isinstance(found, str) and len(found) <= _MAX_ID_CHARACTERS):
        raise InvalidInput(
            f"parameters.sequence_id: expected a whole number of 64 bits or a text of at most {_MAX_ID_CHARACTERS} "
            f"characters, got {found!r:.40}"
        )
    if found:
        return SequenceStep(found, starts, ends)
    if starts or ends:
        raise InvalidInput("parameters.sequence_id: expected the id of the sequence that starts or ends, got none")
    return None


def read_schedule(parameters: Mapping[str, Any]) -> tuple[float | None, int]:
    """Seconds that the request may take, None where it does not say, and its priority as it is asked for, 0 where it is
    not. Raises InvalidInput."""
    timeout = parameters.get("timeout")
    if timeout is not None and not _is_count(timeout):
        raise InvalidInput(f"parameters.timeout: expected microseconds, a whole number, got {timeout!r:.40}")
    priority = parameters.get("priority", 0)
    if not _is_count(priority):
        raise InvalidInput(f"parameters.priority: expected a whole number from 0, got {priority!r:.40}")
    return timeout / 1e6 if timeout else None, priority


def priority_of(level: int) -> int:
    """The engine's priority, 0 before 1. In the protocol 1 is the highest and 0 is none."""
    return 0 if level == 1 else 1


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
    parameters = read_optional(item, "parameters", f"{where}.parameters")
    _refuse_shared_memory(parameters, where)
    size_bytes, data = parameters.get("binary_data_size"), item.get("data")
    count = math.prod(shape)
    if size_bytes is None and data is None and not count:
        size_bytes = 0  # where there are no elements the protocol needs no data
    if (size_bytes is None) == (data is None):
        got = "neither" if size_bytes is None else "both"
        raise InvalidInput(f"{where}: expected either data or parameters.binary_data_size, got {got}")
    if size_bytes is not None:
        _check_size(size_bytes, count, datatype, shape, where)
    elif datatype.is_binary_only:
        raise InvalidInput(f"{where}: {datatype.name} has no JSON form, send it as binary data")
    dtype = datatype.dtype.newbyteorder("<") if datatype.itemsize else None
    return InputHeader(name, datatype, dtype, tuple(shape), count, size_bytes, data)


def _check_size(size_bytes: Any, count: int, datatype: Datatype, shape: list[int], where: str) -> None:
    """Whether the binary part can have ``count`` elements; of BYTES the least that they take is known."""
    if not _is_count(size_bytes):
        raise InvalidInput(f"{where}.parameters.binary_data_size: expected a number of bytes, got {size_bytes!r:.40}")
    if datatype.itemsize and size_bytes != count * datatype.itemsize:
        raise InvalidInput(
            f"{where}: expected {count * datatype.itemsize} bytes for {datatype.name} {shape}, got {size_bytes}"
        )
    if not datatype.itemsize and size_bytes < count * LENGTH_BYTES:
        raise InvalidInput(
            f"{where}: expected at least {count * LENGTH_BYTES} bytes for {datatype.name} {shape}, got {size_bytes}"
        )


def _parse_outputs(
    value: Any, binary_default: bool, max_tensors: int
) -> tuple[Mapping[str, bool] | None, Mapping[str, int]]:
    """The wanted outputs, and those of them that are wanted as classes."""
    if value is None:
        return None, {}
    if not isinstance(value, list) or len(value) > max_tensors:
        raise InvalidInput(f"outputs: expected an array of at most {max_tensors}, got {_count(value)}")
    outputs: dict[str, bool] = {}
    classes: dict[str, int] = {}
    for i, element in enumerate(value):
        where = f"outputs[{i}]"
        item = _object(element, where)
        _known(item, ("name", "parameters"), where)
        parameters = read_optional(item, "parameters", f"{where}.parameters")
        _refuse_shared_memory(parameters, where)
        name = item.get("name")
        if not isinstance(name, str):
            raise InvalidInput(f"{where}.name: expected a string, got {type_name(name)}")
        outputs[name] = _boolean(parameters.get("binary_data", binary_default), f"{where}.parameters.binary_data")
        number = parameters.get("classification", 0)
        if not _is_count(number):
            raise InvalidInput(
                f"{where}.parameters.classification: expected a number of classes from 0, got {number!r:.40}"
            )
        if number:
            classes[name] = number
    return outputs or None, classes


def _refuse_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    for name in parameters:
        if name.startswith(_SHARED_MEMORY):
            raise InvalidInput(f"{where}.parameters.{name:.60}: this server does not offer shared memory")


def read_optional(item: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object ``name`` of ``item`` without its members that are null; an empty one where it is absent or null.

    Programs that have a field for each member write those that they do not use as null. Raises InvalidInput.
    """
    value = item.get(name)
    return {} if value is None else without_nulls(_object(value, where))


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are not null."""
    if None not in fields.values():
        return fields
    return {name: value for name, value in fields.items() if value is not None}


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
