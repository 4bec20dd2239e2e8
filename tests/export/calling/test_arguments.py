"""Which argument of a function each input becomes: by name where a parameter has the name."""

import inspect

import pytest

from export import SpecError
from export.calling.arguments import bind


def plain(x, mask=None, scale=1):
    return {"x": x, "mask": mask, "scale": scale}


def keyword_only(x, *, scale):
    return {"x": x, "scale": scale}


def positional_only(x, /, mask=None):
    return {"x": x, "mask": mask}


def rest(x, *others):
    return {"x": x, "others": others}


def keywords(**batch):
    return batch


def anything(*args, **kwargs):
    return {"args": args, **kwargs}


def pass_to(function, given):
    [binding, *_] = bind("m", inspect.signature(function), given)
    return function(*binding.positional, **binding.keyword)


@pytest.mark.parametrize(
    ("function", "given", "complaint"),
    [
        (
            plain,
            {"x": 1, "msk": 2},
            r"\(x, mask=None, scale=1\), inputs gives \(x, msk\): forward has no parameter msk",
        ),
        (plain, {"mask": 2}, "x has no default and is not given"),
        (plain, {"a": 1, "b": 2, "c": 3, "d": 4}, "there are more inputs than parameters"),
        (keyword_only, {"x": 1}, r"\(x, scale by keyword only\), inputs gives \(x\): scale has no default"),
        (keyword_only, {"a": 1, "b": 2}, "there are more inputs than parameters"),
        (keyword_only, {"a": 1}, "nothing is left for scale"),
    ],
)
def test_names_that_do_not_fit_are_refused_with_both_sides(function, given, complaint):
    """The message names what forward takes, what the spec gives, and a form that works."""
    with pytest.raises(SpecError, match=f"^m: inputs: forward .*{complaint}"):
        bind("m", inspect.signature(function), given)


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (plain, {"mask": 2, "x": 1}, {"x": 1, "mask": 2, "scale": 1}),
        (plain, {"scale": 3, "x": 1}, {"x": 1, "mask": None, "scale": 3}),
        (plain, {"a": 1, "b": 2}, {"x": 1, "mask": 2, "scale": 1}),
        (keyword_only, {"scale": 3, "x": 1}, {"x": 1, "scale": 3}),
        (positional_only, {"image": 1, "mask": 2}, {"x": 1, "mask": 2}),
        (rest, {"a": 2, "x": 1, "b": 3}, {"x": 1, "others": (2, 3)}),
        (rest, {"others": [2, 3], "x": 1}, {"x": 1, "others": (2, 3)}),
        (keywords, {"u": 1, "v": 2}, {"u": 1, "v": 2}),
        (keywords, {"batch": {"u": 1, "v": 2}}, {"u": 1, "v": 2}),
        (anything, {"args": [1, 2], "kwargs": {"z": 3}}, {"args": (1, 2), "z": 3}),
        (anything, {"u": 1, "v": 2}, {"args": (), "u": 1, "v": 2}),
    ],
)
def test_inputs_reach_the_parameters_of_their_names(function, given, expected):
    """Inputs may come in any order, leave parameters out, be keyword-only, or go through ``*args`` and ``**kwargs``."""
    assert pass_to(function, given) == expected


def test_order_is_used_only_where_no_name_is_known_and_is_noted():
    """torch's own modules call their argument ``input``: one input is passed without a note, two are noted."""
    [alone] = bind("m", inspect.signature(lambda input: input), {"x": 1})
    assert (alone.positional, alone.note) == ((1,), None)
    [two] = bind("m", inspect.signature(plain), {"a": 1, "b": 2})
    assert two.note == "no input is named like a parameter of forward, so they are passed in order: a as x, b as mask"


def test_function_of_anything_is_tried_by_name_first():
    """``(*args, **kwargs)`` gives no names, so the example is tried by name and then by position."""
    by_name, in_order = bind("m", inspect.signature(anything), {"u": 1, "v": 2})
    assert (by_name.positional, dict(by_name.keyword), by_name.loose) == ((), {"u": 1, "v": 2}, ("u", "v"))
    assert (in_order.positional, dict(in_order.keyword)) == ((1, 2), {})
