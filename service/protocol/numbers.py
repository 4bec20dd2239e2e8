"""Nested JSON numbers to arrays, strictly: no text, null or boolean becomes a number on the way."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from model_store.datatypes import Datatype
from service.errors import InvalidInput
from service.protocol.text import type_name

_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""The kinds of NumPy array that JSON values may come out as, by the kind that is wanted."""


def array_of(data: Any, datatype: Datatype, what: str, booleans: bool = True) -> np.ndarray:
    """Nested lists to an array of ``datatype``, in the shape of the nesting. Raises InvalidInput, naming ``what``.

    ``booleans`` False: the caller knows that there is none among the values, which saves looking at each.
    """
    try:
        return _array_of(data, datatype, what, booleans)
    except RecursionError:
        raise InvalidInput(f"{what}: expected an array, got one that is nested too deeply") from None


def _array_of(data: Any, datatype: Datatype, what: str, booleans: bool) -> np.ndarray:
    if datatype.name == "BYTES":
        return _texts(data, what)
    try:
        raw = np.array(data)
    except ValueError:
        raise InvalidInput(f"{what}: expected arrays of equal length, got a ragged nesting") from None
    if datatype.dtype.kind == "u" and raw.dtype.kind == "f" and all(type(leaf) is int for leaf in _leaves(data)):
        raw = np.array(data, dtype=object)  # small numbers beside some above 2^63 would have been rounded
    elif raw.size and raw.dtype.kind not in _KINDS[datatype.dtype.kind]:
        raise InvalidInput(f"{what}: expected {datatype.name}, got {_first_wrong(data, datatype)}")
    if booleans and raw.dtype.kind in "iuf" and _has_boolean(data):
        raise InvalidInput(f"{what}: expected {datatype.name}, got a boolean")
    if datatype.dtype.kind in "iu" and raw.size:
        limits = np.iinfo(datatype.dtype)
        low, high = int(raw.min()), int(raw.max())
        if low < limits.min or high > limits.max:
            wrong = low if low < limits.min else high
            raise InvalidInput(f"{what}: expected {datatype.name}, {limits.min} to {limits.max}, got {wrong}")
    with np.errstate(over="ignore"):
        array = raw.astype(datatype.dtype)
    if datatype.is_float and not np.isfinite(array).all() and np.isfinite(raw).all():
        raise InvalidInput(f"{what}: expected {datatype.name}, got {np.abs(raw).max():g}, which is too large for it")
    return array


def _leaves(data: Any) -> Iterable[Any]:
    if isinstance(data, list):
        for item in data:
            yield from _leaves(item)
    else:
        yield data


def _has_boolean(data: Any) -> bool:
    # Booleans among numbers would become 0 and 1. Only the innermost lists are looked into, at C speed.
    if not isinstance(data, list):
        return isinstance(data, bool)
    if data and isinstance(data[0], list):
        return any(map(_has_boolean, data))
    return bool in set(map(type, data))


def _first_wrong(data: Any, datatype: Datatype) -> str:
    wanted: tuple[type, ...] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[datatype.dtype.kind]
    for leaf in _leaves(data):
        if not isinstance(leaf, wanted) or (isinstance(leaf, bool) and datatype.dtype.kind != "b"):
            return f"{leaf!r:.40}" if isinstance(leaf, str | float) else type_name(leaf)
    return "numbers out of range"


def _texts(data: Any, what: str) -> np.ndarray:
    for leaf in _leaves(data):
        if not isinstance(leaf, str):
            raise InvalidInput(f"{what}: expected BYTES as strings, got {type_name(leaf)}")
    array = np.array(data, dtype=object)
    if not all(isinstance(element, str) for element in array.ravel()):  # lists of different lengths stay lists
        raise InvalidInput(f"{what}: expected arrays of equal length, got a ragged nesting")
    return array
