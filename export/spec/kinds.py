"""Types and defaults that specs and proofs share."""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import numpy as np

Sizes = Mapping[str, int]
"""The size of each dynamic axis by its name: ``{"batch": 17, "time": 50}``."""
Arrays = Mapping[str, np.ndarray]
Progress = Callable[[str], None]
"""Receives each step in words: ``stage: detail``. ``note: text`` is no step, but a remark about the version."""
Precision = Literal["fp16", "int8"]
"""The precision of a second version: half precision floats, or 8-bit integers calibrated on the samples."""
MAIN = "main"
BATCHES = (1, 2, 3, 17, 64)
SEEDS = (0, 1, 2)
"""The defaults for parity. ``proof/grid.py`` uses fewer if a row takes long."""


class Predict(Protocol):
    """An exported graph on ONNX Runtime: inputs by name -> outputs by name, for any number of rows."""

    def __call__(self, inputs: Arrays, graph: str = MAIN) -> dict[str, np.ndarray]: ...
