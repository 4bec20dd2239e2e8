"""What rows of any size cost: seconds and bytes."""

import pytest

from service.engine.batching.cost import CostModel, RunMemory, SizedCosts
from service.errors import BodyTooLarge
from tests.support.dispatching import cost_of


def test_long_run_of_a_large_row_says_nothing_of_small_ones() -> None:
    """A long run of a large row changes nothing for small ones. Of a model that has not run nothing is known."""
    usual, sized = cost_of((1, 0.001)), SizedCosts(1000)
    sized.observe(1, 1_000_000, 20.0, usual)
    assert usual.predict(1) == 0.001
    assert sized.find(900_000, usual)[0].predict(1) == 20.0
    usual, sized = CostModel(), SizedCosts(None)
    assert not sized.find(0, usual)[1]
    sized.observe(1, 0, 0.001, usual)
    assert sized.find(0, usual)[1]


def test_row_of_a_size_that_has_not_run_is_expected_in_proportion() -> None:
    """A size that has not run is expected in proportion to the next smaller one that has, and counts as unknown."""
    usual, sized = cost_of((1, 0.001)), SizedCosts(1000)
    cost, is_known = sized.find(1000 * 2**10, usual)
    assert (cost.predict(1), is_known) == (pytest.approx(0.001 * 2**10), False)
    sized.observe(1, 1000 * 2**8, 0.1, usual)
    assert sized.find(1000 * 2**10, usual)[0].predict(1) == pytest.approx(0.4)
    assert sized.find(10, usual)[0].predict(1) == 0.001
    assert sized.find(1000 * 2**8, usual)[1]


def test_sizes_are_few_however_many_come() -> None:
    """The number of sizes that are kept is bounded, whatever callers send."""
    usual, sized = cost_of((1, 0.001)), SizedCosts(1000)
    for elements in range(1, 100_000, 7):
        sized.observe(1, elements, 0.001, usual)
    assert len(sized._costs) < 20


def test_row_that_takes_too_much_memory_is_refused_with_the_limit() -> None:
    """A row is refused if it is expected to take too much. Attention takes memory by the square of a row's elements."""
    memory = RunMemory(1_000_000, (100.0, 8.0, 0.5))
    memory.check(1000)
    assert memory.most_rows(1000) == 1
    assert memory.most_rows(100) == 169
    with pytest.raises(BodyTooLarge, match=r"at most 1000000 .* got one of 2000 .* takes about 2e\+06"):
        memory.check(2000)
