import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.loop.noise import LARGEST_SEED, draw_normal

EXPECTED = "233881bfe684953ecd5880bcc0925cbf"
SEEDS = st.integers(0, LARGEST_SEED)


def test_numbers_are_those_of_every_release():
    """The same seed gives the same bits for ever: callers keep seeds."""
    first = draw_normal(42, 3, 7, (2, 2))
    assert first.dtype == np.float32
    assert first.tobytes().hex() == EXPECTED


@pytest.mark.parametrize("key", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_each_part_of_the_key_changes_the_numbers(key: tuple[int, int, int]):
    """Another seed, row or step gives other numbers, not shifted ones."""
    one, other = draw_normal(0, 0, 0, (1000,)), draw_normal(*key, (1000,))
    assert not np.intersect1d(one, other).size > 5
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


@given(seed=SEEDS, row=st.integers(0, 2**63 - 1), step=st.integers(0, 2**63 - 1), size=st.integers(0, 9))
def test_smaller_shape_has_the_first_numbers_of_a_larger_one(seed: int, row: int, step: int, size: int):
    """A smaller draw has the first numbers of a larger one."""
    np.testing.assert_array_equal(draw_normal(seed, row, step, (size,)), draw_normal(seed, row, step, (10,))[:size])


def test_numbers_are_standard_normal():
    """Mean 0, variance 1, and as many beyond one and two deviations as there should be; never infinite."""
    drawn = np.concatenate([draw_normal(1, row, 0, (1000,)) for row in range(200)])
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    assert np.mean(np.abs(drawn) > 1) == pytest.approx(0.3173, abs=0.005)
    assert np.mean(np.abs(drawn) > 2) == pytest.approx(0.0455, abs=0.003)
