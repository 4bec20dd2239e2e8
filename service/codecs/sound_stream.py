"""Live sound: makes rows of the samples in messages, each row as soon as it is complete."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from model_store.sounds.reading import find_fault
from model_store.sounds.windows import size_row
from model_store.tasks import Sound
from service.errors import InvalidInput, NotOffered, UnreadableMessage

Form = Literal["int16", "float32"]
LEAST_RATE, MOST_RATE = 1000, 384_000
_DTYPES: Mapping[str, np.dtype] = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}
_FULL_SCALE = np.float32(1 / 32768)


class SoundRow(NamedTuple):
    """A row, float32 [samples], with samples ``begin`` to ``end`` of the stream at the model's rate, then silence."""

    samples: np.ndarray
    begin: int
    end: int


class SoundStream:
    """The samples of one stream. Its rows are the same as those of a file with the same samples. Not thread-safe.

    ``keeps_state``: the model carries state from row to row, so the last row must also begin where the one before it
    ends. Raises NotOffered if the rate must be converted and the library for that is missing, or if the model needs
    the level of the whole sound.
    """

    def __init__(self, facts: Sound, rate: int | None, form: Form, keeps_state: bool) -> None:
        if facts.level_dbfs is not None:
            raise NotOffered("this model raises a sound to a level, which only a whole sound has: send that")
        self._facts = facts
        self._dtype = _DTYPES[form]
        self._keeps_state = keeps_state
        self._samples = np.zeros(0, np.float32)
        self._begin = 0  # of ``_samples``, in the stream
        self._next = 0  # where the next row begins
        self._given = 0  # samples that were in a row
        self._resampler: Any = None
        if rate is not None and rate != facts.rate:
            if not LEAST_RATE <= rate <= MOST_RATE:
                raise InvalidInput(f"rate: expected {LEAST_RATE} to {MOST_RATE} Hz, got {rate}")
            self._resampler = _open_resampler(rate, facts.rate)

    @property
    def resamples(self) -> bool:
        return self._resampler is not None

    def add(self, content: bytes) -> None:
        """Add the samples of a message. Raises UnreadableMessage for half a sample, or numbers that are not finite."""
        size = self._dtype.itemsize
        if len(content) % size:
            name = "int16" if size == 2 else "float32"
            raise UnreadableMessage(f"message: expected samples of {size} bytes ({name}), got {len(content)} bytes")
        samples = np.frombuffer(content, self._dtype)
        if size == 2:
            samples = samples * _FULL_SCALE
        elif (fault := find_fault(samples)) is not None:
            raise UnreadableMessage(f"message: {fault}: are they float32, little-endian?")
        self._append(samples.astype(np.float32, copy=False), last=False)

    def take(self) -> SoundRow | None:
        """The next row if it is complete. Without a window, all samples so far are a row."""
        facts = self._facts
        if facts.window is not None:
            if self._end - self._next < facts.window:
                return None
            return self._cut(self._next, self._next + facts.window)
        return self._cut(self._next, self._end) if self._end - self._next >= facts.least else None

    def finish(self) -> SoundRow | None:
        """The next row after the end of the stream; None if no samples are left."""
        self._append(np.zeros(0, np.float32), last=True)
        complete = self.take()
        if complete is not None:
            return complete
        if self._end <= self._given:
            return None
        window = self._facts.window
        if window is not None and not self._keeps_state:
            return self._cut(max(self._begin, self._end - window), self._end)
        return self._cut(self._next, self._end)

    @property
    def _end(self) -> int:
        return self._begin + len(self._samples)

    def _append(self, samples: np.ndarray, last: bool) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
            if last:
                self._resampler = None
        if len(samples):
            self._samples = np.concatenate([self._samples, samples])

    def _cut(self, begin: int, end: int) -> SoundRow:
        """The row of these samples. Samples that no later row needs are dropped."""
        facts = self._facts
        row = np.zeros(size_row(max(end - begin, facts.least), facts), np.float32)
        row[: end - begin] = self._samples[begin - self._begin : end - self._begin]
        self._next = end if facts.window is None else min(end, begin + facts.window - facts.overlap)
        self._given = end
        kept_from = self._next if self._keeps_state else min(self._next, end - (facts.window or 0))
        forgotten = min(max(0, kept_from - self._begin), len(self._samples))
        self._samples = self._samples[forgotten:]
        self._begin += forgotten
        return SoundRow(row, begin, end)


def _open_resampler(rate: int, wanted: int) -> Any:
    """A resampler that takes samples in parts, with the same result as for all samples at once."""
    try:
        import soxr
    except ImportError:
        raise NotOffered(
            f"rate: expected {wanted} Hz, which the model takes, because soxr is missing on this server: install "
            "sluice-serving[sound]"
        ) from None
    return soxr.ResampleStream(rate, wanted, 1, dtype="float32")
