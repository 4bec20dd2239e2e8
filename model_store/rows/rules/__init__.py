"""What each operator does to the rows of a batch: one rule an operator.

A rule is asked only where an input depends on the rows or on their number. It returns what is known of each output, or
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
"""By domain and operator."""

SIZED = frozenset({"ConstantOfShape", "Expand", "Tile", "Range"})
"""Operators that make an axis of rows out of the number of rows alone."""
RANDOM = indexing.RANDOM
ELEMENTWISE = frozenset(elementwise.RULES)
"""Operators whose output has the shape that their inputs give together."""
