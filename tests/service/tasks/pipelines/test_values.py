"""What passes between the steps of a request."""

from typing import Any

import pytest

from model_store.pipelines.wires import Wire
from model_store.tasks import Pipeline, Step
from service.errors import BodyTooLarge, InvalidInput, ModelFailure, ServiceError
from service.tasks.pipelines import values as module
from service.tasks.pipelines.values import Taken, Values, parse_step

JUDGED = Step(model="m", task="classify", each="request.items", when="request.scores[] > 0.5")


class CountingValues(Values):
    """Counts how often wires are followed."""

    looks = 0

    def look(self, row: int, wire: Wire) -> Any:
        self.looks += 1
        return super().look(row, wire)


def make(*rows: Any) -> CountingValues:
    return CountingValues(Pipeline(steps={"step": JUDGED}, outputs={"found": "step"}), rows)


def test_condition_on_elements_follows_its_wire_once():
    """However many elements a row has, the list of the condition is put together once."""
    values = make({"items": list(range(1000)), "scores": [0, 1] * 500})

    taken = values.take("step", parse_step(JUDGED))

    assert taken.rows == list(range(1, 1000, 2))
    assert values.looks < 5


@pytest.mark.parametrize(
    ("each", "when", "error"),
    [
        ("request.items", "request.scores[] > 0.5", InvalidInput),
        ("find.items", "request.scores[] > 0.5", ModelFailure),
    ],
)
def test_lists_of_different_lengths_are_the_fault_of_who_made_them(each: str, when: str, error: type[ServiceError]):
    """Two lists of the caller are refused as such; a list that a step made is a failure."""
    values = make({"items": [1, 2], "scores": [1]})
    values.put("find", Taken([[]], [(0, -1)]), [{"items": [1, 2]}])

    with pytest.raises(error, match=r"inputs\[0\].scores\[\]: expected 2 elements, as many as .*items has, got 1"):
        values.take("step", parse_step(Step(model="m", task="classify", each=each, when=when)))


def test_elements_that_a_condition_leaves_out_are_bounded_too(monkeypatch: pytest.MonkeyPatch):
    """A request cannot have any number of elements looked at."""
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 10)
    row = {"items": [1] * 4, "scores": [0] * 4}

    assert make(row, row).take("step", parse_step(JUDGED)).rows == []
    with pytest.raises(BodyTooLarge, match=r"at most 10 elements of request.items in all rows together"):
        make(row, row, row).take("step", parse_step(JUDGED))


def test_many_rows_or_elements_weigh_more():
    """A long list of one row weighs as much as many rows."""
    wires = parse_step(JUDGED)
    few = make({"items": [1], "scores": [1]})

    assert few.weigh_step(wires) < 1000
    assert make({"items": [1] * 1000, "scores": []}).weigh_step(wires) > 100_000
    assert make(*[{"items": [], "scores": []}] * 1000).weigh_step(wires) > 100_000
    assert few.weigh_outputs() < 1000
