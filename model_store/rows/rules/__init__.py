"""The rules: how each operator treats the rows of a batch.

A rule is called only if an input depends on the rows or on their number. It returns what is known about each output, or
raises ``Mixing`` or ``Unknown`` with the reason.
"""

from collections.abc import Mapping

from model_store.rows.rules import (
    algebra,
    attention,
    bodies,
    cutting,
    domains,
    elementwise,
    indexing,
    layout,
    products,
    sequences,
)
from model_store.rows.steps import Rule

RULES: Mapping[str, Mapping[str, Rule]] = {
    "": {
        **elementwise.RULES,
        **layout.RULES,
        **cutting.RULES,
        **algebra.RULES,
        **products.RULES,
        **attention.RULES,
        **indexing.RULES,
        **sequences.RULES,
        **bodies.RULES,
        **domains.TEXT,
    },
    "ai.onnx.ml": domains.ML,
    "com.microsoft": domains.CONTRIB,
}
"""The rules by domain and operator."""

SIZED = frozenset({"ConstantOfShape", "Expand", "Tile", "Range"})
"""Operators that make an axis of rows from the number of rows alone."""
RANDOM = indexing.RANDOM
ELEMENTWISE = frozenset(elementwise.RULES)
"""Operators whose output shape is the broadcast shape of their inputs."""
