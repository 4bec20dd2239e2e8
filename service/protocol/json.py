"""JSON to Python and arrays and back, strictly, with NaN and infinities, which the fast parser does not take.

No text, null or boolean becomes a number on the way, but for the texts "NaN", "Infinity" and "-Infinity" among floats,
which JSON has no numbers for.

Flat arrays go from text to memory without a Python object for each number. Measured with 784 and 150,528 numbers of
float32 written in full, in µs: pysimdjson 13.5 and 3,100; orjson and NumPy 36 and 10,000; msgspec, told the types, and
NumPy 37 and 7,700; `numpy.fromstring`, which also takes what is not JSON, 225 and 44,000.
"""

import itertools
import json
import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from model_store.datatypes import Datatype
from service.errors import InvalidInput
from service.protocol.escape import read_texts

MAX_NESTING = 100
_MAX_AXES = 32
"""Of arrays in every NumPy that we run with; deeper data is flattened to it."""
_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""The kinds of NumPy array that JSON values may come out as, by the kind that is wanted."""
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_RAW: Mapping[str, tuple[Literal["i", "u", "d"], np.dtype]] = {
    "i": ("i", np.dtype(np.int64)),
    "u": ("u", np.dtype(np.uint64)),
    "f": ("d", np.dtype(np.float64)),
}
"""What the parser gives for each kind of datatype: its own name for it, and NumPy's."""
_COLON = ord(":")
_IS_BEFORE_COLON = np.isin(np.arange(256), list(b'" \t\n\r'))
"""What is behind the key of a member, by the value of the byte."""
_KEPT_PARSER_BYTES = 1 << 20
"""A parser keeps room for the longest text that it has seen, so longer ones get a parser of their own."""
_kept = threading.local()
"""``parser`` is that of this thread: one serves one text at a time."""
WORDS_OF_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""JSON has no such numbers, so they are texts, which every parser takes and most languages read as numbers, NumPy and
JavaScript among them; protocol buffers write the same in JSON."""


def parse_json(body: bytes | memoryview, what: str = "body") -> Any:
    """Parse JSON. The literals NaN, Infinity and -Infinity are understood. Raises InvalidInput, also for an object that
    has a key twice: parsers do not agree on which of the two counts."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        content = bytes(body)
        if b"NaN" in content or b"Infinity" in content:
            try:
                text = content.decode()
                value = json.loads(text, object_pairs_hook=_Members(what).collect)
                if b"\\u" in content:  # half of a surrogate pair is no character; the fast parser refuses it as well
                    json.dumps(value, ensure_ascii=False).encode()
                return value
            except (ValueError, RecursionError):
                pass  # the fast parser's complaint is the better one
        raise InvalidInput(f"{what}: expected JSON, got {error}") from None
    _refuse_keys_twice(bytes(body), value, what)
    return value


class _Members:
    """Makes objects of their members, of which ``what`` has each once."""

    def __init__(self, what: str) -> None:
        self._what = what

    def collect(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in members:
            if name in found:
                raise InvalidInput(f"{self._what}: expected each key of an object once, got {name!r:.60} twice")
            found[name] = value
        return found


def _refuse_keys_twice(text: bytes, value: Any, what: str) -> None:
    """Raises InvalidInput if an object in the text has a key twice, of which the parser has kept the last.

    Every member has a colon of its own, behind a quote or white space. If there are no more of these than members were
    kept, none was dropped, and to count takes little beside parsing. Where texts have such colons too, or members are
    where nobody looks for them, all is parsed again, member by member.
    """
    members = _count_members(value)
    if text.count(b":") == members:
        return
    content = np.frombuffer(text, np.uint8)
    if _IS_BEFORE_COLON[content[np.flatnonzero(content == _COLON) - 1]].sum() == members:
        return
    try:  # the values do not matter
        json.loads(text.decode(), object_pairs_hook=_Members(what).collect, parse_int=str, parse_float=str)
    except RecursionError:
        raise InvalidInput(f"{what}: expected at most {MAX_NESTING} nested values, got more") from None


def _count_members(value: Any) -> int:
    """Those of objects in objects, and of objects that are the elements of an array in one."""
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
    """Render what has no NaN or infinity in it; NumPy arrays become lists."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def type_name(value: object) -> str:
    """What a JSON value is called in JSON."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null" if value is None else type(value).__name__)


def read_optional(item: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object ``name`` of ``item`` without its members that are null; an empty one where it is absent or null.

    Programs that have a field for each member write those that they do not use as null. Raises InvalidInput.
    """
    value = item.get(name)
    return {} if value is None else without_nulls(expect_object(value, where))


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are not null."""
    if None not in fields.values():
        return fields
    return {name: value for name, value in fields.items() if value is not None}


def expect_object(value: Any, where: str) -> dict[str, Any]:
    """Raises InvalidInput for anything else, naming ``where``."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected an object, got {type_name(value)}")
    return value


def refuse_unknown(item: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Raises InvalidInput for a field that is none of ``names``."""
    for name in item:
        if name not in names:
            raise InvalidInput(f"{where}: unknown field {name!r:.60}, expected {', '.join(names)}")


def expect_boolean(value: Any, where: str) -> bool:
    """Raises InvalidInput for anything else, naming ``where``."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{where}: expected a boolean, got {type_name(value)}")
    return value


def render_numbers(array: np.ndarray) -> bytes:
    """Numbers in the nesting of their shape; NaN and infinities become texts."""
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    # The renderer writes null for what is not finite, and for nothing else in an array of floats.
    if b"null" not in text:
        return text
    words = [f'"{WORDS_OF_NUMBERS[str(value)]}"'.encode() for value in array[~np.isfinite(array)]]
    return b"".join(itertools.chain(*itertools.zip_longest(text.split(b"null"), words, fillvalue=b"")))


def numbers_of(text: bytes, datatype: Datatype) -> np.ndarray:
    """A flat JSON array of numbers to an array. Raises InvalidInput, without saying where.

    NaN and infinities, integers beyond 64 bits and types other than numbers are not taken.
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
        numbers: Any = found  # whose buffer is not the bytes that its stub says: compiled, that would be refused
        raw = np.frombuffer(numbers.as_buffer(of_type=kind), dtype)
    except (ValueError, TypeError, RuntimeError) as error:  # its words for what is no JSON, or does not fit
        raise InvalidInput(f"expected an array of {datatype.name}, got something else: {error}") from None
    return _converted(raw, datatype, "data")


def array_of(data: Any, datatype: Datatype, what: str, booleans: bool = True) -> np.ndarray:
    """Nested lists to an array of ``datatype``, in the shape of the nesting. Raises InvalidInput, naming ``what``.

    Lists may be nested ``MAX_NESTING`` deep; where that is more than the axes of an array, the outermost levels are
    taken together. ``booleans`` False: the caller knows that there is none among the values, which saves looking at
    each.
    """
    try:
        return _array_of(_flatten(data, what), datatype, what, booleans)
    except RecursionError:
        raise InvalidInput(f"{what}: expected at most {MAX_NESTING} nested arrays, got more") from None


def _flatten(data: Any, what: str) -> Any:
    """Nested lists with as many levels as an array may have axes."""
    depth = 0
    first = data
    while isinstance(first, list):
        depth += 1
        first = first[0] if first else None
    if depth > MAX_NESTING:
        raise InvalidInput(f"{what}: expected at most {MAX_NESTING} nested arrays, got more")
    for _ in range(depth - _MAX_AXES):
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
        raw = np.array(data, dtype=object)  # small numbers beside some above 2^63 would have been rounded
    elif raw.size and raw.dtype.kind not in _KINDS[datatype.kind]:
        raise InvalidInput(f"{what}: expected {datatype.name}, got {_first_wrong(data, datatype)}")
    if booleans and raw.dtype.kind in "iuf" and _has_boolean(data):
        raise InvalidInput(f"{what}: expected {datatype.name}, got a boolean")
    return _converted(raw, datatype, what)


def _converted(raw: np.ndarray, datatype: Datatype, what: str) -> np.ndarray:
    """Numbers as they came in JSON to a datatype that holds them. Raises InvalidInput where it does not."""
    if datatype.kind in "iu" and raw.size:
        limits = np.iinfo(datatype.dtype)
        low, high = int(raw.min()), int(raw.max())
        if low < limits.min or high > limits.max:
            wrong = low if low < limits.min else high
            raise InvalidInput(f"{what}: expected {datatype.name}, {limits.min} to {limits.max}, got {wrong}")
    try:
        with np.errstate(over="raise"):
            array = raw.astype(datatype.dtype)
        if datatype.name == "BF16" and (np.isinf(array) != np.isinf(raw)).any():  # whose conversion raises nothing
            raise FloatingPointError
    except FloatingPointError:
        largest = np.abs(raw[np.isfinite(raw)]).max()
        raise InvalidInput(f"{what}: expected {datatype.name}, got {largest:g}, which is too large for it") from None
    return array


def _read_words(data: Any) -> Any:
    """The same, with numbers in place of the texts that stand for them."""
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
    # Booleans among numbers would become 0 and 1. Only the innermost lists are looked into, at C speed.
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
