"""Unusual inputs: stretched, shrunk, negated, constant, huge, and integers of any size.

They reveal differences that ordinary inputs hide: a threshold, a guard that the exporter drops, a division that rounds
differently below zero, an integer sum in float32, which holds 24 bits.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from export.inputs import make_random, read_mask
from export.proof.domain.numbers import Bounds
from export.proof.trial import Case
from export.spec import BATCH, GraphSpec

_ROWS = 3
_EXACT = 2**24  # float32 holds integers up to this one
POWERS = (62, 47, 31)
"""Integers are compared up to these powers of two, if their datatype has them. float32 is exact up to 2^24, and
float64, in which ONNX Runtime sums integers, up to 2^53."""

LARGE = "random large integers"

_FLOATS: Mapping[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "x10": (10, lambda array: array * 10),
    "x0.1": (1, lambda array: array * 0.1),
    "negated": (1, lambda array: -array),
    "x1000": (1000, lambda array: array * 1000),
    "zeros": (1, np.zeros_like),
    "constant": (1, lambda array: np.full_like(array, np.nanmax(array, initial=0))),
}
"""Each factor, and how the numbers change."""


def stretched_cases(spec: GraphSpec, bounds: Mapping[str, Bounds]) -> Iterator[Case]:
    """Cases at the sizes of the example. Integers stay within ``bounds``."""
    seed = spec.seeds[0]
    sizes = {**spec.example_sizes, **({BATCH: _ROWS} if spec.batched else {})}
    base = make_random(spec, sizes, seed)
    rows = _ROWS if spec.batched else 1
    floats = [name for name, array in base.items() if array.dtype.kind == "f" and _is_quantity(array)]
    for form, (scale, change) in _FLOATS.items() if floats else ():
        with np.errstate(over="ignore"):
            changed = {name: np.asarray(change(base[name]), base[name].dtype) for name in floats}
        yield Case(rows, seed, f"random {form}", {**base, **changed}, stretched=True, ties=True, scale=scale)
    least = {name: np.full_like(base[name], low) for name, (low, _) in bounds.items() if low is not None}
    largest = {name: np.full_like(base[name], high) for name, (_, high) in bounds.items() if high is not None}
    for form, changed in (("least", least), ("largest", largest)):
        if changed:
            yield Case(rows, seed, f"random, {form} integers", {**base, **changed}, stretched=True)
    large = large_case(spec, bounds, POWERS[0])
    if large is not None:
        yield large


def large_case(spec: GraphSpec, bounds: Mapping[str, Bounds], power: int) -> Case | None:
    """A case with integers up to 2^``power`` in each input that accepts large ones; None if no input does."""
    seed = spec.seeds[0]
    base = make_random(spec, {**spec.example_sizes, **({BATCH: _ROWS} if spec.batched else {})}, seed)
    generator = np.random.default_rng(seed)
    large = {
        name: _draw_large(base[name], limits, 2**power, generator)
        for name, limits in bounds.items()
        if limits[0] is None or limits[1] is None or limits[1] - limits[0] >= _EXACT
    }
    rows = _ROWS if spec.batched else 1
    return Case(rows, seed, LARGE, {**base, **large}, stretched=True) if large else None


def _is_quantity(array: np.ndarray) -> bool:
    return read_mask(array) is None and not bool(np.isinf(array).any() or np.isnan(array).all())


def _draw_large(array: np.ndarray, limits: Bounds, most: int, generator: np.random.Generator) -> np.ndarray:
    """Large integers of either sign, within the limits."""
    known = np.iinfo(array.dtype)
    least = max(known.min, -most) if limits[0] is None else limits[0]
    largest = min(known.max, most) if limits[1] is None else limits[1]
    end = np.log2(max(2, largest))
    powers = generator.uniform(0.8 * end, end, array.shape)
    drawn = np.exp2(powers).astype(np.int64)
    signs = np.where(generator.random(array.shape) < 0.5, -1, 1) if least < 0 else 1
    odd = drawn | 1  # odd, so that a lost last bit shows
    return np.asarray(np.clip(odd * signs, least, largest), array.dtype)
