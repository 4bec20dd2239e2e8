"""Reads rows of named columns into tensors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Column, Table
from service.codecs.pictures.reader import describe_row
from service.errors import InvalidInput
from service.protocol.json import type_name
from service.protocol.large_json import array_of_large

_SHOWN = 10
_WORDS = ("NaN", "Infinity", "-Infinity")
"""JSON has no numbers for these."""


def read_table(rows: Sequence[Any], table: Table, tensors: Sequence[Tensor], field: str) -> dict[str, np.ndarray]:
    """Arrays [rows, ...] by input, from rows that are objects of columns, or arrays in the order of the columns.

    Raises InvalidInput, which names the row and the column.
    """
    names = {column.name: None for column in table.columns}
    cells = [_read_row(row, f"{field}[{i}]", table, names) for i, row in enumerate(rows)]
    datatypes = {tensor.name: tensor.datatype for tensor in tensors}
    columns: dict[str, list[tuple[int, np.ndarray]]] = {tensor.name: [] for tensor in tensors}
    for at, column in enumerate(table.columns):
        array = _read_column([row[at] for row in cells], column, datatypes[column.input], field)
        columns[column.input].append((column.position, array))
    return {tensor.name: _join(tensor, columns[tensor.name]) for tensor in tensors}


def _read_row(row: Any, where: str, table: Table, names: Mapping[str, None]) -> Sequence[Any]:
    """The values of a row, in the order of ``names``, which are the columns."""
    if isinstance(row, list):
        if len(row) != len(names):
            raise InvalidInput(f"{where}: expected a value for each of {len(names)} columns, got {len(row)}")
        return row
    if not isinstance(row, Mapping):
        where, got = describe_row(row, where)
        raise InvalidInput(f"{where}: expected an object of the columns {_show(names)}, got {got}")
    if row.keys() == names.keys():
        return [row[name] for name in names]
    if unknown := [name for name in row if name not in names]:
        raise InvalidInput(f"{where}: expected the columns {_show(names)}, got {unknown[0]!r:.60} too")
    if absent := [c.name for c in table.columns if c.name not in row and not c.missing]:
        raise InvalidInput(f"{where}: expected a value for the column {absent[0]!r}, got none")
    return [row.get(name) for name in names]


def _show(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")


def _read_column(values: list[Any], column: Column, datatype: str, field: str) -> np.ndarray:
    if column.values:
        _check_known(values, column, field)
    if column.missing:
        nothing: Any = "" if datatype == "BYTES" else float("nan")
        values = [nothing if value is None else value for value in values]
    try:
        array = array_of_large(values, DATATYPES[datatype], field)
        if array.ndim == 1 and (column.missing or not _has_nan(array)):
            return array
    except InvalidInput:
        pass
    for i, value in enumerate(values):  # to name the row at fault
        _check_value(value, column, datatype, f"{field}[{i}].{column.name}")
    raise InvalidInput(f"{field}: column {column.name!r}: expected values of one type")


def _check_known(values: list[Any], column: Column, field: str) -> None:
    """Raises InvalidInput for a category that is not known, as scikit-learn does."""
    known = {None, *column.values}
    for i, value in enumerate(values):
        if isinstance(value, str | int | float) and value not in known:
            shown = _show(str(each) for each in column.values)
            raise InvalidInput(f"{field}[{i}].{column.name}: expected one of {shown}, got {value!r:.40}")


def _has_nan(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _check_value(value: Any, column: Column, datatype: str, where: str) -> None:
    """Raises InvalidInput if the value does not fit. The text speaks of columns and rows, not of tensors."""
    wanted = "a text" if datatype == "BYTES" else "a number"
    if value is None or (value == "NaN" and datatype != "BYTES" and not column.missing):
        got = "null" if value is None else "NaN"
        raise InvalidInput(f"{where}: expected {wanted}, got {got}: the model takes no missing values in this column")
    if isinstance(value, list):
        raise InvalidInput(f"{where}: expected one value, got an array")
    fits = isinstance(value, str) if datatype == "BYTES" else type(value) in (int, float) or value in _WORDS
    if not fits and datatype != "BOOL":
        shown = f"{value!r:.40}" if isinstance(value, str) else type_name(value)
        raise InvalidInput(f"{where}: expected {wanted}, got {shown}")
    array_of_large([value], DATATYPES[datatype], where)


def _join(tensor: Tensor, columns: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """The tensor of an input, from its columns in the order of their positions."""
    arrays = [array for _, array in sorted(columns, key=lambda place: place[0])]
    return np.stack(arrays, axis=1) if tensor.row_shape else arrays[0]
