"""What a model returns, matched with the names of a spec."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from export import SpecError

torch = pytest.importorskip("torch")
A, B, C = (torch.full((2,), value) for value in (1.0, 2.0, 3.0))


@dataclass
class Record:
    logits: Any
    hidden: Any = None
    kind: str = "record"


class Pair(NamedTuple):
    values: Any
    indices: Any


def order(names, returned):
    from export.calling.outputs import order_outputs

    return [float(tensor[0]) for tensor in order_outputs("m", names, returned)]


@pytest.mark.parametrize(
    ("names", "returned", "complaint"),
    [
        (("a", "c"), {"a": A, "b": B}, "forward returns a, b, outputs names a, c: it has no key c"),
        (("y",), {"a": A}, "forward returns a, outputs names y: it has no key y"),
        (("a",), (A, B), "returns 2 tensors, but outputs has 1 names"),
        (("a", "b"), A, "returns 1 tensors, but outputs has 2 names"),
        (("a",), (C, {"a": A}), "forward returns 0, 1.a, outputs names a: use the keys that forward returns"),
        (("boxes",), [{"boxes": A}, {"boxes": B}], "'boxes' may be 0.boxes or 1.boxes: give all its keys"),
        (("values", "places"), Pair(A, B), "forward returns values, indices, outputs names values, places"),
    ],
)
def test_names_that_do_not_fit_are_refused_with_both_sides(names, returned, complaint):
    """The message shows what came and what was named."""
    with pytest.raises(SpecError, match=complaint):
        order(names, returned)


@pytest.mark.parametrize(
    ("names", "returned", "expected"),
    [
        (("b", "a"), {"a": A, "b": B}, [2, 1]),
        (("b",), {"a": A, "b": B, "none": None, "loss": 0.5}, [2]),
        (("pooled", "x.last"), {"x": {"last": A, "pooled": B}}, [2, 1]),
        (("1.boxes", "0.boxes"), [{"boxes": A}, {"boxes": B}], [2, 1]),
        (("hidden.1", "logits"), Record(A, (B, C)), [3, 1]),
        (("indices", "values"), Pair(A, B), [2, 1]),
        (("first", "second"), Pair(A, B), [1, 2]),
        (("y", "z"), (A, [None, B]), [1, 2]),
        (("b", "y"), (A, {"b": B}), [2, 1]),
        (("y", "again"), (A, A), [1, 1]),
    ],
)
def test_keys_are_matched_by_name_and_the_rest_by_order(names, returned, expected):
    """Dictionaries, dataclasses and named tuples may be nested; None and numbers are not outputs."""
    assert order(names, returned) == expected
