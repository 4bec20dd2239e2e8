"""Joins the texts of the windows of a sound."""

import itertools
import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from model_store.manifest import Manifest
from service.codecs.sounds import SoundWindow
from service.tasks.windows import describe_times, find_sounds

_MORE_WORDS = 1.5
"""The shared part of two windows may have this many times the words that it would have on average."""


def join_windows(
    windows: Sequence[SoundWindow], written: Sequence[dict[str, Any]], manifest: Manifest, is_asked: bool
) -> list[dict[str, Any]]:
    """One prediction for each sound, from the predictions of its windows. ``is_asked``: answer with the windows too."""
    predictions = []
    for sound in find_sounds(windows):
        of_sound = zip(windows[sound], written[sound], strict=True)
        parts = [(window, {**value, "text": value["text"].strip()}) for window, value in of_sound]
        log_probability = sum(value["log_probability"] for _, value in parts)
        prediction: dict[str, Any] = {
            "text": _join([value["text"] for _, value in parts], [window for window, _ in parts]),
            "probability": math.exp(log_probability),
            "log_probability": log_probability,
            "tokens": sum(value["tokens"] for _, value in parts),
            "complete": all(value["complete"] for _, value in parts),
        }
        if is_asked:
            prediction["windows"] = [{**describe_times(window, manifest), **value} for window, value in parts]
        predictions.append(prediction)
    return predictions


def _join(texts: Sequence[str], windows: Sequence[SoundWindow]) -> str:
    """The joined text. The last window may share more with the one before it than other windows do."""
    if len(texts) == 1:
        return texts[0]
    words = texts[0].split()
    for text, (before, window) in zip(texts[1:], itertools.pairwise(windows), strict=True):
        following = text.split()
        share = max(0, before.end - window.begin) / (window.end - window.begin)
        words = _join_words(words, following, math.ceil(len(following) * share * _MORE_WORDS))
    return " ".join(words)


def _join_words(before: list[str], after: list[str], most: int) -> list[str]:
    """The words of two windows that share a part of the sound, joined at the longest run of words that both have.

    The run is searched in the last ``most`` words of the first window and the first ones of the second. It need not be
    at their ends, because a word that was cut may be wrong.
    """
    tail, head = ([word.strip(".,;:!?").casefold() for word in part] for part in (before[-most:], after[:most]))
    if not most:
        return before + after
    found = SequenceMatcher(None, tail, head, autojunk=False).find_longest_match()
    if not found.size:
        return before + after
    return before[: len(before) - len(tail) + found.a + found.size] + after[found.b + found.size :]
