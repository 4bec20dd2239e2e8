"""Reads and writes large JSON in pieces, in a thread. A parser holds the interpreter until it is done, so that other
threads only run between the pieces. For this, the file must not be compiled.

A text is cut at commas. Each piece is completed to valid JSON by adding the brackets that are open at its ends. The
values are then joined along these brackets:

    {"a": [1, 2 | 3], "b": 4}   ->   {"a": [1, 2]}  and  {"…": [3], "b": 4}
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import orjson

from model_store.datatypes import Datatype
from service.errors import BodyTooLarge, InvalidInput, ServiceError
from service.protocol.json import MAX_NESTING, array_of, numbers_of, parse_json, render_numbers, type_name

T = TypeVar("T")
LARGE_BYTES = 64 << 10
"""Longer texts are read in a thread. One of this size takes 5 ms with nested numbers, 0.3 ms with flat ones."""
PIECE_BYTES = 128 << 10
"""A piece of this size is parsed in 1 to 5 ms."""
PIECE_NUMBERS = 16 << 10
"""This many numbers are converted to an array or a text in 1 to 2 ms."""
MOST_ARRAYS, MOST_OBJECTS = 4 << 20, 1 << 20
"""The limits of one text: an array takes about 100 bytes, an object 300, so a body of 64 MiB could take gigabytes."""
_MOST_AXES = 30
"""Deeper nestings are converted in one piece."""
_MORE_NESTING = 28
"""The levels that a request may have around its arrays, such as its object and its inputs."""
_MEMBER = os.urandom(8).hex()
"""The name of a member whose value a piece continues. It is random, so no request contains it."""
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_of_thread = threading.local()
"""``parsed`` has the large values that the work of this thread has parsed."""
_QUOTE, _BACKSLASH = ord('"'), b"\\"
_OPENING = 2
"""The bit that is set in the codes of opening brackets and not in those of closing ones."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CLOSING = bytes.maketrans(b"[{", b"]}")


def parse_body(body: bytes | memoryview) -> Any:
    """As ``parse_json``, for a body of any size. Raises InvalidInput."""
    return parse_json(body) if len(body) <= LARGE_BYTES else parse_large(bytes(body))


def parse_object(body: bytes | memoryview) -> dict[str, Any]:
    """Parse a JSON object. Raises InvalidInput."""
    value = parse_body(body)
    if not isinstance(value, dict):
        raise InvalidInput(f"body: expected a JSON object, got {type_name(value)}")
    return value


def parse_large(text: bytes) -> Any:
    """As ``parse_json``. Raises InvalidInput; BodyTooLarge if it would take many times its size in memory."""
    if text.count(b"[") > MOST_ARRAYS or text.count(b"{") > MOST_OBJECTS:
        expected = f"at most {MOST_ARRAYS} arrays and {MOST_OBJECTS} objects in JSON"
        raise BodyTooLarge(f"body: expected {expected}, got more: send tensors in binary form, or flat")
    value: Any = None
    begin, opened = 0, b""
    parsed = getattr(_of_thread, "parsed", None)
    for end, brackets in [*_find_cuts(text), (len(text), b"")]:
        piece = parse_json(b"".join([_open(opened), text[begin:end], _close(brackets)]))
        if not begin:
            value = piece
            if parsed is not None:
                parsed.append(value)
        elif not _join(value, piece, opened):
            raise InvalidInput(f"body: expected JSON, got a comma without a value at byte {begin - 1}")
        begin, opened = end + 1, brackets
    return value


def _open(brackets: bytes) -> bytes:
    """The text to put before a piece. All objects but the innermost continue the value of a member."""
    return brackets[:-1].replace(b"{", b'{"%b":' % _MEMBER.encode()) + brackets[-1:]


def _close(brackets: bytes) -> bytes:
    return brackets[::-1].translate(_CLOSING)


def _join(value: Any, piece: Any, brackets: bytes) -> bool:
    """Append a piece to the value before it. ``brackets`` are open between them. False if a value lacks at the cut.

    Raises InvalidInput if an object has a key in both.
    """
    levels: list[tuple[Any, Any]] = []
    for bracket in brackets:
        if levels:
            value = value[-1] if isinstance(value, list) else value[next(reversed(value))]
            piece = piece[0] if isinstance(piece, list) else piece.get(_MEMBER)
        kind = dict if bracket == ord("{") else list
        if not value or not piece or type(value) is not kind or type(piece) is not kind:
            return False
        levels.append((value, piece))
    whole, rest = levels.pop()
    whole.extend(rest) if isinstance(whole, list) else _add_members(whole, rest)
    for whole, rest in reversed(levels):
        if isinstance(whole, list):
            whole.extend(rest[1:])
        else:
            del rest[_MEMBER]
            _add_members(whole, rest)
    return True


def _add_members(whole: dict[str, Any], rest: dict[str, Any]) -> None:
    if not whole.keys().isdisjoint(rest.keys()):
        name = next(name for name in rest if name in whole)
        raise InvalidInput(f"body: expected each key of an object once, got {name!r:.60} twice")
    whole.update(rest)


def _find_cuts(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The last comma outside strings in each window of the text, and the brackets that are open there."""
    opened = b""
    in_text = escaped = False
    for begin in range(0, len(text) - PIECE_BYTES, PIECE_BYTES):
        window = text[begin : begin + PIECE_BYTES]
        if escaped:
            window = b"_" + window[1:]
        if _BACKSLASH in window:
            window = _ESCAPED.sub(b"__", window)
        escaped = window.endswith(_BACKSLASH)
        if in_text or b'"' in window:
            codes = np.frombuffer(window, np.uint8)
            inside = np.logical_xor(np.cumsum(codes == _QUOTE) & 1, in_text)
            window = np.where(inside, _QUOTE, codes).tobytes()
            in_text = bool(inside[-1])
        cut = window.rfind(b",")
        if cut >= 0:
            opened = _follow(opened, window[:cut])
            if opened:
                yield begin + cut, opened
        opened = _follow(opened, window[cut + 1 :])


def _follow(opened: bytes, window: bytes) -> bytes:
    """The brackets that are open after the next window of the text."""
    brackets = np.frombuffer(window.translate(None, _NO_BRACKETS), np.uint8)
    if not brackets.size:
        return opened
    opens = (brackets & _OPENING).astype(bool)
    depths = np.cumsum(np.where(opens, 1, -1))
    lowest = min(0, int(depths.min()))
    if len(opened) + lowest < 0:
        raise InvalidInput("body: expected JSON, got a bracket that closes nothing")
    if len(opened) + int(depths.max()) > MAX_NESTING + _MORE_NESTING:
        raise InvalidInput(f"body: expected JSON of at most {MAX_NESTING} nested arrays, got more")
    levels = range(lowest + 1, int(depths[-1]) + 1)
    last = [int(np.flatnonzero((depths == level) & opens)[-1]) for level in levels]
    return opened[: len(opened) + lowest] + brackets[last].tobytes()


def numbers_of_large(text: bytes, datatype: Datatype) -> np.ndarray:
    """As ``numbers_of``. Raises InvalidInput, which does not say where."""
    parts = []
    begin, end = 1, len(text) - 1
    while begin <= end:
        comma = text.find(b",", begin + PIECE_BYTES, end)
        cut = comma if comma >= 0 else end
        part = numbers_of(b"[%b]" % text[begin:cut], datatype)
        if not part.size:
            raise InvalidInput("expected a number beside each comma")
        parts.append(part)
        begin = cut + 1
    return np.concatenate(parts)


def array_of_large(data: Any, datatype: Datatype, what: str, booleans: bool = True) -> np.ndarray:
    """As ``array_of``. Raises InvalidInput, which names ``what``."""
    count = count_numbers(data)
    if count <= PIECE_NUMBERS:
        return array_of(data, datatype, what, booleans)
    row = count // len(data)
    if row > PIECE_NUMBERS:
        parts = [array_of_large(item, datatype, what, booleans)[None] for item in data]
    else:
        step = max(1, PIECE_NUMBERS // row)
        parts = [array_of(data[at : at + step], datatype, what, booleans) for at in range(0, len(data), step)]
    if len({part.shape[1:] for part in parts}) > 1:
        raise InvalidInput(f"{what}: expected arrays of equal length, got a ragged nesting")
    return np.concatenate(parts)


def count_numbers(data: Any) -> int:
    """The number of elements in nested lists, if all lists of a level are as long as the first."""
    count = 1
    for _ in range(_MOST_AXES):
        if not isinstance(data, list) or not data:
            break
        count *= len(data)
        data = data[0]
    return count


def render_large(array: np.ndarray) -> orjson.Fragment:
    """A large array as nested numbers; NaN and infinities become texts."""
    return orjson.Fragment(b"".join(_render(array)))


def _render(array: np.ndarray) -> Iterator[bytes]:
    if array.size <= PIECE_NUMBERS:
        yield render_numbers(array)
        return
    row = array.size // len(array)
    step = max(1, PIECE_NUMBERS // row)
    for at in range(0, len(array), step):
        yield b"," if at else b"["
        if step == 1:
            yield from _render(array[at])
        else:
            yield render_numbers(array[at : at + step])[1:-1]
    yield b"]"


def without_traceback(work: Callable[[], T]) -> T:
    """Call ``work``. After an error, free the values that it has parsed here, not on the event loop.

    So errors lose their traceback, which would keep these values.
    """
    parsed: list[Any] = []
    _of_thread.parsed = parsed
    try:
        return work()
    except Exception as error:
        release_large(parsed)
        if isinstance(error, ServiceError):
            raise error.with_traceback(None) from None
        raise
    finally:
        _of_thread.parsed = None


def release_large(value: Any) -> None:
    """Free long lists and objects in pieces: freeing millions of values at once takes as long as making them."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            while len(found) > PIECE_NUMBERS:
                waiting += _nested(found.popitem()[1] for _ in range(PIECE_NUMBERS))
            waiting += _nested(found.values())
        elif isinstance(found, list):
            while found:
                piece = found[-PIECE_NUMBERS:]
                del found[-PIECE_NUMBERS:]
                waiting += _nested(piece)


def _nested(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, list | dict)]
