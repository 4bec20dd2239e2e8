"""What is known about a tensor: its shape for every batch, and how its elements depend on the rows of the batch.

The states
- ``Fixed``: the same in every batch, for all rows and numbers of rows. May depend on other free sizes.
- ``Sized``: depends on the number of rows, but not on their values. Nothing else is known.
- ``Rows``: one axis has the length outer · rows · inner. Each element depends on the row of its own place only.
- ``Places``: as ``Rows``, and the value is step · (number of the row) + something that is the same for every row.
- ``Selectors``: index tuples whose first component is the number of their own row, see GatherND.
- ``Counted``: indices into a tensor with its rows on axis 0, counted over the whole batch. Those of a row point to its
  own elements, offset by the elements of the rows before it.
- ``Filled``: texts of each row along axis 0, padded at the end to the row with the most.
- ``Failed``: rows are mixed, or not understood, on the way to this tensor.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from model_store.rows.sizes import ONE, Size

Shape = tuple[Size, ...]


class NotIndependent(Exception):
    """A rule does not give independent rows; the text says why."""

    verdict: Literal["mixing", "unknown"]


class Mixing(NotIndependent):
    """Rows influence each other."""

    verdict = "mixing"


class Unknown(NotIndependent):
    """The rule cannot tell."""

    verdict = "unknown"


@dataclass(frozen=True, slots=True)
class Fixed:
    pass


@dataclass(frozen=True, slots=True)
class Sized:
    pass


@dataclass(frozen=True, slots=True)
class Rows:
    """``even``: all places along the axis hold the same value."""

    axis: int
    outer: Size = ONE
    inner: Size = ONE
    even: bool = False

    def at(self, axis: int) -> "Rows":
        return Rows(axis, self.outer, self.inner, self.even)


@dataclass(frozen=True, slots=True)
class Places:
    axis: int
    outer: Size
    inner: Size
    step: Size

    def at(self, axis: int) -> "Places":
        return Places(axis, self.outer, self.inner, self.step)


@dataclass(frozen=True, slots=True)
class Selectors:
    axis: int
    outer: Size
    inner: Size


@dataclass(frozen=True, slots=True)
class Counted:
    """``each`` is the number of places per row."""

    each: Size


@dataclass(frozen=True, slots=True)
class Filled:
    filler: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    verdict: Literal["mixing", "unknown"]
    reason: str


State = Fixed | Sized | Rows | Places | Selectors | Counted | Filled | Failed


class Source(IntEnum):
    """What the elements of a tensor come from, besides the rows: the highest source of its operands."""

    FILE = 0
    """Constants of the file: measured values hold for every batch."""
    SIZES = 1
    """Free sizes: they were measured at some sizes only."""
    CALLER = 2
    """Values of an input that all rows share: they were measured for one value only."""


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """What is known about one tensor.

    ``shape`` is None if the rank is not known. ``values`` are the elements of a small tensor as sizes or truth values;
    an unknown element is None. ``parts`` are the tensors of a sequence.
    """

    state: State
    shape: Shape | None
    values: np.ndarray | None = None
    source: Source = Source.CALLER
    parts: "tuple[Fact, ...] | None" = None

    @property
    def dims(self) -> Shape:
        """The shape. Raises Unknown if it is not known."""
        if self.shape is None:
            raise Unknown("its shape is not known")
        return self.shape

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def rows(self) -> Rows | None:
        return self.state if isinstance(self.state, Rows) else None


FIXED, SIZED = Fixed(), Sized()
