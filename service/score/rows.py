"""Turns rows of the input into rows of requests, as a caller over HTTP would write them."""

import base64
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN
from model_store.sounds.formats import is_sound
from service.models.entry import Served
from service.models.pipeline import Pipeline
from service.score.places import Place, open_place
from service.score.selection import Selection
from service.score.sources.source import FileValue, Piece, Source

TEXT_SUFFIX = ".txt"


class Fault(NamedTuple):
    """Why a row has no answer."""

    text: str


class RowMaker:
    """Makes rows of records. A row is a JSON value, the bytes of a file, a file that is read later, or a Fault."""

    def __init__(self, model: Served, task: str, source: Source, selection: Selection) -> None:
        self._form = selection.form
        self._columns = selection.columns
        self._folder = source.folder
        readers = _readers(model, task, selection, source.is_text)
        self._readers: Mapping[str, Callable[[Any], Any]] = {
            name: readers.get(name, self._as_file if _takes_files(model) else lambda value: value)
            for name in selection.columns
        }

    def make(self, piece: Piece) -> list[Any]:
        """A row for each record of the piece."""
        columns = [list(map(self._readers[name], piece.columns[column])) for name, column in self._columns.items()]
        if self._form == "value":
            rows: list[Any] = columns[0]
        elif self._form == "list":
            rows = [list(values) for values in zip(*columns, strict=True)]
        else:
            names = tuple(self._columns)
            rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        for at, text in piece.faults.items():
            rows[at] = Fault(text)
        return rows

    def _as_file(self, value: Any) -> Any:
        """In a column of pictures or sounds, a text is the path of a file."""
        if not isinstance(value, str) or not value:
            return value
        if value.startswith("[") and value.endswith("]"):
            return _read_values(value)
        if "://" in value:
            return FileValue(open_place(value))
        if value.startswith("/") and self._folder.is_local:
            return FileValue(Place(self._folder.filesystem, value, value))
        return FileValue(self._folder.join(value))


def _takes_files(model: Served) -> bool:
    """Whether rows may be pictures or sounds, and are not texts."""
    manifest = model.manifest
    is_text = manifest.tokens is not None or manifest.text is not None
    return not isinstance(model, Pipeline) and not is_text and (manifest.image or manifest.sound) is not None


def _readers(model: Served, task: str, selection: Selection, is_text: bool) -> Mapping[str, Callable[[Any], Any]]:
    """If all values are texts, as in CSV: name of a column in the model -> the function that reads its numbers."""
    manifest = model.manifest
    if not is_text or isinstance(model, Pipeline):
        return {}
    if task == "tensors":
        inputs = model.signature.public_inputs
        texts = {name for name, tensor in inputs.items() if tensor.datatype == "BYTES"}
        if selection.form == "object":
            return {name: _read_text if name in texts else _read_values for name in selection.columns}
        return {} if texts else dict.fromkeys(selection.columns, _read_values)
    if manifest.table is not None:
        types = {tensor.name: tensor.datatype for tensor in manifest.graphs[MAIN].inputs}
        return {
            column.name: _read_text if DATATYPES[types[column.input]].name == "BYTES" else _read_number
            for column in manifest.table.columns
        }
    if manifest.tokens is not None or manifest.text is not None or _takes_files(model):
        return {}
    return dict.fromkeys(selection.columns, _read_values)


def _read_text(text: Any) -> Any:
    return None if text == "" else text


def _read_number(text: Any) -> Any:
    """The number in a text; None for an empty text. Other texts stay, and the error of the model will show them."""
    if not isinstance(text, str):
        return text
    if not text.strip():
        return None
    try:
        return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text


def _read_values(text: Any) -> Any:
    """An array in JSON, or a number."""
    if isinstance(text, str) and text.lstrip().startswith("["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return _read_number(text)


def render_value(value: Any) -> Any:
    """For orjson: the JSON form of the bytes of a file, and of a decimal number."""
    if isinstance(value, bytes):
        return {"sound" if is_sound(value) else "image": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"a value of the type {type(value).__name__} has no form in JSON")


def has_files(row: Any) -> bool:
    """Whether the row is a file, or has files that must be read first."""
    return isinstance(row, bytes | FileValue) or (
        isinstance(row, dict) and any(isinstance(value, FileValue) for value in row.values())
    )
