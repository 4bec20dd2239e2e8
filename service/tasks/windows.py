"""Shared by tasks on sounds: a sound may be several rows, its windows, but it has one answer."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model_store.manifest import Manifest
from service.codecs.model_context import known
from service.codecs.rows import Group
from service.codecs.sounds import SoundWindow
from service.engine.tensors import Arrays
from service.errors import InvalidInput


def check_windows(manifest: Manifest) -> None:
    """Raises InvalidInput if rows are not sounds: only sounds have windows."""
    if manifest.sound is None:
        raise InvalidInput(f"windows: model {manifest.name!r} takes no sounds, which have windows: ask without them")


def find_sounds(windows: Sequence[SoundWindow]) -> list[slice]:
    """The slice of each sound in a list of windows, in which the windows of a sound follow one another."""
    rows = [window.row for window in windows]
    begins = [i for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]
    return [slice(begin, end) for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True)]


def find_places(group: Group) -> Sequence[int]:
    """The position in the request of each row of a group, or of each sound if the rows are windows."""
    if not group.windows:
        return group.places
    return [group.windows[sound.start].row for sound in find_sounds(group.windows)]


def average_windows(group: Group, outputs: Arrays, names: Iterable[str]) -> tuple[Group, dict[str, np.ndarray]]:
    """A group with one row for each sound, and the means of some outputs over its windows.

    The new group has no inputs, because those are of windows. A group without sounds is returned as it is.
    """
    wanted = {name: outputs[name] for name in names}
    if not group.windows:
        return group, wanted
    sounds, places = find_sounds(group.windows), find_places(group)
    if len(sounds) == len(group.windows):
        return Group(places, group.inputs), wanted
    means = {name: np.stack([_average(array[sound]) for sound in sounds]) for name, array in wanted.items()}
    return Group(places, {}), means


def _average(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # numbers that are not finite are refused later
        mean: np.ndarray = values.mean(axis=0, dtype=np.float64).astype(values.dtype)
    return mean


def describe_times(window: SoundWindow, manifest: Manifest) -> dict[str, Any]:
    """Begin and end of a window, in seconds from the beginning of the sound."""
    rate = known(manifest.sound).rate
    return {"begin_s": window.begin / rate, "end_s": window.end / rate}


def describe_windows(group: Group, values: Sequence[dict[str, Any]], manifest: Manifest) -> list[list[dict[str, Any]]]:
    """The windows of each sound of a group, with their times and values. ``values`` has one for each window."""
    return [
        [{**describe_times(group.windows[i], manifest), **values[i]} for i in range(sound.start, sound.stop)]
        for sound in find_sounds(group.windows)
    ]
