"""JSON bytes to Python and back."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.protocol.json import parse_json, parse_object, render_json, type_name


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
