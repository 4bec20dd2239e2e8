"""The results of the measured runs, and a size for each measured length."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from model_store.rows.facts import Counted, Fact, Places, Rows, Selectors, Shape, Source, State, Unknown
from model_store.rows.measuring import Run
from model_store.rows.sizes import Size, Symbol, Values


class Measures:
    """The measured runs, as tuples with one entry for each run.

    ``settings`` gives each run's sizes except its rows: runs of one setting differ only in their rows. ``pinned`` names
    free axes with a single length. ``exact``: all free axes have a single length, so measured values hold for every
    batch.
    """

    def __init__(
        self, runs: Sequence[Run], settings: Sequence[int], *, exact: bool = True, pinned: Iterable[str] = ()
    ) -> None:
        self.runs = runs
        self.settings = settings
        self.exact = exact
        self.rows = Size.of(Symbol("rows", tuple(run.rows for run in runs), is_rows=True))
        self._pinned = frozenset(pinned)
        self._count = 0
        self._equal: list[tuple[Size, Size]] = []
        self._derived: dict[tuple[object, ...], Size] = {}
        self._smaller: dict[Symbol, tuple[Size, Size]] = {}
        self._cut: dict[Symbol, tuple[Size, int]] = {}
        self.limits: list[tuple[Size, int]] = []
        """Sizes with their largest values. If a size is larger, every input fails."""
        self.always = True
        """Whether the current node runs for all inputs."""

    def symbol(self, name: str, values: Values) -> Size:
        """The length of a free axis of an input."""
        return Size.of(values[0]) if self.exact or name in self._pinned else Size.of(Symbol(name, values))

    def length(self, values: Values, *, free: bool) -> Size:
        """A measured length that no operand has. ``free``: it may differ at other sizes even if it was always the same.
        Raises Unknown if it depends on the rows."""
        alike = len(set(values)) == 1
        return Size.of(values[0]) if alike and (self.exact or not free) else self.new(values, least=0)

    def choose(self, values: Values, candidates: Iterable[Size]) -> Size | None:
        """The length of an operand that was measured like this; None if there is none.

        If several match, they are equal or one of them is 1 at other sizes, and the result may be either.
        """
        found: Size | None = None
        for candidate in candidates:
            if candidate.has_rows or candidate == found or self.values_of(candidate) != values:
                continue
            found = candidate if found is None else self._join_lengths(found, candidate)
        return found

    def _join_lengths(self, a: Size, b: Size) -> Size:
        for one, other in ((a, b), (b, a)):
            symbol = _only_symbol(one)
            if symbol is not None and other in self._smaller.get(symbol, ()):
                return other  # the smaller of two lengths meets one of them
        return self.new(self.values_of(a), least=0)

    def note_smaller(self, smaller: Size, a: Size, b: Size) -> None:
        """Note that a size is the smaller of two."""
        symbol = _only_symbol(smaller)
        if symbol is not None:
            self._smaller[symbol] = a, b

    def new(self, values: Values, least: int) -> Size:
        """A size that is known only by its measurements. Raises Unknown if it depends on the rows."""
        by_setting = dict(zip(self.settings, values, strict=True))
        if any(by_setting[setting] != value for setting, value in zip(self.settings, values, strict=True)):
            raise Unknown(f"a size depends on the number of rows in a way that is not understood: {list(values)}")
        self._count += 1
        return Size.of(values[0]) if self.exact else Size.of(Symbol(f"size{self._count}", values, minimum=least))

    def limit(self, size: Size, most: int) -> None:
        """Note that a size fails above ``most``, if the current node always runs."""
        if self.always and most > 0:
            self.limits.append((size, most))

    def derive(self, operator: str, operands: Sequence[Size], values: Values) -> Size:
        """As ``new``, for a number computed from sizes. Equal computations give the same number."""
        ordered = sorted(operands, key=repr) if operator in ("Min", "Max") else operands
        key = (operator, *ordered)
        if key not in self._derived:
            self._derived[key] = self.new(values, least=_find_least(operator, operands))
        return self._derived[key]

    def note_cut(self, cut: Size, wanted: Size, most: int) -> None:
        """Note that a length is the smaller of ``wanted`` and ``most``: what a slice leaves of a constant."""
        symbol = _only_symbol(cut)
        if symbol is not None:
            self._cut[symbol] = wanted, most

    def learn(self, before: Size, after: Size) -> None:
        """Note that a reshape makes two numbers of elements equal at all sizes."""
        pair = before.per_row(), after.per_row()
        if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
            self._equal += [(pair[0], pair[1]), (pair[1], pair[0])]

    def join(self, a: Size, b: Size) -> None:
        """Note that an operator requires two lengths to be equal, or one of them to be 1."""
        for cut, whole in ((a, b), (b, a)):
            symbol = _only_symbol(cut)
            wanted, most = self._cut.get(symbol, (None, 0)) if symbol is not None else (None, 0)
            if wanted == whole and most > 1:  # the smaller of the two equals the first, and fits into the other
                self.limit(whole, most)

    def divide(self, size: Size, by: Size) -> Size | None:
        """An exact quotient, using what reshapes have shown if the sizes alone do not give it."""
        exact = size.divide(by)
        for left, right in self._equal:
            if exact is not None:
                break
            part = size.divide(left)
            exact = None if part is None else (part * right).divide(by)
        return exact

    def shapes(self, name: str) -> list[tuple[int, ...]] | None:
        """The shape of a tensor in each run; None if it was not measured."""
        found = [run.shapes.get(name) for run in self.runs]
        return None if None in found else found  # type: ignore[return-value]

    def values(self, name: str) -> list[np.ndarray] | None:
        """The values of a tensor in each run; None if they were not kept."""
        found = [run.values.get(name) for run in self.runs]
        return None if any(value is None for value in found) else found  # type: ignore[return-value]

    def values_of(self, size: Size) -> Values:
        return tuple(size.at(run) for run in range(len(self.runs)))


def _only_symbol(size: Size) -> Symbol | None:
    """The symbol that the size consists of, if it is a single one."""
    if len(size.terms) != 1:
        return None
    [(term, factor)] = size.terms.items()
    return term[0] if len(term) == 1 and factor == 1 else None


def _find_least(operator: str, operands: Sequence[Size]) -> int:
    """The least value of a number computed from sizes; -1 if it may be negative."""
    leasts = [least if least is not None and least >= 0 else -1 for least in (size.least() for size in operands)]
    if operator == "Min":
        return min(leasts)
    if operator == "Max":
        return max(leasts)
    if operator == "Mod" or (operator == "Div" and leasts[0] >= 0):
        return 0 if leasts[1] > 0 else -1
    return -1


def widen(fact: Fact) -> Fact:
    """What is known about a tensor that differs in every turn of a loop: its layout, but not its values."""
    state = dataclasses.replace(fact.state, even=False) if isinstance(fact.state, Rows) else fact.state
    return dataclasses.replace(fact, state=state, values=None, source=Source.CALLER)


def check_shape(state: State, shape: Shape, measures: Measures) -> None:
    """Raise Unknown if a shape depends on the number of rows in another way than the state says."""
    axis = 0 if isinstance(state, Counted) else -1
    if isinstance(state, Rows | Places | Selectors):
        axis = state.axis
        if axis >= len(shape) or shape[axis] != state.outer * measures.rows * state.inner:
            raise Unknown(f"its shape is {list(shape)}, and axis {axis} is not that of the rows")
    if any(size.has_rows for at, size in enumerate(shape) if at != axis):
        raise Unknown(f"its shape is {list(shape)}: other axes than that of the rows depend on the number of rows")
