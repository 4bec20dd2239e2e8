"""JSON to the dataclasses of answers, as their annotations say.

Fields that are not known are left out, so that an older client understands a newer server. A field that is missing or
of another type is a BadAnswer.
"""

import base64
import binascii
import dataclasses
import functools
import types
from collections.abc import Callable, Hashable
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from sluice_client.errors import BadAnswer
from sluice_client.files import Picture, Sound

T = TypeVar("T")
_FILES: dict[type[Any], str] = {Picture: "image", Sound: "sound"}
"""Kind -> the field that holds its base64."""


def decode(kind: type[T], value: Any, where: str = "answer") -> T:
    """``value`` as a ``kind``. Raises BadAnswer, which names the field."""
    hint: Any = kind
    read: T = _reader(hint)(value, where)
    return read


_Read: TypeAlias = Callable[[Any, str], Any]
"""Reads a value, and is told where it is."""


@functools.cache
def _reader(kind: Hashable) -> _Read:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind in _FILES:
            return functools.partial(_read_file, kind)
        return functools.partial(_read_record, kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return functools.partial(_read_union, arguments)
    if origin is list:
        return functools.partial(_read_list, _reader(arguments[0]))
    if origin is dict:
        return functools.partial(_read_dict, _reader(arguments[1]))
    if origin is np.ndarray:
        return _read_array
    if origin is Literal:
        return _pass  # a newer server may have more of them
    return functools.partial(_read_scalar, kind) if isinstance(kind, type) else _pass


@functools.cache
def _fields(kind: Hashable) -> list[tuple[str, _Read, bool]]:
    """Name, reader, and whether it must be there."""
    assert isinstance(kind, type)  # noqa: S101  # only dataclasses come here
    hints = get_type_hints(kind)
    return [
        (field.name, _reader(hints[field.name]), field.default is dataclasses.MISSING)
        for field in dataclasses.fields(kind)
        if field.name != "meta"
    ]


def _read_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise BadAnswer(f"{where}: expected {kind.__name__}, got {_told(value)}")
    found = {}
    for name, read, required in _fields(kind):
        if name in value:
            found[name] = read(value[name], f"{where}.{name}")
        elif required:
            raise BadAnswer(f"{where}: expected {kind.__name__} with {name}, got {_told(value)}")
    return kind(**found)


def _read_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    """As the first choice that the value can be; a record needs its required fields."""
    for choice in choices:
        if _fits(choice, value):
            return _reader(choice)(value, where)
    names = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise BadAnswer(f"{where}: expected {names}, got {_told(value)}")


def _fits(kind: Any, value: Any) -> bool:
    if kind in _FILES:
        return isinstance(value, str) or (isinstance(value, dict) and _FILES[kind] in value)
    if hasattr(kind, "__dataclass_fields__"):
        return isinstance(value, dict) and all(name in value for name, _, required in _fields(kind) if required)
    origin = get_origin(kind)
    if origin is np.ndarray:
        return isinstance(value, list | int | float | str)
    if origin in (list, dict):
        return isinstance(value, origin)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return origin is Literal or kind is Any or isinstance(value, kind)


def _read_list(read: _Read, value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadAnswer(f"{where}: expected a list, got {_told(value)}")
    return [read(item, f"{where}[{i}]") for i, item in enumerate(value)]


def _read_dict(read: _Read, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswer(f"{where}: expected an object, got {_told(value)}")
    return {name: read(item, f"{where}.{name}") for name, item in value.items()}


def _read_array(value: Any, where: str) -> Any:
    """Nested numbers, or base64 of float32, little-endian."""
    try:
        return np.frombuffer(base64.b64decode(value), "<f4") if isinstance(value, str) else np.asarray(value)
    except ValueError:  # binascii.Error is one
        raise BadAnswer(f"{where}: expected nested numbers of one shape, got {_told(value)}") from None


def _read_file(kind: type[Any], value: Any, where: str) -> Any:
    text = value.get(_FILES[kind]) if isinstance(value, dict) else value
    try:
        return kind(base64.b64decode(str(text), validate=True))
    except binascii.Error:
        raise BadAnswer(f"{where}: expected a file in base64, got {_told(value)}") from None


def _read_scalar(kind: type[Any], value: Any, where: str) -> Any:
    if not _fits(kind, value):
        raise BadAnswer(f"{where}: expected {kind.__name__}, got {_told(value)}")
    return float(value) if kind is float else value


def _pass(value: Any, where: str) -> Any:
    return value


def _told(value: Any) -> str:
    return f"{value!r:.100}"
