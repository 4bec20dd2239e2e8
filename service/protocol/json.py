"""Turns JSON into Python objects and arrays, and back. No text, null or boolean becomes a number.

The only exceptions are the texts "NaN", "Infinity" and "-Infinity", which stand for floats that JSON lacks. pysimdjson
parses flat arrays without a Python object for each number, three times as fast as orjson and NumPy.
"""

import functools
import itertools
import json
import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import orjson
import simdjson

from model_store.datatypes import Datatype
from service.errors import InvalidInput
from service.protocol.escape import read_texts

T = TypeVar("T")
MAX_NESTING = 100
_NAMES = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}
MAX_AXES = 32
"""The most that every supported NumPy allows. Deeper data is flattened."""
_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kind of a datatype -> the kinds that NumPy may give to an array of its JSON values."""
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_RAW: Mapping[str, tuple[Literal["i", "u", "d"], np.dtype]] = {
    "i": ("i", np.dtype(np.int64)),
    "u": ("u", np.dtype(np.uint64)),
    "f": ("d", np.dtype(np.float64)),
}
"""Kind of a datatype -> the parser's name for its numbers, and NumPy's."""
_COLON = ord(":")
_IS_BEFORE_COLON = np.isin(np.arange(256), list(b'" \t\n\r'))
"""The bytes that may precede the colon of a member."""
_KEPT_PARSER_BYTES = 1 << 20
"""Longer texts get a new parser, because a parser keeps memory for the longest text that it has parsed."""
_kept = threading.local()
"""``parser`` is that of this thread. It holds one text at a time."""
WORDS_OF_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""The texts for numbers that JSON lacks. The JSON form of protocol buffers uses the same."""


def parse_json(body: bytes | memoryview, what: str = "body") -> Any:
    """Parse JSON, in which NaN, Infinity and -Infinity are allowed. Raises InvalidInput.

    An object must not have a key twice, because parsers do not agree on which of the two counts.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        content = bytes(body)
        if b"NaN" in content or b"Infinity" in content:
            try:
                text = content.decode()
                value = json.loads(text, object_pairs_hook=functools.partial(_collect, what))
                if b"\\u" in content:  # raises for an unpaired surrogate, as orjson does
                    json.dumps(value, ensure_ascii=False).encode()
                return value
            except (ValueError, RecursionError):
                pass  # orjson's error is the better one
        raise InvalidInput(f"{what}: expected JSON, got {error}") from None
    _refuse_keys_twice(bytes(body), value, what)
    return value


def _collect(what: str, members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members. Raises InvalidInput if it has a key twice."""
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise InvalidInput(f"{what}: expected each key of an object once, got {name!r:.60} twice")
        found[name] = value
    return found


def _refuse_keys_twice(text: bytes, value: Any, what: str) -> None:
    """Raises InvalidInput if an object in the text has a key twice. The parser has kept only the last of them.

    The colon of each member follows a quote or white space. If there are as many such colons as members, no member was
    dropped. Counting them is fast. If the numbers differ, for example because strings contain colons, the text is
    parsed again, slowly.
    """
    members = _count_members(value)
    if text.count(b":") == members:
        return
    content = np.frombuffer(text, np.uint8)
    if _IS_BEFORE_COLON[content[np.flatnonzero(content == _COLON) - 1]].sum() == members:
        return
    try:  # the values do not matter
        hook = functools.partial(_collect, what)
        json.loads(text.decode(), object_pairs_hook=hook, parse_int=str, parse_float=str)
    except RecursionError:
        raise InvalidInput(f"{what}: expected at most {MAX_NESTING} nested values, got more") from None


def _count_members(value: Any) -> int:
    """The number of members, not counting arrays whose first element is not an object."""
    count = 0
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            count += len(found)
            waiting += found.values()
        elif isinstance(found, list) and found and isinstance(found[0], dict):
            waiting += found
    return count


def render_json(value: Any) -> bytes:
    """Render a value without NaN and infinities; NumPy arrays become lists."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def type_name(value: object) -> str:
    """The name of a value's type in JSON."""
    return _NAMES.get(type(value), "null" if value is None else type(value).__name__)


def read_optional(item: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object ``name`` of ``item`` without null members; empty if it is absent or null. Raises InvalidInput.

    Many programs send members that they do not use as null.
    """
    value = item.get(name)
    return {} if value is None else without_nulls(expect(value, dict, where))


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are not null."""
    if None not in fields.values():
        return fields
    return {name: value for name, value in fields.items() if value is not None}


def expect(value: Any, kind: type[T], where: str) -> T:
    """The value. Raises InvalidInput, which names ``where``, if it has another type."""
    if not isinstance(value, kind):
        raise InvalidInput(f"{where}: expected {_NAMES[kind]}, got {type_name(value)}")
    return value


def refuse_unknown(item: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Raises InvalidInput for a field that is not in ``names``."""
    for name in item:
        if name not in names:
            raise InvalidInput(f"{where}: unknown field {name!r:.60}, expected {', '.join(names)}")


def render_numbers(array: np.ndarray) -> bytes:
    """Nested numbers; NaN and infinities become texts."""
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    # In an array of floats orjson writes null for numbers that are not finite, and for nothing else.
    if b"null" not in text:
        return text
    words = [f'"{WORDS_OF_NUMBERS[str(value)]}"'.encode() for value in array[~np.isfinite(array)]]
    return b"".join(itertools.chain(*itertools.zip_longest(text.split(b"null"), words, fillvalue=b"")))


def numbers_of(text: bytes, datatype: Datatype) -> np.ndarray:
    """Parse a flat JSON array of numbers. Raises InvalidInput, which does not say where.

    NaN, infinities and integers of more than 64 bits are refused.
    """
    if datatype.kind not in _RAW:
        raise InvalidInput(f"expected numbers, not {datatype.name}")
    kind, dtype = _RAW[datatype.kind]
    parser = getattr(_kept, "parser", None) if len(text) <= _KEPT_PARSER_BYTES else simdjson.Parser()
    if parser is None:
        parser = _kept.parser = simdjson.Parser()
    try:
        found = parser.parse(text)
        if not isinstance(found, simdjson.Array):
            raise TypeError("no array")
        numbers: Any = found  # the library declares a wrong type
        raw = np.frombuffer(numbers.as_buffer(of_type=kind), dtype)
    except (ValueError, TypeError, RuntimeError) as error:  # errors of the parser
        raise InvalidInput(f"expected an array of {datatype.name}, got something else: {error}") from None
    return _converted(raw, datatype, "data")


def array_of(data: Any, datatype: Datatype, what: str, booleans: bool = True) -> np.ndarray:
    """Turn nested lists into an array of ``datatype`` and of their shape. Raises InvalidInput, which names ``what``.

    Lists may be nested ``MAX_NESTING`` deep. If that is more than an array may have axes, the outer levels are joined.
    ``booleans`` False: the caller knows that there are none, so they are not searched for.
    """
    try:
        return _array_of(_flatten(data, what), datatype, what, booleans)
    except RecursionError:
        raise InvalidInput(f"{what}: expected at most {MAX_NESTING} nested arrays, got more") from None


def _flatten(data: Any, what: str) -> Any:
    """Nested lists, of which outer levels are joined if there are more than an array may have axes."""
    depth = 0
    first = data
    while isinstance(first, list):
        depth += 1
        first = first[0] if first else None
    if depth > MAX_NESTING:
        raise InvalidInput(f"{what}: expected at most {MAX_NESTING} nested arrays, got more")
    for _ in range(depth - MAX_AXES):
        if not all(isinstance(item, list) and len(item) == len(data[0]) for item in data):
            raise InvalidInput(f"{what}: expected arrays of equal length, got a ragged nesting")
        data = list(itertools.chain.from_iterable(data))
    return data


def _array_of(data: Any, datatype: Datatype, what: str, booleans: bool) -> np.ndarray:
    if datatype.name == "BYTES":
        return _texts(data, what)
    try:
        raw = np.array(data)
        if datatype.is_float and raw.dtype.kind in "UO":
            data = _read_words(data)
            raw = np.array(data)
    except ValueError:
        raise InvalidInput(f"{what}: expected arrays of equal length, got a ragged nesting") from None
    if datatype.kind == "u" and raw.dtype.kind == "f" and all(type(leaf) is int for leaf in _leaves(data)):
        raw = np.array(data, dtype=object)  # beside numbers above 2^63 NumPy would round small ones
    elif raw.size and raw.dtype.kind not in _KINDS[datatype.kind]:
        raise InvalidInput(f"{what}: expected {datatype.name}, got {_first_wrong(data, datatype)}")
    if booleans and raw.dtype.kind in "iuf" and _has_boolean(data):
        raise InvalidInput(f"{what}: expected {datatype.name}, got a boolean")
    return _converted(raw, datatype, what)


def _converted(raw: np.ndarray, datatype: Datatype, what: str) -> np.ndarray:
    """Convert numbers from JSON to a datatype. Raises InvalidInput if it cannot hold them."""
    if datatype.kind in "iu" and raw.size:
        limits = np.iinfo(datatype.dtype)
        low, high = int(raw.min()), int(raw.max())
        if low < limits.min or high > limits.max:
            wrong = low if low < limits.min else high
            raise InvalidInput(f"{what}: expected {datatype.name}, {limits.min} to {limits.max}, got {wrong}")
    try:
        with np.errstate(over="raise"):
            array = raw.astype(datatype.dtype)
        if datatype.name == "BF16" and (np.isinf(array) != np.isinf(raw)).any():  # converting to BF16 never raises
            raise FloatingPointError
    except FloatingPointError:
        largest = np.abs(raw[np.isfinite(raw)]).max()
        raise InvalidInput(f"{what}: expected {datatype.name}, got {largest:g}, which is too large for it") from None
    return array


def _read_words(data: Any) -> Any:
    """The data, in which texts that stand for numbers are replaced by these."""
    if isinstance(data, list):
        return [_read_words(item) for item in data]
    return _WORDS.get(data, data) if isinstance(data, str) else data


def _leaves(data: Any) -> Iterable[Any]:
    if isinstance(data, list):
        for item in data:
            yield from _leaves(item)
    else:
        yield data


def _has_boolean(data: Any) -> bool:
    # NumPy would turn booleans among numbers into 0 and 1. Only the innermost lists are searched, in C code.
    if not isinstance(data, list):
        return isinstance(data, bool)
    if data and isinstance(data[0], list):
        return any(map(_has_boolean, data))
    return bool in set(map(type, data))


def _first_wrong(data: Any, datatype: Datatype) -> str:
    wanted: tuple[type, ...] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[datatype.kind]
    for leaf in _leaves(data):
        if not isinstance(leaf, wanted) or (isinstance(leaf, bool) and datatype.kind != "b"):
            return f"{leaf!r:.40}" if isinstance(leaf, str | float) else type_name(leaf)
    return "numbers out of range"


def _texts(data: Any, what: str) -> np.ndarray:
    for leaf in _leaves(data):
        if not isinstance(leaf, str):
            raise InvalidInput(f"{what}: expected BYTES as strings, got {type_name(leaf)}")
    array = np.array(data, dtype=object)
    texts = array.ravel().tolist()
    if not all(isinstance(element, str) for element in texts):  # lists of different lengths stay lists
        raise InvalidInput(f"{what}: expected arrays of equal length, got a ragged nesting")
    return np.array(read_texts(texts), dtype=object).reshape(array.shape)
