"""Converts between the shapes of callers and of the graph if a configuration says that they differ."""

from collections.abc import Mapping, Sequence

import numpy as np

from model_store.graphs import Arrays

Dims = tuple[int, ...]
"""A shape without the batch. -1 stands for a size that both sides share, in the same order."""


class Reshape:
    """The shapes by tensor name: ``inputs`` and ``outputs`` map to (graph's shape, callers' shape).

    ``has_batch``: a batch axis comes before each shape, and does not change.
    """

    def __init__(
        self, inputs: Mapping[str, tuple[Dims, Dims]], outputs: Mapping[str, tuple[Dims, Dims]], has_batch: bool
    ) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._lead = 1 if has_batch else 0

    def enter(self, arrays: Arrays) -> Arrays:
        """Callers' inputs in the shapes of the graph."""
        return {
            name: self._change(array, self._inputs[name][1], self._inputs[name][0]) if name in self._inputs else array
            for name, array in arrays.items()
        }

    def leave(self, names: Sequence[str], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The graph's outputs in the shapes of callers. An output of another rank than configured stays as it is."""
        return [
            self._change(array, *self._outputs[name]) if name in self._outputs else array
            for name, array in zip(names, arrays, strict=True)
        ]

    def inner_dims(self, name: str) -> Dims | None:
        """The graph's shape of a tensor, without the batch; None if callers use the same."""
        found = self._inputs.get(name) or self._outputs.get(name)
        return None if found is None else found[0]

    def _change(self, array: np.ndarray, old: Dims, new: Dims) -> np.ndarray:
        lead, sizes = array.shape[: self._lead], array.shape[self._lead :]
        if len(sizes) != len(old):
            return array
        free = iter([size for size, wanted in zip(sizes, old, strict=True) if wanted == -1])
        return array.reshape((*lead, *(next(free) if size == -1 else size for size in new)))
