"""Live sound: messages to rows, however they are cut."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.tasks import Sound
from service.codecs.sound_stream import SoundRow, SoundStream
from service.errors import InvalidInput, NotOffered, UnreadableMessage

RATE = 8000


def hear(parts: list[np.ndarray], keeps_state: bool = False, **facts: Any) -> list[SoundRow]:
    """The rows of messages, and after their end."""
    stream = SoundStream(Sound(input="x", rate=RATE, **facts), None, "float32", keeps_state)
    rows = []
    for part in parts:
        stream.add(part.astype("<f4").tobytes())
        rows += list(iter(stream.take, None))
    return rows + list(iter(stream.finish, None))


@given(
    length=st.integers(0, 40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    window=st.integers(1, 9),
    overlap=st.integers(0, 8),
    keeps_state=st.booleans(),
)
def test_rows_do_not_depend_on_the_messages(
    length: int, cuts: list[int], window: int, overlap: int, keeps_state: bool
) -> None:
    """Rows follow each other by the window without the overlap, and together they have every sample."""
    overlap = min(overlap, window - 1)
    sound = np.arange(1, length + 1, dtype=np.float32)
    places = [0, *sorted(min(cut, length) for cut in cuts), length]
    parts = [sound[a:b] for a, b in itertools.pairwise(places)]
    rows = hear(parts, keeps_state, window=window, overlap=overlap)
    whole = hear([sound], keeps_state, window=window, overlap=overlap)
    assert [(row.begin, row.end, row.samples.tolist()) for row in rows] == [
        (row.begin, row.end, row.samples.tolist()) for row in whole
    ]
    step = window - overlap
    assert all(row.begin == place * step for place, row in enumerate(rows[:-1]))
    for row in rows:
        assert len(row.samples) == window
        assert row.samples[: row.end - row.begin].tolist() == sound[row.begin : row.end].tolist()
        assert not row.samples[row.end - row.begin :].any()
    assert {place for row in rows for place in range(row.begin, row.end)} == set(range(length))
    if not keeps_state and length >= window:
        assert all(row.end - row.begin == window for row in rows)


def test_message_is_a_row_without_a_window() -> None:
    """Padded to a multiple; what is too short waits for more."""
    rows = hear([np.ones(5), np.ones(1), np.ones(2), np.ones(1)], least=3, multiple=4)
    assert [(row.begin, row.end, len(row.samples)) for row in rows] == [(0, 5, 8), (5, 8, 4), (8, 9, 4)]


def test_samples_are_forgotten_when_no_row_needs_them() -> None:
    """A long stream takes no more memory than a window and a message."""
    stream = SoundStream(Sound(input="x", rate=RATE, window=10, overlap=5), None, "int16", False)
    for _ in range(100):
        stream.add(bytes(200))
        while stream.take() is not None:
            pass
        assert len(stream._samples) < 20


def test_integers_go_from_minus_one_to_one() -> None:
    """Little-endian, of 16 bits."""
    stream = SoundStream(Sound(input="x", rate=RATE, window=3), None, "int16", False)
    stream.add(np.array([-32768, 0, 16384], "<i2").tobytes())
    row = stream.take()
    assert row is not None
    assert row.samples.tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize(("form", "content"), [("int16", b"a"), ("float32", b"abcde")])
def test_part_of_a_sample_is_refused(form: Any, content: bytes) -> None:
    """The text says how many bytes a sample has."""
    stream = SoundStream(Sound(input="x", rate=RATE, window=3), None, form, False)
    with pytest.raises(UnreadableMessage, match=r"expected samples of \d bytes"):
        stream.add(content)


def test_rate_and_level_that_cannot_be_are_refused() -> None:
    """A level needs the whole sound."""
    with pytest.raises(InvalidInput, match="rate: expected 1000 to 384000 Hz, got 20"):
        SoundStream(Sound(input="x", rate=RATE), 20, "int16", False)
    with pytest.raises(NotOffered, match="which only a whole sound has"):
        SoundStream(Sound(input="x", rate=RATE, level_dbfs=-30.0), None, "int16", False)
