"""The cost model: what a batch will take, from what batches took."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching.cost import CostModel

sizes = st.integers(1, 1000)
seconds = st.floats(1e-6, 100)
runs = st.lists(st.tuples(sizes, seconds), min_size=1, max_size=30)


def learn(observed: list[tuple[int, float]]) -> CostModel:
    cost = CostModel()
    for rows, took in observed:
        cost.observe(rows, took)
    return cost


def rising(observed: list[tuple[int, float]]) -> CostModel:
    """Learned from one run of each power of two, where more rows never took less."""
    took = sorted(t for _, t in observed)
    return learn([(1 << power, t) for power, t in enumerate(took)])


def test_nothing_is_known_before_the_first_run() -> None:
    """A model that has not run is expected to take no time, so that its first batch is not held back."""
    assert CostModel().predict(64) == 0.0
    assert CostModel().largest(64, 0.0) == 64


@settings(deadline=None, max_examples=50)
@given(observed=runs, rows=sizes)
def test_within_what_was_seen_no_prediction_leaves_it(observed: list[tuple[int, float]], rows: int) -> None:
    """Up to the largest batch that ran, a prediction lies between the least and the most that any run took."""
    cost = learn(observed)
    took = [t for _, t in observed]
    if rows <= min(n for n, _ in observed) or rows <= max(n for n, _ in observed) // 2:
        assert min(took) * (1 - 1e-9) <= cost.predict(rows) <= max(took) * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(observed=runs, rows=sizes, more=sizes)
def test_more_rows_are_never_predicted_to_take_less(observed: list[tuple[int, float]], rows: int, more: int) -> None:
    """Where the observed cost rises with the rows, so does the predicted one, between the points and beyond them."""
    cost = rising(observed[:10])
    assert cost.predict(rows) <= cost.predict(rows + more) * (1 + 1e-9)


def test_between_two_sizes_the_cost_is_interpolated() -> None:
    """Half-way between 4 and 8 rows lies half the difference; at the sizes themselves, what was observed."""
    cost = learn([(4, 1.0), (8, 3.0)])
    assert [cost.predict(rows) for rows in (4, 6, 8)] == [1.0, 2.0, 3.0]


def test_beyond_what_was_seen_the_cost_is_in_proportion() -> None:
    """Fewer rows cost as much as the smallest batch seen, more in proportion to the largest."""
    cost = learn([(4, 1.0), (8, 3.0)])
    assert [cost.predict(rows) for rows in (1, 3, 16, 80)] == [1.0, 1.0, 6.0, 30.0]


def test_step_in_the_cost_stays_visible() -> None:
    """A kernel that becomes slow at 8 rows does not make 4 rows look slow."""
    cost = learn([(1, 1.0), (2, 1.0), (4, 1.0), (8, 10.0), (16, 10.0)])
    assert (cost.predict(3), cost.predict(4), cost.predict(12)) == (1.0, 1.0, 10.0)


def test_new_runs_outweigh_old_ones() -> None:
    """After a few dozen runs a change of speed is known, and one outlier is not."""
    cost = learn([(8, 1.0)] * 50 + [(8, 2.0)])
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


def test_where_rows_do_not_get_cheaper_in_company_batches_are_small() -> None:
    """A compute-bound model takes its time a row: the smallest batch that hides what a batch costs is enough."""
    cost = learn([(1 << power, 0.002 * (1 << power)) for power in range(7)])
    assert cost.efficient(64) == 16
    assert cost.scale(1000).efficient(64) == 1
    assert cost.scale(0.001).efficient(64) == 64


def test_where_rows_share_a_cost_batches_are_large() -> None:
    """A memory-bound model reads its weights once a batch: the largest is the cheapest a row."""
    cost = learn([(1 << power, 0.01 + 0.0001 * (1 << power)) for power in range(7)])
    assert cost.efficient(64) == 64


@settings(deadline=None, max_examples=50)
@given(observed=runs, rows=sizes)
def test_efficient_size_is_within_the_limit(observed: list[tuple[int, float]], rows: int) -> None:
    """Whatever was learned, it is between one row and the limit; knowing nothing, it is the limit."""
    assert 1 <= learn(observed).efficient(rows) <= rows
    assert CostModel().efficient(rows) == rows
