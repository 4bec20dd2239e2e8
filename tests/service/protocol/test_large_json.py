"""Large JSON in pieces: the same values, arrays, texts and refusals as all at once."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.datatypes import DATATYPES
from service.errors import BodyTooLarge, InvalidInput
from service.protocol import large_json
from service.protocol.infer_request import parse_infer
from service.protocol.json import array_of, numbers_of, parse_json, render_json
from service.protocol.large_json import (
    MOST_ARRAYS,
    MOST_OBJECTS,
    array_of_large,
    numbers_of_large,
    parse_large,
    release_large,
    render_large,
    without_traceback,
)

FP32, INT64 = DATATYPES["FP32"], DATATYPES["INT64"]
TEXTS = st.text(alphabet='ab,[]{}"\\é \n', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)
SIZES = st.integers(1, 12)


def rendered(value: Any) -> str:
    """JSON, where an object is a tuple of its members, which may have a key twice."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(key)}: {rendered(member)}" for key, member in value) + "}"
    return "[" + ",".join(map(rendered, value)) + "]" if isinstance(value, list) else json.dumps(value)


OBJECTS = st.recursive(
    st.integers(0, 99),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=4).map(tuple)
    ),
    max_leaves=20,
).map(rendered)


def outcome(parse: Callable[[bytes], Any], text: bytes) -> Any:
    try:
        return json.dumps(parse(text))
    except InvalidInput:
        return InvalidInput


@given(VALUES, SIZES, st.integers(0, 200), st.sampled_from([b"", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b":"]))
def test_text_in_pieces_is_what_it_is_at_once(value: Any, size: int, at: int, fault: bytes) -> None:
    """Cut anywhere a text has the same value; and one with a fault in it is refused by both or by neither."""
    text = json.dumps(value, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "PIECE_BYTES", size)
        assert parse_large(text) == value
        faulty = text[:at] + fault + text[at:]
        assert outcome(parse_large, faulty) == outcome(parse_json, faulty)


@given(OBJECTS, SIZES)
def test_key_twice_is_refused_wherever_a_text_is_cut(text: str, size: int) -> None:
    """At each level, and also where a value goes on in the next piece; each key once is the value."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "PIECE_BYTES", size)
        assert outcome(parse_large, text.encode()) == outcome(parse_json, text.encode())


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": [1, 2, 3, 4], "b": 5, "a": 6}', "a"),
        ('{"a": 1, "b": [2, 3, 4], "c": 5, "b": [6, 7]}', "b"),
        ('{"x": [{"a": 1, "b": [2, 3], "a": [4, 5]}]}', "a"),
        ('{"x": {"y": {"a": 1, "b": 2, "c": 3, "a": 4}, "z": 5}}', "a"),
        ('{"x": {"y": 1, "z": 2}, "w": 3, "x": {"v": 4, "u": 5}}', "x"),
    ],
)
def test_key_twice_is_named(text: str, key: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of a short text."""
    monkeypatch.setattr(large_json, "PIECE_BYTES", size)
    with pytest.raises(InvalidInput, match=f"^body: expected each key of an object once, got '{key}' twice$"):
        parse_large(text.encode())


def test_no_piece_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the interpreter gets it after each of them, however a large request is nested."""
    data = [[0.5] * 100] * 2000
    text = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2000, 100], "data": data}]}).encode()
    parsed: list[int] = []

    def parse(piece: bytes, what: str) -> Any:
        parsed.append(len(piece))
        return parse_json(piece, what)

    monkeypatch.setattr(large_json, "parse_json", parse)
    header, inputs = parse_infer(text, None)
    assert inputs["x"].shape == (2000, 100)
    assert max(parsed) <= large_json.PIECE_BYTES + 200 < sum(parsed)
    assert header.inputs[0].data == []  # let go of in pieces too, before the event loop would have to


@pytest.mark.parametrize(
    "data",
    [
        [0.5] * 40_000,
        [[1, 2]] * 40_000,
        [[[0.5] * 200] * 200, [["NaN"] * 200] * 200],
        [[0.5] * 40_000],
        [1] * 40_000 + [0.5],
    ],
)
def test_nested_lists_in_pieces_are_the_same_array(data: Any) -> None:
    """Whichever axis is long."""
    found, expected = array_of_large(data, FP32, "x"), array_of(data, FP32, "x")
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "data",
    [[[1, 2]] * 40_000 + [[1]], [1] * 40_000 + [True], [1] * 40_000 + ["a"], [1] * 40_000 + [[1]], [2**70] * 40_000],
)
def test_faults_of_nested_lists_are_found_in_pieces(data: Any) -> None:
    """Ragged, of another type, or too large, at the very end of it too."""
    with pytest.raises(InvalidInput, match=r"^x: expected"):
        array_of_large(data, INT64, "x")


@pytest.mark.parametrize("text", [b"[1,2,,3]", b"[,1,2]", b"[1,2,]", b"[1 2]", b"[]"])
def test_flat_numbers_in_pieces_are_refused_like_at_once(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma at which a text is cut has a number on both sides."""
    monkeypatch.setattr(large_json, "PIECE_BYTES", 1)
    with pytest.raises(InvalidInput):
        numbers_of_large(text, FP32)


def test_flat_numbers_in_pieces_are_the_same_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number once, in its order."""
    text = json.dumps(list(range(500))).encode()
    monkeypatch.setattr(large_json, "PIECE_BYTES", 7)
    np.testing.assert_array_equal(numbers_of_large(text, INT64), numbers_of(text, INT64))


@pytest.mark.parametrize("shape", [(50_000,), (3, 30_000), (40_000, 2), (2, 2, 20_000)])
def test_large_arrays_are_written_in_their_nesting(shape: tuple[int, ...]) -> None:
    """What is read back is the array."""
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    array.flat[7] = math.inf
    values = json.loads(render_json(render_large(array)))
    np.testing.assert_array_equal(array_of(values, FP32, "x"), array)


def test_long_arrays_are_let_go_of() -> None:
    """Down to the innermost list."""
    value = {"a": [[1] * 40_000, {"b": [2] * 5}]}
    inner = value["a"][0]
    release_large(value)
    assert (value["a"], inner) == ([], [])
    last: list[int] = [1]
    members = {"k": last, **{str(i): i for i in range(40_000)}}
    release_large(members)
    assert last == []
    assert len(members) <= large_json.PIECE_NUMBERS


def test_what_was_parsed_is_let_go_of_where_it_is_refused() -> None:
    """In the thread: the event loop, which gets the error, would free millions of lists at once."""
    kept: list[Any] = []

    def refuse() -> None:
        kept.append(parse_large(b"[" + b",".join([b"[]"] * 100_000) + b"]"))
        raise InvalidInput("too many")

    with pytest.raises(InvalidInput, match="too many"):
        without_traceback(refuse)
    assert kept == [[]]
    cut = b"[" + b",".join([b"[]"] * 100_000)
    with pytest.raises(InvalidInput, match="expected JSON"):
        without_traceback(lambda: parse_large(cut))


@pytest.mark.parametrize("unit", [b"[]", b"{}"])
def test_text_of_too_many_arrays_is_refused_before_it_is_parsed(unit: bytes) -> None:
    """Each of them takes a hundred bytes or more, so a body within the limit of bytes would be gigabytes."""
    most = MOST_ARRAYS if unit == b"[]" else MOST_OBJECTS
    with pytest.raises(BodyTooLarge, match=f"expected at most {MOST_ARRAYS} arrays and {MOST_OBJECTS} objects"):
        parse_large(b"[" + (unit + b",") * most + unit + b"]")
