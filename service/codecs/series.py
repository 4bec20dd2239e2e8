"""Reads series of requests into the inputs of a forecaster's first graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Tensor
from model_store.manifest import Manifest
from service.codecs.model_context import ModelContext, known
from service.codecs.rows import fits
from service.codecs.state import open_state, origin_of
from service.engine.tensors import Arrays, are_finite, show_shape
from service.errors import InvalidInput
from service.protocol.json import array_of, type_name

VALUES = "values"
STATE = "state"


class SeriesReader:
    """Reads the series for one model version.

    A series is a list of numbers, oldest first, or an object. The object has the history as ``values`` or under the
    name of the input, all other inputs by name, and may have the ``state`` of an earlier answer if the model can
    continue from it.
    """

    def __init__(self, context: ModelContext, state_key: bytes) -> None:
        manifest = context.manifest
        self._facts = known(manifest.forecast)
        self._context = context
        self._key = state_key
        first = manifest.loop.start if manifest.loop and manifest.loop.start else MAIN
        inputs = context.inputs(first)
        self._history = inputs[self._facts.history]
        self._resumed = {name: zeros_of(inputs[name]) for name in resumable(manifest)}
        ours = {self._facts.history, self._facts.length, self._facts.noise}
        if manifest.loop is not None:
            ours |= {carry.resume if manifest.loop.start else carry.input for carry in manifest.loop.carries}
        self.further = [tensor for name, tensor in inputs.items() if name not in ours]
        """The inputs of a series besides its history."""

    def read(self, rows: Sequence[Any]) -> list[Arrays]:
        """The inputs of each series, without a batch axis. Raises InvalidInput, which names the series at fault."""
        return [self._read_row(row, f"inputs[{i}]") for i, row in enumerate(rows)]

    def _read_row(self, row: Any, where: str) -> Arrays:
        if isinstance(row, dict):
            fields = self._read_fields(row, where)
        elif isinstance(row, list) and not self.further:
            fields = {self._history.name: row}
        else:
            got = "a series alone" if isinstance(row, list) else type_name(row)
            raise InvalidInput(f"{where}: expected {self._form()}, got {got}")
        resumed: Arrays = self._resumed
        if STATE in fields:
            origin = origin_of(self._context)
            resumed = open_state(self._key, origin, fields[STATE], self._resumed, f"{where}.{STATE}")
        place = where if isinstance(row, list) else f"{where}.{VALUES if VALUES in row else self._history.name}"
        # After a state one value is enough, because the model has seen the values before it.
        least = 1 if STATE in fields else self._facts.least_history
        history = self._read_history(fields[self._history.name], place, least)
        further = {t.name: _read_tensor(fields[t.name], t, f"{where}.{t.name}") for t in self.further}
        return {**self._pad(history), **further, **resumed}

    def _read_fields(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        fields = dict(row)
        if VALUES in fields and self._history.name not in fields:
            fields[self._history.name] = fields.pop(VALUES)
        if STATE in fields and not self._resumed:
            advice = "cannot go on from a state; send whole series"
            raise InvalidInput(f"{where}.{STATE}: model {self._context.name!r} {advice}")
        if fields.keys() - {STATE} != {self._history.name, *(t.name for t in self.further)}:
            got = ", ".join(f"{name:.40}" for name in row) or "no fields"
            raise InvalidInput(f"{where}: expected {self._form()}, got an object with {got:.200}")
        return fields

    def _form(self) -> str:
        """The form of a series, for messages."""
        names = [VALUES, *(t.name for t in self.further)]
        fields = f"an object with {', '.join(names)}{f' and perhaps {STATE}' if self._resumed else ''}"
        return fields if self.further else f"an array of numbers or {fields}"

    def _read_history(self, values: Any, where: str, least: int) -> np.ndarray:
        if not isinstance(values, list) or not least <= len(values) <= self._facts.max_history:
            got = len(values) if isinstance(values, list) else type_name(values)
            raise InvalidInput(f"{where}: expected {least} to {self._facts.max_history} values, got {got}")
        return _read_tensor(values, self._history, where)

    def _pad(self, history: np.ndarray) -> Arrays:
        """The history, and its length if the model takes one.

        Then the history is padded to the next power of two, so that series of many lengths have few shapes.
        """
        if self._facts.length is None:
            return {self._history.name: history}
        count = len(history)
        padded = np.zeros(min(1 << (count - 1).bit_length(), self._facts.max_history), history.dtype)
        padded[:count] = history
        return {self._history.name: padded, self._facts.length: np.array(count, np.int64)}


def resumable(manifest: Manifest) -> Mapping[str, str]:
    """The parts of a state: input of the start graph -> the output whose value the input takes later."""
    carries = manifest.loop.carries if manifest.loop else ()
    return {carry.resume: carry.start for carry in carries if carry.resume and carry.start}


def begin_loop(context: ModelContext, started: Arrays) -> dict[str, np.ndarray]:
    """The inputs of the first step of a row: from the outputs of the start graph, or without one from the series."""
    loop = known(context.manifest.loop)
    begun = {} if loop.start else dict(started)
    inputs = context.inputs()
    for carry in loop.carries:
        if carry.start:
            begun[carry.input] = started[carry.start]
        elif carry.input not in begun:
            begun[carry.input] = zeros_of(inputs[carry.input])
    return begun


def zeros_of(tensor: Tensor) -> np.ndarray:
    """One row of zeros. Every size must be fixed."""
    return DATATYPES[tensor.datatype].zeros(tuple(int(size) for size in tensor.row_shape))


def _read_tensor(values: Any, tensor: Tensor, where: str) -> np.ndarray:
    """One row of an input. Raises InvalidInput for another type or shape, and for numbers that are not finite."""
    datatype = DATATYPES[tensor.datatype]
    array = array_of(values, datatype, where)
    if not fits(array.shape, tensor):
        raise InvalidInput(f"{where}: expected shape {show_shape(tensor.row_shape)}, got {list(array.shape)}")
    if datatype.is_float and not are_finite(array):
        position = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        at = ", ".join(map(str, position))
        raise InvalidInput(f"{where}: expected finite numbers, got {array[position]} at position {at}")
    return array
