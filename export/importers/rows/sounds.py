"""Sounds as rows: from files, and made up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.errors import ExportError
from model_store.datatypes import DATATYPES
from model_store.errors import SoundError, StoreError
from model_store.graph import Tensor
from model_store.sounds.reading import read_sound, require_library
from model_store.sounds.windows import Window, check_length, cut_row, plan_windows, size_row
from model_store.tasks import Sound

SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
_MOST_SAMPLES = 1 << 28
_SECONDS = 1
"""The length of a made-up sound, if the model takes any length."""


def read_sound_rows(name: str, file: Path, facts: Sound, inputs: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """The windows of a file as rows, by input. Raises ExportError, which names the file."""
    try:
        require_library(name)
        samples = read_sound(file.read_bytes(), facts, _MOST_SAMPLES, str(file))
        check_length(len(samples), facts, str(file))
    except (OSError, StoreError, SoundError) as error:
        raise ExportError(f"{name}: {error}") from None
    return _make_rows(samples, list(plan_windows(len(samples), facts)), facts, inputs)


def make_up_sounds(facts: Sound, inputs: Sequence[Tensor], rows: int) -> dict[str, np.ndarray]:
    """Noise of several levels, as long as a window or a second."""
    length = size_row(facts.window or max(facts.least, _SECONDS * facts.rate), facts)
    noise = np.random.default_rng(0).standard_normal(length).astype(np.float32) * 0.1
    made = [_make_rows(noise * level, [Window(0, length)], facts, inputs) for level in np.linspace(0.05, 1, rows)]
    return {input_: np.concatenate([one[input_] for one in made]) for input_ in made[0]}


def _make_rows(
    samples: np.ndarray, windows: Sequence[Window], facts: Sound, inputs: Sequence[Tensor]
) -> dict[str, np.ndarray]:
    datatypes = {tensor.name: DATATYPES[tensor.datatype].dtype for tensor in inputs}
    rows = {facts.input: np.stack([cut_row(samples, window, facts) for window in windows])}
    if facts.length is not None:
        rows[facts.length] = np.array([window.end - window.begin for window in windows])
    return {input_: array.astype(datatypes[input_]) for input_, array in rows.items()}
