"""Finds the least and largest element of an index tensor, for every size.

An index computed from sizes must stay within its own row's part. Measured runs show only some sizes, so the bounds
follow from the operators that made the index.
"""

from collections.abc import Callable, Sequence
from typing import Any

from model_store.rows.arithmetic import WHOLE
from model_store.rows.facts import Fact, Fixed, Places, Rows, Unknown
from model_store.rows.graph.nodes import Node
from model_store.rows.sizes import ONE, ZERO, Size

Pair = tuple[Size, Size]
"""The least and the largest number."""

_KEEPING = "Identity Unsqueeze Squeeze Reshape Flatten Transpose Expand Tile Slice Gather GatherND GatherElements Split"
_SAME = frozenset(_KEEPING.split())
"""Operators whose output has only elements of the first input."""
_MOVING = frozenset(("Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Expand", "Tile"))
"""Operators whose output has every element of the first input."""
_DEEPEST = 64


class Bounds:
    """Finds bounds on demand from the nodes that made a tensor. For ``Places``, bounds of the part that all rows share.

    ``facts`` and ``makers`` give the fact of a tensor and the node that made it.
    """

    def __init__(
        self,
        facts: Callable[[str], Fact | None],
        makers: Callable[[str], Node | None],
    ) -> None:
        self._facts = facts
        self._makers = makers

    def find(self, name: str, depth: int = 0) -> Pair:
        """The bounds of a tensor. Raises Unknown if they are not known."""
        fact, node = self._facts(name), self._makers(name)
        if fact is None or depth > _DEEPEST:
            raise Unknown("the range of its numbers is not known")
        if fact.values is not None and isinstance(fact.state, Fixed):
            pair = _enclose(list(fact.values.reshape(-1)))
            if pair is not None:
                return pair
        lies = isinstance(fact.state, Fixed | Places) or (isinstance(fact.state, Rows) and fact.state.even)
        if not lies or node is None or node.domain:
            raise Unknown("the range of its numbers is not known")
        pair = self._follow(node, fact, depth)
        if pair is None:
            raise Unknown(f"the range of the numbers of {node} is not known")
        return pair

    def find_largest(self, name: str, depth: int = 0) -> Size | None:
        """The largest number, if one is known that is in the tensor for every size."""
        fact, node = self._facts(name), self._makers(name)
        if fact is None or node is None or node.domain or not isinstance(fact.state, Fixed) or depth > _DEEPEST:
            return None
        if node.op == "Range":
            return self._range(node, fact)[1]
        if node.op in _MOVING or (node.op == "Cast" and node.attributes.get("to") in WHOLE):
            return self.find_largest(node.inputs[0], depth + 1)
        if node.op in ("Add", "Sub"):
            return self._shift(node, depth)
        return None

    def _shift(self, node: Node, depth: int) -> Size | None:
        """The largest number after a constant is added or subtracted."""
        left, right = node.inputs
        for one, other in ((left, right), (right, left))[: 1 if node.op == "Sub" else 2]:
            fact, largest = self._facts(other), self.find_largest(one, depth + 1)
            values = None if fact is None or fact.values is None else fact.values.reshape(-1)
            if largest is not None and values is not None and len(values) == 1 and isinstance(values[0], Size):
                return largest + values[0] if node.op == "Add" else largest - values[0]
        return None

    def _follow(self, node: Node, fact: Fact, depth: int) -> Pair | None:
        def operand(at: int) -> Pair:
            return self.find(node.inputs[at], depth + 1)

        if node.op == "Range":
            return self._range(node, fact)
        if node.op in _SAME or (node.op == "Cast" and node.attributes.get("to") in WHOLE):
            return operand(0)
        if node.op == "Trilu":
            return _enclose([*operand(0), ZERO])
        if node.op == "Concat":
            return _enclose([size for at in range(len(node.inputs)) for size in operand(at)])
        if node.op == "Where":
            return _enclose([*operand(1), *operand(2)])
        if node.op not in ("Add", "Sub", "Mul", "Mod"):
            return None
        (low, high), (least, most) = operand(0), operand(1)
        if node.op == "Add":
            return low + least, high + most
        if node.op == "Sub":
            return low - most, high - least
        if node.op == "Mul" and is_never_negative(low) and is_never_negative(least):
            return low * least, high * most
        if node.op == "Mod" and is_never_negative(least - ONE) and not node.attributes.get("fmod", 0):
            return ZERO, most - ONE
        return None

    def _range(self, node: Node, fact: Fact) -> Pair:
        """From 0 in steps of 1. If it counts places of all rows, the bounds of one row."""
        if isinstance(fact.state, Places):
            return ZERO, fact.state.inner - ONE
        start, limit, delta = (self._number(name) for name in node.inputs)
        if delta != 1:
            raise Unknown("a range in other steps than 1")
        return start, limit - ONE

    def _number(self, name: str) -> Size:
        fact = self._facts(name)
        value = fact.values.reshape(-1)[0] if fact is not None and fact.values is not None else None
        if not isinstance(value, Size):
            raise Unknown("the limits of a range are not known")
        return value


def is_never_negative(size: Size) -> bool:
    least = size.least()
    return least is not None and least >= 0


def _enclose(elements: Sequence[Any]) -> Pair | None:
    """The least and largest of some sizes; None if that depends on the sizes, or one is not known."""
    sizes = list(dict.fromkeys(size for size in elements if isinstance(size, Size)))
    if not sizes or not all(isinstance(size, Size) for size in elements):
        return None
    low = next((a for a in sizes if all(is_never_negative(b - a) for b in sizes)), None)
    high = next((a for a in sizes if all(is_never_negative(a - b) for b in sizes)), None)
    return None if low is None or high is None else (low, high)
