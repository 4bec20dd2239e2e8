"""Rows of different shapes in one request: those of equal shapes run together, and the answers come back in order."""

from collections.abc import Generator, Hashable, Sequence
from typing import Any

import numpy as np

from service.engine.tensors import Arrays
from service.tasks.work import Infer


def group_rows(rows: Sequence[Arrays]) -> list[list[int]]:
    """Positions of the rows whose arrays have equal shapes, in the order in which these shapes first come."""
    groups: dict[Hashable, list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(tuple(array.shape for array in row.values()), []).append(position)
    return list(groups.values())


def stack_rows(rows: Sequence[Arrays], positions: Sequence[int]) -> dict[str, np.ndarray]:
    """The rows at these positions, of equal shapes, as arrays [rows, ...] by name."""
    if len(positions) == 1:
        return {name: array[None] for name, array in rows[positions[0]].items()}
    return {name: np.stack([rows[i][name] for i in positions]) for name in rows[positions[0]]}


def infer_rows(rows: Sequence[Arrays], graph: str) -> Generator[Infer, Any, list[Arrays]]:
    """The outputs of each row, without a batch axis. What a row gives does not depend on the others."""
    outputs: dict[int, Arrays] = {}
    for positions in group_rows(rows):
        answer: Arrays = yield Infer(stack_rows(rows, positions), graph)
        for at, position in enumerate(positions):
            outputs[position] = {name: array[at] for name, array in answer.items()}
    return [outputs[i] for i in range(len(rows))]
