"""Limits integer inputs together: ``table(day * 24 + hour)`` accepts hour -1 on day 2, but not on day 0.

PyTorch accepts every combination of the ends of the published ranges. The ranges grow from those of the samples, and
the range that needs to grow least grows first. So the day gets its whole week, and hours stay from 0 to 23.
"""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from export.errors import SpecError
from export.inputs import lengths_of, make_random, to_array
from export.original import Original
from export.proof.domain.numbers import Bounds
from export.spec import BATCH, GraphSpec

_ROWS = 2
_MOST_TOGETHER = 5
"""With more inputs, only combinations in which all but one are at the same end are tried."""

Box = Mapping[str, tuple[int, int]]
"""The least and largest number of each input."""


def narrow_together(original: Original, bounds: Mapping[str, Bounds]) -> dict[str, Bounds]:
    """The bounds, narrowed if the original refuses the ends of several inputs together.

    They are not narrowed if it refuses even the ends of the samples. Use it inside ``original.evaluating()``.
    """
    spec = original.spec
    limited = {name: limits for name, limits in bounds.items() if limits != (None, None)}
    given = {name: limits for name, limits in spec.ranges.items() if name not in spec.padded.values()}
    if not limited or len(limited) + len(given) < 2:
        return dict(bounds)
    tried = _Tried(original)
    seen = {name: _find_seen(spec, name, limits) for name, limits in limited.items()}
    widest = {name: _complete(limits, seen[name]) for name, limits in limited.items()}
    if tried.takes({**given, **widest}) or not tried.takes({**given, **seen}):
        return dict(bounds)
    box = {**given, **seen}
    ends = [(abs(widest[name][end] - seen[name][end]), name, end) for name in limited for end in (0, 1)]
    for _, name, end in sorted(ends):
        box[name] = _replace(box[name], end, _grow(tried, box, name, end, widest[name][end]))
    narrowed = dict(bounds)
    for name, (low, high) in limited.items():
        narrowed[name] = None if low is None else box[name][0], None if high is None else box[name][1]
    return narrowed


def _find_seen(spec: GraphSpec, name: str, limits: Bounds) -> tuple[int, int]:
    """The range of the samples, within the limits."""
    array = to_array(spec.inputs[name] if spec.samples is None else spec.samples[name])
    least, largest = _complete(limits, (int(array.min()), int(array.max())))
    return max(least, min(largest, int(array.min()))), min(largest, max(least, int(array.max())))


def _complete(limits: Bounds, otherwise: tuple[int, int]) -> tuple[int, int]:
    low, high = limits
    return otherwise[0] if low is None else low, otherwise[1] if high is None else high


def _replace(limits: tuple[int, int], end: int, number: int) -> tuple[int, int]:
    return (limits[0], number) if end else (number, limits[1])


def _grow(tried: "_Tried", box: Box, name: str, end: int, widest: int) -> int:
    """The number nearest to ``widest`` that an end of an input may have, with all others as in the box."""

    def takes(number: int) -> bool:
        return tried.takes({**box, name: _replace(box[name], end, number)})

    good, bad = box[name][end], widest
    if takes(bad):
        return bad
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if takes(middle) else (good, middle)
    return good


class _Tried:
    """Tried combinations of numbers. Each number fills its whole input."""

    def __init__(self, original: Original) -> None:
        self._original = original
        spec = original.spec
        sizes = {**spec.example_sizes, **lengths_of(spec)[0]}
        self._base = make_random(spec, {**sizes, **({BATCH: _ROWS} if BATCH in sizes else {})}, spec.seeds[0])
        self._known: dict[tuple[tuple[str, int], ...], bool] = {}

    def takes(self, box: Box) -> bool:
        """Whether the original accepts every combination of ends."""
        return all(self._runs(chosen) for chosen in _list_ends(box))

    def _runs(self, chosen: Mapping[str, int]) -> bool:
        key = tuple(chosen.items())
        if key not in self._known:
            filled = {name: np.full_like(self._base[name], number) for name, number in chosen.items()}
            try:
                self._original.run({**self._base, **filled})
                self._known[key] = True
            except SpecError:
                self._known[key] = False
        return self._known[key]


def _list_ends(box: Box) -> Iterator[dict[str, int]]:
    if len(box) <= _MOST_TOGETHER:
        for chosen in itertools.product(*box.values()):
            yield dict(zip(box, chosen, strict=True))
        return
    for end in (0, 1):
        alike = {name: limits[end] for name, limits in box.items()}
        yield alike
        for name, limits in box.items():
            yield {**alike, name: limits[1 - end]}
