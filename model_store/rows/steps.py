"""One node of the graph with what is known of its inputs: what the rules are given, and how they say what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.rows.facts import FIXED, Fact, Fixed, Mixing, Places, Rows, Selectors, Shape, Sized, State, Unknown
from model_store.rows.measuring import Run
from model_store.rows.nodes import Node
from model_store.rows.sizes import Size, Symbol, Values


class Measures:
    """The measured runs, and a size for each length that was measured.

    ``settings`` says for each run which sizes it had besides its rows: runs of one setting differ in their rows only.
    """

    def __init__(self, runs: Sequence[Run], settings: Sequence[int]) -> None:
        self.runs = runs
        self.settings = settings
        self.rows = Size.of(Symbol("rows", tuple(run.rows for run in runs), is_rows=True))
        self._known: dict[Values, Size] = {}
        self._equal: list[tuple[Size, Size]] = []

    def same(self, size: Size) -> Size:
        """The size that is known for what was measured as this one, so that both are written alike."""
        return size if size.has_rows or size.constant is not None else self._known.get(self._values(size), size)

    def note(self, size: Size) -> None:
        """Remember a size, so that another tensor's equal length is taken for the same."""
        if not size.has_rows:
            self._known.setdefault(self._values(size), size)

    def symbol(self, name: str, values: Values) -> Size:
        """The size of a free axis of an input. A size that was the same in all runs counts as fixed."""
        size = Size.of(values[0]) if len(set(values)) == 1 else Size.of(Symbol(name, values))
        self.note(size)
        return size

    def size_of(self, values: Values) -> Size:
        """A length that does not depend on the rows, from what was measured. Raises Unknown where it does depend."""
        if len(set(values)) == 1:
            return Size.of(values[0])
        known = self._known.get(values)
        if known is None:
            by_setting = dict(zip(self.settings, values, strict=True))
            if any(by_setting[setting] != value for setting, value in zip(self.settings, values, strict=True)):
                raise Unknown(f"a size depends on the number of rows in a way that is not understood: {list(values)}")
            known = self._known[values] = Size.of(Symbol(f"size{len(self._known)}", values))
        return known

    def learn(self, before: Size, after: Size) -> None:
        """Two numbers of elements that a reshape makes equal, whatever the sizes are."""
        pair = before.per_row(), after.per_row()
        if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
            self._equal += [(pair[0], pair[1]), (pair[1], pair[0])]

    def divide(self, size: Size, by: Size) -> Size | None:
        """An exact quotient, by what reshapes have taught where the sizes alone do not show it."""
        exact = size.divide(by)
        for left, right in self._equal:
            if exact is not None:
                break
            part = size.divide(left)
            exact = None if part is None else (part * right).divide(by)
        return exact

    def shapes(self, name: str) -> list[tuple[int, ...]] | None:
        """The shape of a tensor in each run; None where it was not measured."""
        found = [run.shapes.get(name) for run in self.runs]
        return None if None in found else found  # type: ignore[return-value]

    def values(self, name: str) -> list[np.ndarray] | None:
        """The values of a tensor in each run; None where they were not kept."""
        found = [run.values.get(name) for run in self.runs]
        return None if any(value is None for value in found) else found  # type: ignore[return-value]

    def _values(self, size: Size) -> Values:
        return tuple(size.at(run) for run in range(len(self.runs)))


@dataclass(frozen=True, slots=True)
class Step:
    """``opset`` is the version of the node's own operator set."""

    node: Node
    facts: tuple[Fact | None, ...]
    measures: Measures
    opset: int
    constants: Callable[[str], np.ndarray | None]
    """The values of an initializer where they are small."""

    def fact(self, at: int) -> Fact:
        """An input that must be there. Raises Unknown."""
        found = self.facts[at] if at < len(self.facts) else None
        if found is None:
            raise Unknown(f"input {at} is missing")
        return found

    def has(self, at: int) -> bool:
        return at < len(self.facts) and self.facts[at] is not None

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def text(self, name: str, default: str = "") -> str:
        value = self.node.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def axis(self, rank: int, default: int | None = None, name: str = "axis") -> int:
        """An attribute as an axis from 0. Raises Unknown where it is missing or outside of the rank."""
        return norm(self.attribute(name, default), rank)

    def numbers(self, at: int) -> list[int] | None:
        """The whole numbers of an input, where they are the same in every batch and every run."""
        fact = self.facts[at] if at < len(self.facts) else None
        if fact is None:
            return None
        if fact.values is not None:
            found = [v.constant if isinstance(v, Size) else None for v in fact.values.reshape(-1)]
            if None not in found:
                return found  # type: ignore[return-value]
        return None

    def sizes(self, at: int) -> list[Size] | None:
        """The elements of an input as sizes; None where one of them is not known."""
        fact = self.fact(at)
        if fact.values is None:
            return None
        found = list(fact.values.reshape(-1))
        return found if all(isinstance(size, Size) for size in found) else None

    def rows(self, at: int) -> Rows | None:
        """How an input lies along the batch; None where it is the same for every row.

        Raises Unknown for what is neither.
        """
        state = self.fact(at).state
        if isinstance(state, Rows):
            return state
        if isinstance(state, Fixed):
            return None
        raise Unknown(explain(state))

    def expect_fixed(self, *places: int) -> None:
        """Raises Unknown where one of these inputs depends on the rows or on their number."""
        for at in places:
            if self.has(at) and self.rows(at) is not None:
                raise Unknown(f"input {at} ({self.node.inputs[at]!r}) depends on the rows")

    def expect_fixed_after(self, at: int) -> None:
        self.expect_fixed(*range(at + 1, len(self.facts)))

    def give(self, state: State, shape: Shape | None = None, output: int = 0) -> Fact:
        """The fact of an output: the shape as it is given, or as it was measured."""
        if shape is None:
            shape = self.measure(self.node.outputs[output], state)
        for size in shape:
            self.measures.note(size)
        return Fact(state, shape)

    def give_all(self, state: State) -> list[Fact | None]:
        """Every output alike."""
        return [self.give(state, output=i) if name else None for i, name in enumerate(self.node.outputs)]

    def measure(self, name: str, state: State) -> Shape:
        """The shape of an output from the measured runs; the axis of the rows by its state."""
        measured = self.measures.shapes(name)
        if measured is None:
            raise Unknown(f"{name!r} is no tensor")
        if len({len(shape) for shape in measured}) > 1:
            raise Mixing("the rank of its output depends on the number of rows or on a size")
        axis = state.axis if isinstance(state, Rows | Places | Selectors) else None
        shape = []
        for at, lengths in enumerate(zip(*measured, strict=True)):
            if at == axis and isinstance(state, Rows | Places | Selectors):
                shape.append(state.outer * self.measures.rows * state.inner)
            else:
                shape.append(self.measures.size_of(lengths))
        return tuple(shape)


Rule = Callable[[Step], Sequence[Fact | None]]


def norm(axis: Any, rank: int) -> int:
    """An axis counted from 0. Raises Unknown where it is none of the rank."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise Unknown(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank


def explain(state: State) -> str:
    if isinstance(state, Sized):
        return "a number that depends on how many rows there are enters the data"
    if isinstance(state, Places | Selectors):
        return "the number of a row within its batch enters the data"
    return "rows are not understood"


def fixed(step: Step) -> list[Fact | None]:
    """Every output is the same in every batch."""
    return step.give_all(FIXED)
