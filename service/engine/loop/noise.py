"""Random numbers that depend on nothing but (seed, row, step): the same sample in any company, on any replica.

Philox 4x64-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011) is counter-based: the key is the
seed and the row, the counter begins with the step. NumPy guarantees the raw stream of its bit generators, not what its
``Generator`` makes of them, so the normal numbers are made here, by Box and Muller's method.
"""

import math
from collections.abc import Sequence

import numpy as np

LARGEST_SEED = 2**63 - 1
_TO_UNIT = 2.0**-53


def draw_uniform(seed: int, step: int) -> float:
    """A number from 0 to 1, without 1. ``seed`` from 0 to LARGEST_SEED, ``step`` from 0."""
    raw = np.random.Philox(counter=[0, step, 0, 0], key=[seed, 0]).random_raw()
    return float((int(raw) >> 11) * _TO_UNIT)


def draw_normal(seed: int, row: int, step: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal float32 numbers of ``shape``; ``seed`` from 0 to LARGEST_SEED, ``row`` and ``step`` from 0.

    A smaller shape has the first numbers of a larger one.
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    stream = np.random.Philox(counter=[0, step, 0, 0], key=[seed, row])
    raw = stream.random_raw(2 * half).reshape(half, 2)
    unit = (raw >> np.uint64(11)).astype(np.float64) * _TO_UNIT
    radius = np.sqrt(-2.0 * np.log1p(-unit[:, 0]))
    angle = (2.0 * math.pi) * unit[:, 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]
    return normal.astype(np.float32).reshape(shape)
