"""``sequence_batching`` of a Triton configuration: what is kept between requests, and what the server fills in.

Arrays have the shapes of a request with one row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.errors import BadConfig
from model_store.graph import Graph, Tensor
from model_store.store import ModelVersion
from model_store.triton import CONFIG_FILE, SequenceConfig, SequenceControl, SequenceState

INITIAL_STATE_FOLDER = "initial_state"
_LENGTH_BYTES = 4
"""The length that precedes each element of BYTES in a file."""


@dataclass(frozen=True)
class State:
    """An input that receives in each request what ``output`` gave in the request before.

    ``initial`` is its value in the first request; None: the caller has to send it.
    """

    input: str
    output: str | None
    """None: the input keeps its first value."""
    initial: np.ndarray | None


@dataclass(frozen=True)
class Flag:
    """An input that says whether a request is what ``kind`` names: START, END or READY (always true)."""

    input: str
    kind: str
    false: np.ndarray
    true: np.ndarray


@dataclass(frozen=True)
class Id:
    """An input that receives the id of the sequence: a text if ``datatype`` is BYTES, else a number."""

    input: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Sequences:
    """The sequences of a model.

    ``idle_s``: a sequence ends after so many seconds without a request; None: the server's default. ``takes_rows`` is
    False if requests send whole shapes.
    """

    states: Sequence[State]
    controls: Sequence[Flag | Id] = ()
    idle_s: float | None = None
    takes_rows: bool = True


def read_sequences(graph: Graph, config: SequenceConfig, version: ModelVersion) -> Sequences:
    """Read the sequences of a configured graph. Raises BadConfig if they do not fit, StoreError for a file."""
    has_rows = bool(graph.leading_rows)
    inputs, outputs = _by_name(graph.inputs), _by_name(graph.outputs)
    controls = [_read_control(control, inputs, has_rows) for control in config.controls]
    states = [_read_state(state, inputs, outputs, has_rows, version) for state in config.states]
    return Sequences(states, controls, config.idle_s, has_rows)


def _by_name(tensors: Sequence[Tensor]) -> Mapping[str, Tensor]:
    return {tensor.name: tensor for tensor in tensors}


def _find(tensors: Mapping[str, Tensor], name: str, what: str, datatype: str) -> Tensor:
    """The tensor. Raises BadConfig if the graph does not have it, or has it with another datatype."""
    tensor = tensors.get(name)
    if tensor is None:
        raise BadConfig(
            f"{CONFIG_FILE}: {what} {name!r}: expected one of {', '.join(tensors) or 'none'}, which the graph has"
        )
    if tensor.datatype != datatype:
        raise BadConfig(
            f"{CONFIG_FILE}: {what} {name!r}: expected {tensor.datatype} like the graph's, got {datatype or 'none'}"
        )
    return tensor


def _read_control(control: SequenceControl, inputs: Mapping[str, Tensor], has_rows: bool) -> Flag | Id:
    what = "sequence_batching: control_input"
    tensor = _find(inputs, control.name, what, control.datatype)
    ones = (1,) * (len(tensor.shape) if not tensor.any_shape else 2 if has_rows else 1)
    if any(isinstance(size, int) and size != 1 for size in tensor.row_shape):
        raise BadConfig(
            f"{CONFIG_FILE}: {what} {control.name!r}: expected one element in each row, the graph has "
            f"{list(tensor.shape)}"
        )
    if control.kind == "CORRID":
        return Id(control.name, control.datatype, ones)
    dtype = DATATYPES[control.datatype].dtype
    false, true = (np.full(ones, value, dtype) for value in (control.false_value, control.true_value))
    return Flag(control.name, control.kind, false, true)


def _read_state(
    state: SequenceState,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    has_rows: bool,
    version: ModelVersion,
) -> State:
    tensor = _find(inputs, state.input_name, "sequence_batching: state: input_name", state.datatype)
    _find(outputs, state.output_name, "sequence_batching: state: output_name", state.datatype)
    axis = _axis_of_row(tensor, state.dims) if has_rows else None
    own = [size for at, size in enumerate(tensor.shape) if at != axis]
    if not tensor.any_shape and not _fits(state.dims, own):
        batch = f", without its axis {axis}, that of the batch" if axis is not None else ""
        raise BadConfig(
            f"{CONFIG_FILE}: sequence_batching: state {state.input_name!r}: expected dims that fit the graph's "
            f"{list(tensor.shape)}{batch}, got {list(state.dims)}"
        )
    row = _read_initial(state, version)
    if row is None:
        known = own if not tensor.any_shape else list(state.dims)
        sizes = [_first_size(dim, size) for dim, size in zip(state.dims, known, strict=True)]
        row = DATATYPES[state.datatype].zeros(sizes)
    return State(state.input_name, state.output_name, row if axis is None else np.expand_dims(row, axis))


def _axis_of_row(tensor: Tensor, dims: Sequence[int]) -> int:
    """The axis of the graph's shape on which the one row of a sequence lies. dims leave it out."""
    if tensor.batch_axis is not None:
        return tensor.batch_axis
    free = [axis for axis, size in enumerate(tensor.shape) if isinstance(size, str)]
    fitting = [axis for axis in free if _fits(dims, [*tensor.shape[:axis], *tensor.shape[axis + 1 :]])]
    return fitting[0] if fitting else 0


def _fits(dims: Sequence[int], own: Sequence[int | str]) -> bool:
    return len(dims) == len(own) and all(
        dim in (size, -1) or isinstance(size, str) for dim, size in zip(dims, own, strict=True)
    )


def _first_size(dim: int, size: int | str) -> int:
    """The size of an axis in a state without an initial value: 1 if it is free, else the graph's."""
    return dim if dim != -1 else size if isinstance(size, int) and size != -1 else 1


def _read_initial(state: SequenceState, version: ModelVersion) -> np.ndarray | None:
    """The initial value in the configuration, without the batch axis. Raises StoreError."""
    initial = state.initial
    if initial is None:
        return None
    if not initial.data_file:
        return DATATYPES[state.datatype].zeros(initial.dims)
    return read_data(version, INITIAL_STATE_FOLDER, initial.data_file, state.datatype, initial.dims)


def read_data(version: ModelVersion, folder: str, file: str, datatype: str, dims: Sequence[int]) -> np.ndarray:
    """A tensor that a configuration keeps in a file, in the protocol's binary form. Bytes after it are ignored.

    Raises StoreError.
    """
    where = f"{folder}/{file}"
    content = version.read_beside(where)
    if content is None:
        raise BadConfig(f"{CONFIG_FILE} names {where}, which is not in the folder of the model: add it")
    found, count = DATATYPES[datatype], math.prod(dims)
    if not found.itemsize:
        return np.array(_read_texts(content, count, where), object).reshape(dims)
    if len(content) < count * found.itemsize:
        raise BadConfig(
            f"{where}: expected {count * found.itemsize} bytes for {datatype} {list(dims)}, got {len(content)}"
        )
    return np.frombuffer(content, found.dtype.newbyteorder("<"), count).astype(found.dtype).reshape(dims)


def _read_texts(content: bytes, count: int, where: str) -> list[str]:
    """Read texts, each preceded by its length in four bytes. Raises BadConfig."""
    texts: list[str] = []
    at = 0
    while at < len(content):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(content[at:begin], "little")
        if at > len(content):
            raise BadConfig(f"{where}: element {len(texts)} reaches beyond the end of the file")
        try:
            texts.append(content[begin:at].decode())
        except UnicodeDecodeError:
            raise BadConfig(f"{where}: element {len(texts)}: expected UTF-8, got other bytes") from None
    if len(texts) != count:
        raise BadConfig(f"{where}: expected {count} elements, got {len(texts)}")
    return texts
