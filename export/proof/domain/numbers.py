"""Which numbers an input of integers may have: what PyTorch refuses is refused by the server too.

An index outside of its table raises IndexError in PyTorch. ONNX counts negative ones from the end, and gives zeros for
classes that there are not. So PyTorch is asked: ever larger numbers are put where the largest and the least ones of a
random batch are. Negative ids are allowed where the module itself takes them, as ``table[ids]`` does; the graph is then
compared with it for these as well. An input that takes any number is no index.
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
"""The least and the largest number; None where there is no limit."""

_ROWS = 2
_STEPS = tuple(2**power for power in (4, 8, 10, 12, 14, 16, 20, 24, 28, 31))
_PATIENCE_S = 5.0
"""A run that takes longer is one whose work grows with the number, which is then no index."""


def find_bounds(original: Original, hints: Mapping[str, tuple[int, int]]) -> dict[str, Bounds]:
    """What the original takes, for each integer input. Use it inside of ``original.evaluating()``.

    ``hints`` are ranges that the graph shows, which save the search. A bound that changes with the size of a free axis
    is none: there ONNX Runtime refuses what is too large. Raises SpecError where the least number of a range that the
    spec gives is refused by the original.
    """
    for name, (least, _) in original.spec.ranges.items():
        if not _Search(original, name).takes_least(least):
            raise SpecError(
                f"{original.spec.name}: ranges: {name!r} is said to be {least} or more, but the PyTorch module refuses "
                f"{least}: give the range that it takes"
            )
    spec = original.spec
    return {
        name: _with_seen(spec, name, _Search(original, name).find(hints.get(name))) for name in integer_inputs(spec)
    }


def _with_seen(spec: GraphSpec, name: str, bounds: Bounds) -> Bounds:
    """With what the samples have, which the original takes: random numbers of other inputs may not go with these."""
    array = to_array(spec.inputs[name] if spec.samples is None else spec.samples[name])
    least, largest = bounds
    return (
        None if least is None else min(least, int(array.min())),
        None if largest is None else max(largest, int(array.max())),
    )


def bound_lengths(spec: GraphSpec, sizes: Mapping[str, AxisRange]) -> dict[str, Bounds]:
    """What ``padded`` names as lengths counts 1 place or more, and no more than ``sizes`` lets there be.

    A range that the spec gives holds too.
    """
    found: dict[str, Bounds] = {}
    for name, lengths in spec.padded.items():
        longest = sizes.get(spec.axes[name][spec.padded_axes[name]], AxisRange()).largest
        least, largest = spec.ranges.get(lengths, (1, None))
        limits = [limit for limit in (largest, longest, found.get(lengths, (None, None))[1]) if limit is not None]
        found[lengths] = max(1, least), min(limits, default=None)
    return found


class _Search:
    """The bounds of one input."""

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
        """Whether the original takes a number in place of the least ones; where it fails anyway parity will say so."""
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
        """The last number from ``known`` on, in the direction of ``end``, that the original takes."""

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
        return count == self._size and time.perf_counter() - began < _PATIENCE_S

    def _count_elements(self, inputs: Arrays) -> int | None:
        """Of all outputs; None where the original fails."""
        try:
            return sum(array.size for array in self._original.run(inputs).values())
        except SpecError:
            return None
