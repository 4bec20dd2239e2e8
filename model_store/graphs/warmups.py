"""``model_warmup`` of a Triton configuration: samples of the inputs on which the model is known to run."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.errors import BadConfig
from model_store.graph import Graph, Tensor
from model_store.graphs import Arrays
from model_store.graphs.sequences import Flag, Sequences, read_data
from model_store.store import ModelVersion
from model_store.triton import TritonConfig, Warmup, WarmupInput

logger = logging.getLogger("sluice.loading")

FOLDER = "warmup"
"""The subfolder of the model with the files of the samples."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs in the shapes of callers, and how often the configuration wants them to run."""

    name: str
    inputs: Arrays
    count: int


def read_samples(
    graph: Graph, config: TritonConfig, sequences: Sequences | None, version: ModelVersion
) -> tuple[Sample, ...]:
    """Read the samples of a configured graph. One that does not fit is left out, with a line in the log."""
    return tuple(_read(graph, config.warmups, sequences, version))


def _read(
    graph: Graph, warmups: tuple[Warmup, ...], sequences: Sequences | None, version: ModelVersion
) -> Iterator[Sample]:
    for at, warmup in enumerate(warmups):
        try:
            inputs = _Reader(graph, warmup, sequences, version, at).read()
        except BadConfig as error:
            logger.warning("%s: model_warmup %r is left out: %s", version.name, warmup.name, error)
            continue
        yield Sample(warmup.name, inputs, warmup.count)


class _Reader:
    """The inputs of one sample, with ``batch_size`` rows each if the graph takes several."""

    def __init__(
        self, graph: Graph, warmup: Warmup, sequences: Sequences | None, version: ModelVersion, seed: int
    ) -> None:
        self._graph = graph
        self._warmup = warmup
        self._sequences = sequences
        self._version = version
        self._draw = np.random.default_rng(seed)
        most = graph.leading_rows or (1 if graph.leading_rows == 0 else warmup.batch_size)
        self._rows = min(warmup.batch_size, most)

    def read(self) -> Arrays:
        """Raises BadConfig for a sample that does not fit the graph, StoreError for a file that cannot be read."""
        tensors = {tensor.name: tensor for tensor in self._graph.inputs}
        unknown = self._warmup.inputs.keys() - tensors.keys()
        if unknown:
            raise BadConfig(
                f"it names the inputs {', '.join(sorted(unknown))}: expected those of the graph, {', '.join(tensors)}"
            )
        inputs = {name: self._make(tensors[name], given) for name, given in self._warmup.inputs.items()}
        inputs = {**self._fill_in(), **inputs}
        missing = {name for name, tensor in tensors.items() if not tensor.optional} - inputs.keys()
        if missing:
            raise BadConfig(f"it leaves out the inputs {', '.join(sorted(missing))}: add them")
        return {name: inputs[name] for name in tensors if name in inputs}

    def _make(self, tensor: Tensor, given: WarmupInput) -> np.ndarray:
        if given.datatype != tensor.datatype:
            raise BadConfig(f"input {tensor.name!r}: expected {tensor.datatype}, got {given.datatype}")
        axis = self._axis_of_rows(tensor, given)
        sizes = [size for at, size in enumerate(tensor.shape) if at != axis]
        fits = len(sizes) == len(given.dims) and all(
            isinstance(size, str) or size == dim for size, dim in zip(sizes, given.dims, strict=True)
        )
        if not fits and not tensor.any_shape:
            raise BadConfig(
                f"input {tensor.name!r}: expected dims that fit {list(tensor.shape)}, got {list(given.dims)}"
            )
        if axis is None:
            return self._draw_array(tensor, given, given.dims)
        if given.data == "random":  # random data differs in each row
            shape = [*given.dims]
            shape.insert(axis, self._rows)
            return self._draw_array(tensor, given, tuple(shape))
        row = self._draw_array(tensor, given, given.dims)
        return np.repeat(np.expand_dims(row, axis), self._rows, axis)

    def _axis_of_rows(self, tensor: Tensor, given: WarmupInput) -> int | None:
        """The batch axis that dims leave out; None if dims have the whole shape."""
        if tensor.any_shape:
            return 0 if self._graph.leading_rows else None
        if len(given.dims) != len(tensor.shape) - 1:
            return None
        return 0 if tensor.batch_axis is None else tensor.batch_axis

    def _draw_array(self, tensor: Tensor, given: WarmupInput, shape: tuple[int, ...]) -> np.ndarray:
        datatype = DATATYPES[tensor.datatype]
        if given.data == "file":
            return read_data(self._version, FOLDER, given.data_file, tensor.datatype, shape)
        if given.data == "zero" or not datatype.itemsize:
            return datatype.zeros(shape)
        if datatype.is_float:
            return self._draw.standard_normal(shape).astype(datatype.dtype)
        if datatype.kind == "b":
            return self._draw.integers(0, 2, shape).astype(bool)
        range_ = np.iinfo(datatype.dtype)
        least, largest = (0, tensor.largest) if tensor.largest is not None else (range_.min, range_.max)
        return self._draw.integers(least, largest, shape, datatype.dtype, endpoint=True)

    def _fill_in(self) -> Arrays:
        """What the server fills into a request that starts and ends a sequence."""
        if self._sequences is None:
            return {}
        filled = {state.input: state.initial for state in self._sequences.states if state.initial is not None}
        for control in self._sequences.controls:
            if isinstance(control, Flag):
                filled[control.input] = control.true
            else:
                text = np.full(control.shape, "1", object)
                number = np.ones(control.shape, DATATYPES[control.datatype].dtype)
                filled[control.input] = text if control.datatype == "BYTES" else number
        axes = {tensor.name: tensor.batch_axis for tensor in self._graph.inputs}
        rows = self._rows if self._sequences.takes_rows else 1
        return {name: _repeat(array, rows, axes[name]) for name, array in filled.items()}


def _repeat(array: np.ndarray, rows: int, axis: int | None) -> np.ndarray:
    return np.repeat(array, rows, 0 if axis is None else axis) if rows > 1 else array
