"""regress: rows in, numbers out."""

import functools
from typing import Any

import pytest

from service.errors import InvalidInput, ModelFailure
from service.tasks import regress
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.text import make_model

ROOT = make_model("float[batch,2] x => float[batch,2] y", "y = Sqrt(x)")
ask = functools.partial(driving.ask, regress)


def regressor(content: bytes = ROOT, **facts: Any) -> Driver:
    return make({"main": content}, task="regress", regression={"output": "y", **facts})


def test_numbers_that_are_none_are_a_failure_of_the_model() -> None:
    """NaN has no place in an answer."""
    with pytest.raises(ModelFailure, match="'y' with numbers that are not finite"):
        ask(regressor(names=("a", "b")), [[-1, 1]])


@pytest.mark.parametrize("value", [float("nan"), "NaN", "-Infinity"])
def test_numbers_of_a_caller_that_have_no_answer_are_named(value: Any) -> None:
    """NaN in a row is the caller's, if the model makes NaN of it; other rows are not at fault."""
    with pytest.raises(InvalidInput, match=r"inputs\[1\]: expected finite numbers: the model has no answer to NaN"):
        ask(regressor(names=("a", "b")), [[1, 1], [1, value], [4, 4]])


def test_numbers_are_no_picture() -> None:
    """Accept: image/png is refused, not ignored."""
    with pytest.raises(InvalidInput, match="accept: image/png"):
        ask(regressor(names=("a", "b")), [[1, 1]], wants_picture=True)


def test_several_numbers_have_names() -> None:
    """As the manifest calls them, with its unit."""
    body = body_of(ask(regressor(names=("depth", "width"), unit="m"), [[4, 9], [0, 1]]))
    assert body["unit"] == "m"
    assert body["predictions"] == [{"values": {"depth": 2, "width": 3}}, {"values": {"depth": 0, "width": 1}}]


def test_one_number_is_a_value() -> None:
    """Whether the output has an axis for it or not."""
    model = make_model("float[batch,1] x => float[batch,1] y", "y = Sqrt(x)")
    assert body_of(ask(regressor(model), [[4], [9]]))["predictions"] == [{"value": 2}, {"value": 3}]


def test_columns_have_names() -> None:
    """A model with a table takes objects."""
    columns = ({"name": "a", "input": "x", "position": 0}, {"name": "b", "input": "x", "position": 1})
    model = make(
        {"main": ROOT}, task="regress", regression={"output": "y", "names": ("a", "b")}, table={"columns": columns}
    )
    assert body_of(ask(model, [{"b": 4, "a": 1}]))["predictions"] == [{"values": {"a": 1, "b": 2}}]
