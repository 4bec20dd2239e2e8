"""Rows of a table with named columns as the inputs of a graph."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import SpecError
from export.importers.rows.cells import convert
from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Column, Table

Columns = Mapping[str, Sequence[Any]]
"""The values of each column."""


def is_missing(value: Any) -> bool:
    """Whether a cell has no value: None, NaN, or what pandas has in their place."""
    return value is None or value != value or type(value).__name__ in ("NAType", "NaTType")


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def fill_inputs(columns: Columns, table: Table, tensors: Sequence[Tensor], where: Path) -> dict[str, np.ndarray]:
    """The inputs for the rows of a table. Raises SpecError, which names the column and the row."""
    absent = [column.name for column in table.columns if column.name not in columns]
    if absent:
        wanted = ", ".join(column.name for column in table.columns)
        raise SpecError(f"{where}: expected the columns {wanted}; there is no {absent[0]!r}, only {', '.join(columns)}")
    filled = {}
    for tensor in tensors:
        own = sorted((c for c in table.columns if c.input == tensor.name), key=lambda column: column.position)
        arrays = [_read_column(columns[column.name], column, tensor.datatype, where) for column in own]
        filled[tensor.name] = np.stack(arrays, 1) if len(tensor.shape) > 1 else arrays[0]
    return filled


def _read_column(values: Sequence[Any], column: Column, datatype: str, where: Path) -> np.ndarray:
    texts = datatype == "BYTES"
    cells: list[Any] = []
    for row, value in enumerate(values):
        place = f"{where}: column {column.name!r}, row {row}"
        if is_missing(value):
            if not column.missing:
                raise SpecError(f"{place}: a value is missing, which the model does not accept: leave such rows out")
            cells.append("" if texts else math.nan)
        elif is_text(value) != texts or not (texts or np.isscalar(value)):
            raise SpecError(f"{place}: expected a {'text' if texts else 'number'}, got {value!r:.40}")
        else:
            cells.append(value)
    if texts:
        return np.array(cells, DATATYPES[datatype].dtype)
    return convert(np.asarray(cells), datatype, f"{where}: column {column.name!r}")
