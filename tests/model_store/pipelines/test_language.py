"""Wires and conditions: the texts in a pipeline."""

from typing import Any

import numpy as np
import pytest

from model_store.pipelines.conditions import holds, parse_condition
from model_store.pipelines.wires import follow, parse_wire

VALUE = {
    "detections": [{"label": "cat", "score": 0.9}, {"label": "dog"}],
    "width": 3,
    "map": np.array([[1, 2], [3, 4]]),
}


@pytest.mark.parametrize(
    ("wire", "found"),
    [
        ("find", VALUE),
        ("find.width", 3),
        ("find.detections[1].label", "dog"),
        ("find.detections[].label", ["cat", "dog"]),
        ("find.detections[].score", [0.9, None]),
        ("find.detections[2].label", None),
        ("find.height", None),
        ("find.width.of", None),
        ("find.width[]", None),
        ("find.map[1][0]", 3),
        ("find.map[][1]", [2, 4]),
    ],
)
def test_wire_names_a_value(wire: str, found: Any):
    """It follows fields, positions and all elements; what is missing on the way is None."""
    parsed = parse_wire(wire)
    assert str(parsed) == wire
    got = follow(VALUE, parsed.path)
    assert got is VALUE if found is VALUE else got == found


@pytest.mark.parametrize(
    "wire", ["", "1st", "find.", "find..a", "find[", "find[-1]", "find[a]", "find label", ".find", "a b"]
)
def test_text_that_is_no_wire_is_refused(wire: str):
    """The message shows what a wire looks like."""
    with pytest.raises(ValueError, match="expected a wire such as"):
        parse_wire(wire)


CONDITIONS: dict[str, bool] = {
    "a.n > 2": True,
    "a.n>2": True,
    "a.n >= 3 and a.n <= 3": True,
    "a.n != 3": False,
    "a.n == 3e0": True,
    "a.n > -1": True,
    "a.t == 'cat'": True,
    'a.t == "dog"': False,
    "a.t != 'dog' and (a.n < 1 or a.b == true)": True,
    "a.n < 1 or a.n < 2 and a.b == true": False,
    "a.none > 2": False,
    "a.none != 2": False,
    "a.t > 2": False,
    "a.b == 1": False,
    "a-b.n == 3": True,
}


@pytest.mark.parametrize(("text", "expected"), CONDITIONS.items())
def test_condition_compares_values_with_constants(text: str, expected: bool):
    """``and`` binds closer than ``or``; what is missing or of another kind fulfils no comparison."""
    value = {"n": 3, "t": "cat", "b": True, "none": None}
    assert holds(parse_condition(text), lambda wire: follow(value, wire.path)) is expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected a wire, got the end"),
        ("a.n", "after a.n, got the end"),
        ("a.n >", "expected a number, a text in quotes"),
        ("a.n > 1 and", "expected a wire, got the end"),
        ("(a.n > 1", "expected ), got the end"),
        ("a.n > 1 b.n > 2", "expected and, or, or the end"),
        ("a.n > b.n", "expected a number, a text in quotes"),
        ("a.t > 'x'", "expected a number, or == or !="),
        ("a.b >= true", "expected a number, or == or !="),
        ("__import__('os')", "expected a wire"),
        ("a.n + 1 > 2", "got '+ 1 > 2'"),
        ("a.t == 'x", 'got "\'x"'),
        ("lambda: 1", "got ': 1'"),
        ("a.n > 1 " * 200, "at most 1000 characters"),
        ("(" * 450 + "a.n > 1" + ")" * 450, "expected parentheses at most 32 deep, got more"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, complaint: str):
    """Nothing but comparisons is read, and the message says where reading ended."""
    with pytest.raises(ValueError) as refused:
        parse_condition(text)
    assert complaint in str(refused.value)
