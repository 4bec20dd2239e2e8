"""Cuts a long sound into rows. Pure arithmetic."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from model_store.errors import SoundTooShort
from model_store.tasks import Sound


class Window(NamedTuple):
    """Samples ``begin`` to ``end`` of a sound, which make a row. If the row is longer, silence follows."""

    begin: int
    end: int


def check_length(length: int, facts: Sound, where: str) -> None:
    """Raises SoundTooShort for a sound of fewer samples than the model takes. ``where`` names it in messages."""
    if length < facts.least:
        raise SoundTooShort(
            f"{where}: expected a sound of at least {facts.least} samples at {facts.rate} Hz, got {length}"
        )


def count_windows(length: int, facts: Sound) -> int:
    """The number of rows of a sound of ``length`` samples, at least one."""
    if facts.window is None or length <= facts.window:
        return 1
    return -(-(length - facts.window) // (facts.window - facts.overlap)) + 1


def plan_windows(length: int, facts: Sound) -> Iterator[Window]:
    """The windows of a sound of ``length`` samples, in order.

    The last one is moved back until it is full. So its overlap may be larger, but only a sound shorter than a window is
    padded.
    """
    if facts.window is None or length <= facts.window:
        yield Window(0, length)
        return
    for number in range(count_windows(length, facts)):
        begin = min(number * (facts.window - facts.overlap), length - facts.window)
        yield Window(begin, begin + facts.window)


def size_row(length: int, facts: Sound) -> int:
    """The samples of each row of a sound of ``length`` samples: the window, or the next multiple."""
    return facts.window or -(-length // facts.multiple) * facts.multiple


def cut_row(samples: np.ndarray, window: Window, facts: Sound) -> np.ndarray:
    """The row of a window, float32 [samples of a row], with silence at its end if the sound is shorter."""
    row = np.zeros(size_row(len(samples), facts), np.float32)
    row[: window.end - window.begin] = samples[window.begin : window.end]
    return row


def join_windows(rows: Sequence[np.ndarray] | np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """One sound from the outputs of its windows. Where two overlap, one fades out while the next fades in."""
    joined = np.zeros(windows[-1].end, np.float32)
    end = 0
    for row, window in zip(rows, windows, strict=True):
        shared = end - window.begin
        fade = ((np.arange(shared, dtype=np.float32) + 0.5) / max(shared, 1)).astype(np.float32)
        joined[window.begin : end] += fade * (row[:shared] - joined[window.begin : end])
        joined[end : window.end] = row[shared : window.end - window.begin]
        end = window.end
    return joined
