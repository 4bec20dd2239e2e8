"""The cost model: how long a batch will take, from how long others took."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching.cost import CostModel
from tests.support.dispatching import cost_of

sizes = st.integers(1, 1000)
seconds = st.floats(1e-6, 100)
runs = st.lists(st.tuples(sizes, seconds), min_size=1, max_size=30)


def rising(observed: list[tuple[int, float]]) -> CostModel:
    """A model that has seen one run of each power of two, where more rows never took less."""
    took = sorted(t for _, t in observed)
    return cost_of(*[(1 << power, t) for power, t in enumerate(took)])


@settings(deadline=None, max_examples=50)
@given(observed=runs, rows=sizes)
def test_within_what_was_seen_no_prediction_leaves_it(observed: list[tuple[int, float]], rows: int) -> None:
    """Up to the largest batch that ran, a prediction lies between the shortest and the longest run."""
    cost = cost_of(*observed)
    took = [t for _, t in observed]
    if rows <= min(n for n, _ in observed) or rows <= max(n for n, _ in observed) // 2:
        assert min(took) * (1 - 1e-9) <= cost.predict(rows) <= max(took) * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(observed=runs, rows=sizes, more=sizes)
def test_more_rows_are_never_predicted_to_take_less(observed: list[tuple[int, float]], rows: int, more: int) -> None:
    """Where the observed cost rises with the rows, so does the predicted one, between the points and beyond them."""
    cost = rising(observed[:10])
    assert cost.predict(rows) <= cost.predict(rows + more) * (1 + 1e-9)


STEP = [(1, 1.0), (2, 1.0), (4, 1.0), (8, 10.0), (16, 10.0)]


@pytest.mark.parametrize(
    ("observed", "predicted"),
    [
        ([(4, 1.0), (8, 3.0)], {4: 1.0, 6: 2.0, 8: 3.0}),
        ([(4, 1.0), (8, 3.0)], {1: 1.0, 3: 1.0, 16: 6.0, 80: 30.0}),
        (STEP, {3: 1.0, 4: 1.0, 12: 10.0}),
    ],
    ids=["between two sizes", "beyond them", "a kernel that becomes slow"],
)
def test_cost_is_interpolated_or_in_proportion(observed: list[tuple[int, float]], predicted: dict[int, float]) -> None:
    """Fewer rows cost as much as the smallest batch seen, more in proportion to the largest; a step stays visible."""
    cost = cost_of(*observed)
    assert {rows: cost.predict(rows) for rows in predicted} == predicted


def test_new_runs_outweigh_old_ones() -> None:
    """After a few dozen runs a change of speed is known, and one outlier is not."""
    cost = cost_of(*[(8, 1.0)] * 50 + [(8, 2.0)])
    assert cost.predict(8) == pytest.approx(1.2)
    for _ in range(50):
        cost.observe(8, 2.0)
    assert cost.predict(8) == pytest.approx(2.0, rel=0.01)


@settings(deadline=None, max_examples=100)
@given(observed=runs, max_rows=sizes, budget=seconds)
def test_largest_batch_is_the_last_that_fits(observed: list[tuple[int, float]], max_rows: int, budget: float) -> None:
    """The batch that is proposed fits into the time, unless not even one row does; one row more would not fit."""
    cost = rising(observed[:10])
    best = cost.largest(max_rows, budget)
    assert 1 <= best <= max_rows
    assert cost.predict(best) <= budget or best == 1
    assert best == max_rows or cost.predict(best + 1) > budget


def test_batches_are_as_large_as_makes_rows_cheap() -> None:
    """A compute-bound model gets the smallest batch that hides the fixed cost, a memory-bound one the largest."""
    cost = cost_of(*[(1 << power, 0.002 * (1 << power)) for power in range(7)])
    assert cost.efficient(64) == 16
    assert cost.scale(1000).efficient(64) == 1
    assert cost.scale(0.001).efficient(64) == 64
    cost = cost_of(*[(1 << power, 0.01 + 0.0001 * (1 << power)) for power in range(7)])
    assert cost.efficient(64) == 64


@settings(deadline=None, max_examples=50)
@given(observed=runs, rows=sizes)
def test_efficient_size_is_within_the_limit(observed: list[tuple[int, float]], rows: int) -> None:
    """The efficient size is between one row and the limit. For a model that has not run it is the limit."""
    assert 1 <= cost_of(*observed).efficient(rows) <= rows
    assert CostModel().efficient(rows) == CostModel().largest(rows, 0.0) == rows
    assert CostModel().predict(rows) == 0.0
