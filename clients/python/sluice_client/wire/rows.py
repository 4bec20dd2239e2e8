"""Rows as programs have them, to rows as JSON has them."""

import base64
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

import numpy as np

from sluice_client.files import Array, Picture, Sound, is_sound

if TYPE_CHECKING:
    from PIL.Image import Image


class Table(Protocol):
    """A table of pandas, polars or pyarrow."""

    @property
    def columns(self) -> Any: ...


Row: TypeAlias = Union[  # it names itself, and Image is known to type checkers only
    float,
    str,
    bytes,
    PathLike[str],
    Picture,
    Sound,
    Array,
    "np.generic[Any]",
    "Image",
    Sequence["Row"],
    Mapping[str, "Row"],
    None,
]
"""One example for a model:

- a text: ``str``
- a picture or sound: ``pathlib.Path``, the ``bytes`` of a file, ``Picture``, ``Sound``, an image of Pillow
- numbers in the shape of the model's row: an array, or nested lists
- several inputs, or the columns of a table, by name: ``dict``

Pixels in an array are numbers. ``Picture.of(array)`` makes a picture of them, which the server fits to the model.
"""
Rows: TypeAlias = Row | Table
"""One row, or a list of rows, or an array [rows, ...], or a table of pandas, polars or pyarrow, a row for each line."""


def encode_rows(rows: Rows) -> list[Any]:
    """The rows as JSON has them. Raises TypeError for what is none, OSError for files that cannot be read."""
    if (records := _read_table(rows)) is not None:
        return [{name: _cell(value) for name, value in record.items()} for record in records]
    if _is_array(rows) and np.ndim(rows) > 0:  # type: ignore[arg-type]  # whatever has __array__
        return [_encode(row, f"inputs[{i}]") for i, row in enumerate(np.asarray(rows))]
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        return [_encode(row, f"inputs[{i}]") for i, row in enumerate(rows)]
    return [_encode(rows, "inputs")]


def encode_option(name: str, value: Any) -> Any:
    """The value of an option as JSON has it; rows in it, such as those of ``compare``, count as rows."""
    return encode_rows(value) if name == "compare" else _encode(value, name)


def find_file(rows: Any) -> str | None:
    """The first text among rows that is the path of a file: it was perhaps meant as that file."""
    texts = [rows] if isinstance(rows, str) else rows if isinstance(rows, list | tuple) else []
    try:
        return next((text for text in texts if isinstance(text, str) and Path(text).is_file()), None)
    except (OSError, ValueError):  # too long, or with characters that no path has
        return None


def _encode(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _encode_file(bytes(value))
    if isinstance(value, PathLike):
        return _encode_file(Path(value).read_bytes())
    if isinstance(value, Picture):
        return {"image": value.encode()}
    if isinstance(value, Sound):
        return {"sound": value.encode()}
    if isinstance(value, Mapping):
        return {str(name): _encode(inner, f"{where}.{name}") for name, inner in value.items()}
    if hasattr(value, "getbands"):  # an image of Pillow, which need not be installed
        return {"image": Picture.of(value).encode()}
    if _is_array(value):
        array = np.asarray(value)
        if array.dtype.kind not in "cmM":  # complex numbers and times, which JSON does not have
            return array.tolist()
        raise TypeError(f"{where}: expected an array of numbers, booleans or texts, got one of {array.dtype}")
    if isinstance(value, Sequence):
        return [_encode(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    raise TypeError(
        f"{where}: expected a text, numbers, an array, a path, a Picture, a Sound, a list or a dict, "
        f"got {type(value).__module__}.{type(value).__qualname__}"
    )


def _encode_file(content: bytes) -> dict[str, str]:
    return {"sound" if is_sound(content) else "image": base64.b64encode(content).decode()}


def _is_array(value: Any) -> bool:
    """An array of NumPy, or of a library whose arrays NumPy can read."""
    return hasattr(value, "__array__") and not hasattr(value, "getbands")


def _read_table(value: Any) -> list[dict[str, Any]] | None:
    """A record for each line; None where the value is no table."""
    if not hasattr(value, "columns"):
        return None
    for method in ("to_dicts", "to_pylist"):  # polars, pyarrow
        if hasattr(value, method):
            return list(getattr(value, method)())
    return list(value.to_dict("records"))  # pandas


def _cell(value: Any) -> Any:
    """A cell of a table; null where it is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else _encode(value, "cell")
