"""An ONNX graph as the server sees it: its tensors, its batch axis, and what is known about them.

``sluice check``, ``sluice models``, ``sluice export`` and the server share this code, so that their answers agree.
"""

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
"""Tensors by name."""

__all__ = ["Arrays"]
