"""Checks whether a configuration contradicts itself: Triton's own checks, except those about speed.

Each check yields texts that name the field. Some of Triton's refusals are left out because this server can do what was
asked: scalars for a graph without batches, if a ``reshape`` fits them, and tensors without ``dims`` or ``data_type``,
which are then those of the graph.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from model_store.triton.schema import value_names

DATATYPES = value_names("DataType")
CONTROL_KINDS = value_names("ModelSequenceBatching.Control.Kind")
BOOLEAN_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
"""The fields that hold the two values of a control. At most one is set."""

_CORRID = CONTROL_KINDS.index("CONTROL_SEQUENCE_CORRID")
_CORRID_DATATYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def check(config: Any, folder: str | None) -> Iterator[str]:
    """The faults of a ``ModelConfig`` in this folder; None: the folder is not known."""
    if folder is not None and config.name not in ("", folder):
        yield f"name: expected the folder's name {folder!r} or no name, got {config.name!r}"
    if config.max_batch_size < 0:
        yield f"max_batch_size: expected 0 or more, got {config.max_batch_size}"
    yield from _check_file("default_model_filename", config.default_model_filename)
    for kind, tensors in (("input", config.input), ("output", config.output)):
        yield from _find_doubles(kind, (tensor.name for tensor in tensors))
        for tensor in tensors:
            yield from _check_tensor(f"{kind} {tensor.name!r}", tensor)
    for output in config.output:
        yield from _check_file(f"output {output.name!r}: label_filename", output.label_filename)
    yield from _check_priorities(config.dynamic_batching)
    if config.HasField("sequence_batching"):
        yield from _check_sequence(config.sequence_batching)
    for warmup in config.model_warmup:
        for name in sorted(warmup.inputs) if warmup.batch_size else ():
            yield from _check_warmup_input(f"model_warmup {warmup.name!r}: input {name!r}", warmup.inputs[name])
    yield from _check_cache(config)


def _find_doubles(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{what} {name!r}: expected it once, got it {times} times"


def _check_file(what: str, name: str) -> Iterator[str]:
    """Refuse files outside the model's folder, so that a foreign repository can be served without a review."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
        yield f"{what}: expected a file in the model's folder, got {name!r}"


def _check_datatype(what: str, number: int) -> Iterator[str]:
    if not 0 < number < len(DATATYPES):
        yield f"{what}: data_type: expected one of {', '.join(DATATYPES[1:])}, got {_name(number)}"


def _name(datatype: int) -> str:
    """The name of a datatype, for messages."""
    if not datatype:
        return "none"
    return DATATYPES[datatype] if 0 < datatype < len(DATATYPES) else f"{datatype}"


def _check_sizes(what: str, sizes: Iterable[int]) -> Iterator[str]:
    for size in sizes:
        if size < 1 and size != -1:
            yield f"{what}: expected sizes of 1 or more, or -1 for any size, got {list(sizes)}"
            return


# Tensors


def _check_tensor(what: str, tensor: Any) -> Iterator[str]:
    if not tensor.name:
        yield f"{what}: expected a name"
    if tensor.data_type:  # otherwise it is the graph's
        yield from _check_datatype(what, tensor.data_type)
    yield from _check_sizes(f"{what}: dims", tensor.dims)
    if not tensor.HasField("reshape"):
        return
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    yield from _check_sizes(f"{what}: reshape", shape)
    if _elements(dims) != _elements(shape):
        yield f"{what}: reshape: expected as many elements as dims {dims}, on each side of every -1 too, got {shape}"


def _elements(sizes: Iterable[int]) -> list[int]:
    """The numbers of elements before, between and after the free sizes."""
    runs: list[list[int]] = [[]]
    for size in sizes:
        if size == -1:
            runs.append([])
        else:
            runs[-1].append(size)
    return [math.prod(run) for run in runs]


# Scheduling


def _check_priorities(batching: Any) -> Iterator[str]:
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels and not 1 <= default <= levels:
        yield f"dynamic_batching: default_priority_level: expected 1 to priority_levels {levels}, got {default}"


def _check_sequence(sequence: Any) -> Iterator[str]:
    controls = [(tensor, control) for tensor in sequence.control_input for control in tensor.control]
    yield from _find_doubles("sequence_batching: control_input", (tensor.name for tensor, _ in controls))
    kinds = (CONTROL_KINDS[control.kind] for _, control in controls if 0 <= control.kind < len(CONTROL_KINDS))
    yield from _find_doubles("sequence_batching: control kind", kinds)
    for tensor, control in controls:
        yield from _check_control(f"sequence_batching: control_input {tensor.name!r}", tensor.name, control)
    for which in ("input_name", "output_name"):
        yield from _find_doubles(f"sequence_batching: state: {which}", (getattr(s, which) for s in sequence.state))
    for state in sequence.state:
        yield from _check_state(f"sequence_batching: state {state.input_name!r}", state)


def _check_control(what: str, name: str, control: Any) -> Iterator[str]:
    if not name:
        yield f"{what}: expected a name"
    given = [field for field in BOOLEAN_VALUES if getattr(control, field)]
    if control.kind == _CORRID:
        if given:
            yield f"{what}: expected no {given[0]}, because a sequence's id has no such values"
        if not (0 <= control.data_type < len(DATATYPES) and DATATYPES[control.data_type] in _CORRID_DATATYPES):
            yield f"{what}: data_type: expected one of {', '.join(_CORRID_DATATYPES)}, got {_name(control.data_type)}"
    elif not 0 <= control.kind < len(CONTROL_KINDS):
        yield f"{what}: kind: expected one of {', '.join(CONTROL_KINDS)}, got {control.kind}"
    elif len(given) != 1:
        yield f"{what}: expected one of {', '.join(BOOLEAN_VALUES)}, got {' and '.join(given) or 'none'}"
    elif len(values := getattr(control, given[0])) != 2:
        yield f"{what}: {given[0]}: expected 2 values, for false and for true, got {len(values)}"


def _check_state(what: str, state: Any) -> Iterator[str]:
    for which in ("input_name", "output_name"):
        if not getattr(state, which):
            yield f"{what}: expected an {which}"
    yield from _check_datatype(what, state.data_type)
    yield from _check_sizes(f"{what}: dims", state.dims)
    if len(state.initial_state) > 1:
        yield f"{what}: initial_state: expected one at most, got {len(state.initial_state)}"
    for initial in state.initial_state[:1]:
        yield from _check_initial_state(f"{what}: initial_state", state, initial)


def _check_initial_state(what: str, state: Any, initial: Any) -> Iterator[str]:
    if initial.data_type not in (0, state.data_type):
        yield f"{what}: data_type: expected that of the state"
    fits = len(initial.dims) == len(state.dims) and all(
        size >= 0 and free in (-1, size) for size, free in zip(initial.dims, state.dims, strict=True)
    )
    if not fits:
        yield f"{what}: dims: expected known sizes that fit the state's {list(state.dims)}, got {list(initial.dims)}"
    if initial.WhichOneof("state_data") != "zero_data" and not initial.data_file:
        yield f"{what}: expected zero_data or data_file"
    yield from _check_file(f"{what}: data_file", initial.data_file)


def _check_warmup_input(what: str, given: Any) -> Iterator[str]:
    yield from _check_datatype(what, given.data_type)
    if any(size < 1 for size in given.dims):
        yield f"{what}: dims: expected known sizes of 1 or more, got {list(given.dims)}"
    if given.WhichOneof("input_data_type") in (None, "input_data_file") and not given.input_data_file:
        yield f"{what}: expected zero_data, random_data or input_data_file"
    yield from _check_file(f"{what}: input_data_file", given.input_data_file)


def _check_cache(config: Any) -> Iterator[str]:
    """Refuse a cache if an answer depends on more than its request."""
    if config.response_cache.enable and config.HasField("sequence_batching"):
        yield "response_cache: expected none beside sequence_batching"
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        yield "response_cache: expected none beside a decoupled model_transaction_policy"
