"""Series as people send them, to the inputs of a forecaster's first graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Graph, Tensor
from model_store.manifest import Manifest
from model_store.tasks import Forecast
from service.codecs.model_context import ModelContext
from service.codecs.state import StateTensor, open_state, origin_of
from service.engine.tensors import Arrays, are_finite, show_shape
from service.errors import InvalidInput
from service.protocol.json import array_of, type_name

VALUES = "values"
STATE = "state"


class SeriesReader:
    """Reads the series of one model version.

    A series is a list of numbers, oldest first, or an object: the history as ``values`` or by the name of the input,
    every further input by its name, and the ``state`` of an earlier answer where the model can go on from one.
    """

    def __init__(self, context: ModelContext, state_key: bytes) -> None:
        facts = context.manifest.forecast
        assert facts is not None  # noqa: S101  # asked by the dispatcher
        self._facts: Forecast = facts
        self._context = context
        self._key = state_key
        graph = first_graph(context.manifest)
        self._history = _find(graph, facts.history)
        self._resumed = {name: _state_tensor(_find(graph, name)) for name in resumable(context.manifest)}
        self._further = [t for t in graph.inputs if t.name not in _given_by_us(context.manifest)]

    def read(self, rows: Sequence[Any]) -> list[Arrays]:
        """The inputs of each series, without a batch axis, each history padded as far as its own length says.

        Raises InvalidInput, which names the series at fault, what was expected and what came.
        """
        return [self._read_row(row, f"inputs[{i}]") for i, row in enumerate(rows)]

    def _read_row(self, row: Any, where: str) -> Arrays:
        if isinstance(row, dict):
            fields = self._read_fields(row, where)
        elif isinstance(row, list) and not self._further:
            fields = {self._history.name: row}
        else:
            got = "a series alone" if isinstance(row, list) else type_name(row)
            raise InvalidInput(f"{where}: expected {self._form()}, got {got}")
        resumed: Arrays = {name: np.zeros(at.shape, at.dtype) for name, at in self._resumed.items()}
        if STATE in fields:
            origin = origin_of(self._context)
            resumed = open_state(self._key, origin, fields[STATE], self._resumed, f"{where}.{STATE}")
        place = where if isinstance(row, list) else f"{where}.{VALUES if VALUES in row else self._history.name}"
        # A series that goes on may do so by one value; the model has seen enough before.
        history = self._read_history(fields[self._history.name], place, 1 if STATE in fields else None)
        further = {t.name: _read_tensor(fields[t.name], t, f"{where}.{t.name}") for t in self._further}
        return {**self._pad(history), **further, **resumed}

    def _read_fields(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        fields = dict(row)
        if VALUES in fields and self._history.name not in fields:
            fields[self._history.name] = fields.pop(VALUES)
        if STATE in fields and not self._resumed:
            raise InvalidInput(
                f"{where}.{STATE}: model {self._context.name!r} cannot go on from a state; send whole series"
            )
        if fields.keys() - {STATE} != {self._history.name, *(t.name for t in self._further)}:
            got = ", ".join(f"{name:.40}" for name in row) or "no fields"
            raise InvalidInput(f"{where}: expected {self._form()}, got an object with {got:.200}")
        return fields

    def _form(self) -> str:
        """What a series looks like, for messages."""
        names = [VALUES, *(t.name for t in self._further)]
        fields = f"an object with {', '.join(names)}{f' and perhaps {STATE}' if self._resumed else ''}"
        return fields if self._further else f"an array of numbers or {fields}"

    def _read_history(self, values: Any, where: str, least: int | None) -> np.ndarray:
        least = self._facts.least_history if least is None else least
        if not isinstance(values, list) or not least <= len(values) <= self._facts.max_history:
            got = len(values) if isinstance(values, list) else type_name(values)
            raise InvalidInput(f"{where}: expected {least} to {self._facts.max_history} values, got {got}")
        return _read_tensor(values, self._history, where)

    def _pad(self, history: np.ndarray) -> Arrays:
        """The history, and its length where the model takes it.

        Padded to a power of two, so that series of many lengths share few shapes, whatever company they come in.
        """
        if self._facts.length is None:
            return {self._history.name: history}
        count = len(history)
        padded = np.zeros(min(1 << (count - 1).bit_length(), self._facts.max_history), history.dtype)
        padded[:count] = history
        return {self._history.name: padded, self._facts.length: np.array(count, np.int64)}


def first_graph(manifest: Manifest) -> Graph:
    """The graph that takes the history."""
    return manifest.graphs[manifest.loop.start if manifest.loop and manifest.loop.start else MAIN]


def resumable(manifest: Manifest) -> Mapping[str, str]:
    """What a series goes on from later: input of the start graph -> its output that is to be sent back."""
    carries = manifest.loop.carries if manifest.loop else ()
    return {carry.resume: carry.start for carry in carries if carry.resume and carry.start}


def zeros_of(tensor: Tensor) -> np.ndarray:
    """One row of zeros. Every size must be fixed."""
    return DATATYPES[tensor.datatype].zeros(_state_tensor(tensor).shape)


def _given_by_us(manifest: Manifest) -> set[str | None]:
    """Inputs of the first graph that nobody sends as such."""
    facts, loop = manifest.forecast, manifest.loop
    assert facts is not None  # noqa: S101
    given = {facts.history, facts.length, facts.noise}
    if loop is None:
        return given
    return given | {carry.resume if loop.start else carry.input for carry in loop.carries}


def _find(graph: Graph, name: str) -> Tensor:
    return next(t for t in graph.inputs if t.name == name)


def _state_tensor(tensor: Tensor) -> StateTensor:
    return StateTensor(DATATYPES[tensor.datatype].dtype, tuple(int(size) for size in tensor.row_shape))


def _read_tensor(values: Any, tensor: Tensor, where: str) -> np.ndarray:
    """One row of an input. Raises InvalidInput for another type or shape, and for numbers that are not finite."""
    datatype = DATATYPES[tensor.datatype]
    array = array_of(values, datatype, where)
    wanted = tensor.row_shape
    fits = len(array.shape) == len(wanted) and all(
        isinstance(want, str) or want == got for want, got in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(f"{where}: expected shape {show_shape(wanted)}, got {list(array.shape)}")
    if datatype.is_float and not are_finite(array):
        position = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        got = array[tuple(position)]
        raise InvalidInput(f"{where}: expected finite numbers, got {got} at position {', '.join(map(str, position))}")
    return array
