"""Random numbers that depend only on (seed, row, step): the same in any batch and on any replica.

Philox 4x64-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011) is counter-based: the key is the
seed and the row, the counter begins with the step. NumPy guarantees the raw output of its bit generators, but not what
its ``Generator`` computes from that. So normal numbers are computed here, by the method of Box and Muller.
"""

import math
from collections.abc import Sequence

import numpy as np

LARGEST_SEED = 2**63 - 1
_TO_UNIT = 2.0**-53


def draw_uniform(seed: int, step: int) -> float:
    """A number from 0 to 1, 1 excluded. ``seed`` is from 0 to LARGEST_SEED, ``step`` counts from 0."""
    raw = np.random.Philox(counter=[0, step, 0, 0], key=[seed, 0]).random_raw()
    return float((int(raw) >> 11) * _TO_UNIT)


def draw_normal(seed: int, row: int, step: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal numbers, float32 of ``shape``. ``seed`` is from 0 to LARGEST_SEED; ``row``, ``step`` are from 0.

    A smaller shape gets the first numbers of a larger one.
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
