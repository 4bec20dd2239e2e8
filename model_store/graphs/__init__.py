"""An ONNX graph as the server takes it: its tensors, where its rows lie, and what is known of them.

``sluice check``, ``sluice models``, ``sluice export`` and the server share this, so that none contradicts another.
"""

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
"""Tensors by name."""

__all__ = ["Arrays"]
