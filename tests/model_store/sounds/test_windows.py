import numpy as np
import pytest

from model_store.errors import SoundTooShort
from model_store.sounds.windows import check_length, count_windows, cut_row, join_windows, plan_windows, size_row
from model_store.tasks import Sound


def facts(window: int | None = None, overlap: int = 0, **more: int) -> Sound:
    return Sound(input="samples", rate=100, window=window, overlap=overlap, **more)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "wanted"),
    [
        (5, 10, 0, [(0, 5)]),
        (10, 10, 0, [(0, 10)]),
        (11, 10, 0, [(0, 10), (1, 11)]),
        (20, 10, 0, [(0, 10), (10, 20)]),
        (25, 10, 4, [(0, 10), (6, 16), (12, 22), (15, 25)]),
        (15, 10, 6, [(0, 10), (4, 14), (5, 15)]),
        (7, None, 0, [(0, 7)]),
    ],
)
def test_windows_cover_a_sound(length: int, window: int | None, overlap: int, wanted: list[tuple[int, int]]) -> None:
    """They begin at equal distances; the last one ends where the sound ends."""
    assert list(plan_windows(length, facts(window, overlap))) == wanted
    assert count_windows(length, facts(window, overlap)) == len(wanted)


def test_short_sound_is_padded_with_silence() -> None:
    """To the window, or to the next multiple."""
    samples = np.ones(5, np.float32)
    [window] = plan_windows(5, facts(8))
    assert cut_row(samples, window, facts(8)).tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert cut_row(samples, window, facts(multiple=4)).tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert [size_row(length, facts(multiple=4)) for length in (1, 4, 5)] == [4, 4, 8]


@pytest.mark.parametrize(
    ("length", "window", "overlap"), [(25, 10, 4), (15, 10, 6), (5, 10, 0), (40, 10, 0), (40, 10, 9)]
)
def test_joined_windows_are_the_sound(length: int, window: int, overlap: int) -> None:
    """A graph that changes nothing gives the same sound, whatever overlaps."""
    samples = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    its = facts(window, overlap)
    windows = list(plan_windows(length, its))
    joined = join_windows([cut_row(samples, one, its) for one in windows], windows)
    np.testing.assert_allclose(joined, samples, atol=1e-6)


def test_windows_fade_into_each_other() -> None:
    """Where two overlap, the weight goes from the first to the second in equal steps."""
    windows = list(plan_windows(6, facts(4, 2)))
    joined = join_windows([np.zeros(4, np.float32), np.ones(4, np.float32)], windows)
    assert joined.tolist() == [0, 0, 0.25, 0.75, 1, 1]


def test_sound_shorter_than_the_least_is_refused() -> None:
    """The message gives both lengths."""
    check_length(3, facts(least=3), "body")
    with pytest.raises(SoundTooShort, match="body: expected a sound of at least 3 samples at 100 Hz, got 2"):
        check_length(2, facts(least=3), "body")
