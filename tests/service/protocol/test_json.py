"""JSON bytes to Python and back."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.protocol.json import parse_json, render_json, type_name
from service.protocol.large_json import parse_object


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,]", b"\xff", b"nan", b"[NaN", b'{"a": NaN,}', b"[Infinit]", b"1 2", b"[" * 5000 + b"NaN"]
)
def test_malformed_json_is_refused(body: bytes) -> None:
    """What is not JSON is an InvalidInput that names the body, with or without NaN in it, however deep."""
    with pytest.raises(InvalidInput, match=r"^body: expected JSON, got "):
        parse_json(body)


def test_half_a_character_is_refused_beside_nan() -> None:
    """A lone surrogate is no text: it is refused also by the parser that understands NaN."""
    with pytest.raises(InvalidInput):
        parse_json(b'["\\ud800", NaN]')


@pytest.mark.parametrize(
    ("body", "got"),
    [(b"[]", "an array"), (b"1", "a number"), (b'"a"', "a string"), (b"null", "null"), (b"true", "a boolean")],
)
def test_body_that_is_no_object_is_refused(body: bytes, got: str) -> None:
    """Where an object is needed, anything else is refused by what it is called in JSON."""
    with pytest.raises(InvalidInput, match=f"^body: expected a JSON object, got {got}$"):
        parse_object(body)


def test_nan_and_infinities_are_understood() -> None:
    """The literals that JSON lacks and its users send are read as the numbers they mean."""
    nan, high, low = parse_json(memoryview(b"[NaN, Infinity, -Infinity]"))
    assert math.isnan(nan)
    assert (high, low) == (math.inf, -math.inf)


def test_nan_in_a_text_is_a_text() -> None:
    """The letters NaN in a string do not become a number."""
    assert parse_object(b'{"a": "NaN", "b": "Infinity"}') == {"a": "NaN", "b": "Infinity"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 1}',
        b'{"a":1,"a" :2}',
        b'{"a":1,"a"\n\t:2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a": {"b": ":", "b": 2}}',
        b'{"a": [1, {"b": 1, "b": 2}]}',
        b'{"a": [[{"b": 1, "b": 2}]]}',
        b'[{"a": 1}, {"a": 1, "a": ": "}]',
        b'{"a": NaN, "a": 1}',
        b'{"": 1, "": 1}',
    ],
)
def test_key_that_an_object_has_twice_is_refused(body: bytes) -> None:
    """Parsers do not agree on which of the two counts, so neither does: however deep, spaced or escaped it is."""
    with pytest.raises(InvalidInput, match=r"^body: expected each key of an object once, got .* twice$"):
        parse_json(body)


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]},
        {"a": ":", ":": '": ', "c": ' : "', 'd"': ["\\", '\\":', '":']},
        [[{"a": ": "}], [{"a": 1}]],
        [1, {"a": {"b": []}}],
        {"a": "x : y", "n": 10**18, "f": 0.5},
    ],
)
def test_same_key_of_several_objects_and_colons_in_texts_are_taken(value: Any) -> None:
    """Only one object's own keys count, whatever its texts hold."""
    for separators in ((",", ":"), (", ", " : ")):
        assert parse_json(json.dumps(value, separators=separators).encode()) == value


def test_deep_nesting_beside_colons_in_texts_is_refused() -> None:
    """What cannot be looked through for such keys without end is refused, not a fault."""
    with pytest.raises(InvalidInput, match="nested"):
        parse_json(b'{"a":' * 1000 + b'" :"' + b"}" * 1000)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50)
@given(value=json_values)
def test_rendered_value_is_parsed_again(value: Any) -> None:
    """What is rendered is read back as itself, by our parser and by Python's."""
    assert parse_json(render_json(value)) == value
    assert json.loads(render_json(value)) == value


@settings(deadline=None, max_examples=50)
@given(value=json_values)
def test_every_value_is_called_something_from_json(value: Any) -> None:
    """Texts for callers speak of JSON, not of Python's types."""
    assert type_name(value) in {"null", "a boolean", "a number", "a string", "an array", "an object"}
