"""Finds which numbers an integer input may have: the server refuses what PyTorch refuses.

PyTorch raises IndexError for an index outside its table. ONNX counts negative indices from the end and gives zeros for
unknown classes. So PyTorch decides: larger and larger, and smaller and smaller numbers replace the extremes of a random
batch until it refuses one. Negative ids are allowed if the module accepts them, as ``table[ids]`` does; the graph is
then compared for these too. An input that accepts any number is no index.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np

from export.errors import SpecError
from export.inputs import integer_inputs, lengths_of, make_random, to_array
from export.original import Original
from export.spec import BATCH, Arrays, GraphSpec, Sizes
from model_store.graph import AxisRange

Bounds = tuple[int | None, int | None]
"""The least and largest number; None if there is no limit."""

_ROWS = 2
_STEPS = tuple(2**power for power in (4, 8, 10, 12, 14, 16, 20, 24, 28, 31))
_LONGEST_RUN_S = 5.0
"""If a run takes longer, its work grows with the number, so the input is no index."""


def find_bounds(original: Original, hints: Mapping[str, tuple[int, int]]) -> dict[str, Bounds]:
    """The numbers that the original accepts, for each integer input. Use it inside ``original.evaluating()``.

    ``hints`` are ranges found in the graph, which save the search. A bound that changes with the size of a free axis is
    dropped, because ONNX Runtime refuses larger numbers there. Raises SpecError if the original refuses the least
    number of a range in the spec.
    """
    for name, (least, _) in original.spec.ranges.items():
        if not _Search(original, name).takes_least(least):
            raise SpecError(
                f"{original.spec.name}: ranges: {name!r} is given as {least} or more, but the PyTorch module refuses "
                f"{least}: give the range that it accepts"
            )
    spec = original.spec
    return {
        name: _with_seen(spec, name, _Search(original, name).find(hints.get(name))) for name in integer_inputs(spec)
    }


def _with_seen(spec: GraphSpec, name: str, bounds: Bounds) -> Bounds:
    """The bounds, widened to the samples, which the original accepts; random values of other inputs may not fit
    these."""
    array = to_array(spec.inputs[name] if spec.samples is None else spec.samples[name])
    least, largest = bounds
    return (
        None if least is None else min(least, int(array.min())),
        None if largest is None else max(largest, int(array.max())),
    )


def bound_lengths(spec: GraphSpec, sizes: Mapping[str, AxisRange]) -> dict[str, Bounds]:
    """The bounds of ``padded`` lengths: from 1 to the largest size in ``sizes``.

    A range in the spec holds too.
    """
    found: dict[str, Bounds] = {}
    for name, lengths in spec.padded.items():
        longest = sizes.get(spec.axes[name][spec.padded_axes[name]], AxisRange()).largest
        least, largest = spec.ranges.get(lengths, (1, None))
        limits = [limit for limit in (largest, longest, found.get(lengths, (None, None))[1]) if limit is not None]
        found[lengths] = max(1, least), min(limits, default=None)
    return found


class _Search:
    """The search for the bounds of one input."""

    def __init__(self, original: Original, name: str) -> None:
        self._original = original
        self._name = name
        spec = original.spec
        first, *others = lengths_of(spec)
        self._base = self._draw(first)
        self._others = [self._draw(sizes) for sizes in others]
        self._array = self._base[name]
        self._size = self._count_elements(self._base)
        self._limits = np.iinfo(self._array.dtype)

    def _draw(self, lengths: Sizes) -> dict[str, np.ndarray]:
        spec = self._original.spec
        sizes = {**spec.example_sizes, **lengths}
        return make_random(spec, {**sizes, **({BATCH: _ROWS} if BATCH in sizes else {})}, spec.seeds[0])

    def takes_least(self, number: int) -> bool:
        """Whether the original accepts a number in place of the least ones. True if it fails for any number: parity
        reports that later."""
        return self._size is None or self._takes(self._base, self._array == self._array.min(), number)

    def find(self, hint: tuple[int, int] | None) -> Bounds:
        if self._size is None:
            return None, None
        array = self._array
        largest = self._search(
            int(array.max()), int(self._limits.max), 1, lambda drawn: drawn == drawn.max(), hint and hint[1]
        )
        least = self._search(
            int(array.min()), int(self._limits.min), -1, lambda drawn: drawn == drawn.min(), hint and hint[0]
        )
        return least, largest

    def _search(
        self,
        known: int,
        end: int,
        way: int,
        choose: Callable[[np.ndarray], np.ndarray],
        hint: int | None,
    ) -> int | None:
        """The last number from ``known`` towards ``end`` that the original accepts."""

        def takes(number: int, base: Arrays = self._base) -> bool:
            return self._takes(base, choose(base[self._name]), number)

        if hint is not None and (hint - known) * way >= 0 and takes(hint) and not takes(hint + way):
            return self._settle(hint, way, takes)
        good = known
        for bad in self._list_steps(known, end, way):
            if not takes(bad):
                break
            good = bad
        else:
            return None
        while abs(bad - good) > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if takes(middle) else (good, middle)
        return self._settle(good, way, takes)

    def _settle(self, bound: int, way: int, takes: Callable[..., bool]) -> int | None:
        return None if any(takes(bound + way, base) for base in self._others) else bound

    @staticmethod
    def _list_steps(known: int, end: int, way: int) -> list[int]:
        steps = [-1, *(-step for step in _STEPS)] if way < 0 else [known + 1, *_STEPS]
        return [step for step in steps if (step - known) * way > 0 and (end - step) * way >= 0]

    def _takes(self, base: Arrays, places: np.ndarray, number: int) -> bool:
        array = base[self._name].copy()
        array[places] = number
        began = time.perf_counter()
        count = self._count_elements({**base, self._name: array})
        return count == self._size and time.perf_counter() - began < _LONGEST_RUN_S

    def _count_elements(self, inputs: Arrays) -> int | None:
        """The elements of all outputs; None if the original fails."""
        try:
            return sum(array.size for array in self._original.run(inputs).values())
        except SpecError:
            return None
