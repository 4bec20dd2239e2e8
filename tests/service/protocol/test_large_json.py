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
    """Text cut anywhere has the same value, and text with a fault is refused in pieces exactly if it is at once."""
    text = json.dumps(value, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "PIECE_BYTES", size)
        assert large_json.parse_large(text) == value
        faulty = text[:at] + fault + text[at:]
        assert outcome(large_json.parse_large, faulty) == outcome(parse_json, faulty)


@given(OBJECTS, SIZES)
def test_key_twice_is_refused_wherever_a_text_is_cut(text: str, size: int) -> None:
    """A key twice is refused at each level, also when its object goes on in the next piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "PIECE_BYTES", size)
        assert outcome(large_json.parse_large, text.encode()) == outcome(parse_json, text.encode())


def test_no_piece_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large request is parsed in short pieces, so that waiting threads get the interpreter."""
    data = [[0.5] * 100] * 2000
    text = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2000, 100], "data": data}]}).encode()
    parsed: list[int] = []

    def parse(piece: bytes, what: str = "body") -> Any:
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
        *[[0.5] * 40_000, [[1, 2]] * 40_000, [[0.5] * 40_000], [1] * 40_000 + [0.5]],
        [[[0.5] * 200] * 200, [["NaN"] * 200] * 200],
    ],
)
def test_nested_lists_in_pieces_are_the_same_array(data: Any) -> None:
    """Nested lists read in pieces are the same array, whichever axis is long."""
    np.testing.assert_array_equal(large_json.array_of_large(data, FP32, "x"), array_of(data, FP32, "x"), strict=True)


@pytest.mark.parametrize(
    "data",
    [[[1, 2]] * 40_000 + [[1]], [1] * 40_000 + [True], [1] * 40_000 + ["a"], [1] * 40_000 + [[1]], [2**70] * 40_000],
)
def test_faults_of_nested_lists_are_found_in_pieces(data: Any) -> None:
    """Ragged lists, other types and numbers that are too large are refused, also at the very end."""
    with pytest.raises(InvalidInput, match=r"^x: expected"):
        large_json.array_of_large(data, INT64, "x")


@pytest.mark.parametrize("text", [b"[1,2,,3]", b"[,1,2]", b"[1,2,]", b"[1 2]", b"[]"])
def test_flat_numbers_in_pieces_are_refused_like_at_once(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma at which a text is cut needs a number on both sides."""
    monkeypatch.setattr(large_json, "PIECE_BYTES", 1)
    with pytest.raises(InvalidInput):
        large_json.numbers_of_large(text, FP32)


def test_flat_numbers_in_pieces_are_the_same_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat numbers read in pieces are the same array."""
    text = json.dumps(list(range(500))).encode()
    monkeypatch.setattr(large_json, "PIECE_BYTES", 7)
    np.testing.assert_array_equal(large_json.numbers_of_large(text, INT64), numbers_of(text, INT64))


@pytest.mark.parametrize("shape", [(50_000,), (3, 30_000), (40_000, 2), (2, 2, 20_000)])
def test_large_arrays_are_written_in_their_nesting(shape: tuple[int, ...]) -> None:
    """A large array that is written and read again is the same array."""
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    array.flat[7] = math.inf
    values = json.loads(render_json(large_json.render_large(array)))
    np.testing.assert_array_equal(array_of(values, FP32, "x"), array)


def test_long_arrays_are_let_go_of() -> None:
    """Long lists are emptied down to the innermost one."""
    value = {"a": [[1] * 40_000, {"b": [2] * 5}]}
    inner = value["a"][0]
    large_json.release_large(value)
    assert (value["a"], inner) == ([], [])
    last: list[int] = [1]
    members = {"k": last, **{str(i): i for i in range(40_000)}}
    large_json.release_large(members)
    assert last == []
    assert len(members) <= large_json.PIECE_NUMBERS


def test_what_was_parsed_is_let_go_of_where_it_is_refused() -> None:
    """A refused request is freed in the thread that parsed it, not on the event loop."""
    kept: list[Any] = []

    def refuse() -> None:
        kept.append(large_json.parse_large(b"[" + b",".join([b"[]"] * 100_000) + b"]"))
        raise InvalidInput("too many")

    with pytest.raises(InvalidInput, match="too many"):
        large_json.without_traceback(refuse)
    assert kept == [[]]
    cut = b"[" + b",".join([b"[]"] * 100_000)
    with pytest.raises(InvalidInput, match="expected JSON"):
        large_json.without_traceback(lambda: large_json.parse_large(cut))


@pytest.mark.parametrize("unit", [b"[]", b"{}"])
def test_text_of_too_many_arrays_is_refused_before_it_is_parsed(unit: bytes) -> None:
    """A text of too many arrays or objects is refused before parsing, because each takes 100 bytes or more."""
    most = large_json.MOST_ARRAYS if unit == b"[]" else large_json.MOST_OBJECTS
    with pytest.raises(BodyTooLarge, match=f"at most {large_json.MOST_ARRAYS} arrays and {large_json.MOST_OBJECTS}"):
        large_json.parse_large(b"[" + (unit + b",") * most + unit + b"]")
