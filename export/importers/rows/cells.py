"""Converts numbers and texts of samples to an input's datatype. An error names the first row that does not fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.errors import SpecError
from model_store.datatypes import DATATYPES


def read_cells(values: Sequence[Any], datatype: str, where: str) -> np.ndarray:
    """A column without missing values, with a cell or an array for each row. Raises SpecError, which names the row."""
    rows = [np.asarray(value) for value in values]
    if not rows:
        raise SpecError(f"{where}: expected at least one row, got none")
    for row, cell in enumerate(rows):
        if cell.shape != rows[0].shape:
            raise SpecError(f"{where}, row {row}: expected the shape of row 0, {rows[0].shape}, got {cell.shape}")
    return convert(np.stack(rows), datatype, where, missing=False)


def convert(array: np.ndarray, datatype: str, where: str, missing: bool = True) -> np.ndarray:
    """An array as ``datatype``. Raises SpecError for the first row with an element that it cannot hold.

    ``missing`` says whether NaN may stand for a missing number.
    """
    if not _find_fault(array, datatype, missing):
        with np.errstate(invalid="ignore"):
            return array.astype(DATATYPES[datatype].dtype)
    for row, part in enumerate(array if array.ndim else [array]):
        for cell in np.asarray(part, array.dtype).ravel():
            if fault := _find_fault(np.asarray(cell, array.dtype), datatype, missing):
                raise SpecError(f"{where}, row {row}: {fault}, got {_show(cell)}")
    raise SpecError(f"{where}: {_find_fault(array, datatype, missing)}, got {array.dtype}")


def _find_fault(array: np.ndarray, datatype: str, missing: bool) -> str:
    """What was expected of the elements; "" if all fit."""
    kind, dtype = DATATYPES[datatype].kind, DATATYPES[datatype].dtype
    if datatype == "BYTES":
        is_text = array.dtype.kind in "US" or all(isinstance(cell, str | bytes) for cell in array.ravel())
        return "" if is_text else f"expected texts ({datatype})"
    if array.dtype.kind in "OUS":
        try:
            array = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError):
            return f"expected numbers ({datatype})"
    with np.errstate(over="ignore", invalid="ignore"):
        made = array.astype(dtype)
    if kind == "f":
        gone = np.isnan(array)
        if not missing and gone.any():
            return f"expected a number ({datatype}) in each row, or an .npz with NaN if the model takes it"
        is_lost = np.isfinite(array) & ~np.isfinite(made.astype(np.float64))
        return f"expected numbers that {datatype} can hold" if is_lost.any() else ""
    return f"expected whole numbers that {datatype} can hold" if (made != array).any() else ""


def _show(cell: Any) -> str:
    return f"{getattr(cell, 'item', lambda: cell)()!r:.40}"
