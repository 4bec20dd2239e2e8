"""How far an answer is from PyTorch's, as a part of the largest magnitude of an output."""

from collections.abc import Mapping

import numpy as np

from tests.support.kinds.case import Kind

_TOLERANCES = {np.dtype(np.float16): 5e-3, np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-6}
_LEAST = 1e-6
"""Smaller magnitudes count as zero."""


class Differs(Exception):
    """An answer that is not PyTorch's; the text says where."""


def measure(kind: Kind, expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> float:
    """The worst difference of all outputs. Raises Differs beyond the tolerance, and for other names or shapes."""
    if set(expected) != set(got):
        raise Differs(f"expected the outputs {sorted(expected)}, got {sorted(got)}")
    return max((_measure_one(kind, name, expected[name], got[name]) for name in expected), default=0.0)


def _measure_one(kind: Kind, name: str, expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape:
        raise Differs(f"{name}: expected the shape {expected.shape}, got {got.shape}")
    if expected.dtype.kind != "f":
        if got.dtype.kind == "f" or not np.array_equal(expected, got):
            raise Differs(f"{name}: {_show(expected, got, expected != got)}")
        return 0.0
    wide, other = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(wide)
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))
    if not (finite == np.isfinite(other)).all() or not same[~finite].all():
        raise Differs(f"{name}: {_show(expected, got, ~same & (~finite | ~np.isfinite(other)))}")
    if not finite.any():
        return 0.0
    error = np.where(finite, np.abs(np.where(finite, wide - other, 0.0)), 0.0)
    scale = max(float(np.abs(wide[finite]).max()), _LEAST)
    tolerance = _TOLERANCES[expected.dtype] if kind.tolerance is None else kind.tolerance
    if error.max() > tolerance * scale + _LEAST:
        raise Differs(f"{name}: {_show(expected, got, error == error.max())}")
    return float(error.max()) / scale


def _show(expected: np.ndarray, got: np.ndarray, where: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(np.atleast_1d(where))[0]) if expected.ndim else ()
    return f"at {list(index)} expected {expected[index]}, got {got[index]}"
