"""What the rows of a request do in a loop: what they begin with, what each step takes, what is kept, when they end.

Plain values and pure functions; ``continuous_batcher.py`` runs them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from service.engine.tensors import Arrays

Value = np.ndarray | np.generic | float | int
ByStep = Callable[[slice, int], Value]
"""(rows of the request, step from 0) -> what an input takes for these rows at this step: [rows, ...], or one value for
all of them. Such as ``lambda rows, step: draws[rows, step]``."""
Watch = Callable[[int, int, Mapping[str, np.ndarray]], None]
"""(row, step, the shown outputs of this row) after each step, on the event loop; must not keep the arrays."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """A step chooses the next symbol by the output ``scores`` [batch, symbols] (logarithms of probabilities), which the
    input ``token`` int64 [batch] takes at the next step; a row ends with the symbol ``end``.

    ``width`` 1 is greedy. More is beam search: so many hypotheses of each row, each in a slot of its own.
    """

    token: str
    scores: str
    begin: int
    end: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """A request to a loop.

    ``begin`` has [rows, ...] for every carried input and every input that stays the same; ``by_step`` is asked for the
    rest. ``keep`` names outputs that are collected at every step, ``last`` those of the last step that are wanted;
    ``watch`` is shown the kept ones, those in ``show``, and the chosen symbol under the name of its input.
    """

    begin: Arrays
    steps: int
    by_step: Mapping[str, ByStep] = field(default_factory=dict)
    keep: Sequence[str] = ()
    last: Sequence[str] = ()
    show: Sequence[str] = ()
    decoding: Decoding | None = None
    watch: Watch | None = None

    @property
    def changing(self) -> Collection[str]:
        """The inputs that take something else at every step, from outside of the loop."""
        return (*self.by_step, self.decoding.token) if self.decoding else self.by_step.keys()

    @property
    def rows(self) -> int:
        return len(next(iter(self.begin.values())))


class Sentence(NamedTuple):
    """Chosen symbols without the end, and the logarithm of their joint probability with it.

    ``has_ended`` is False where the last step came before the end.
    """

    tokens: Sequence[int]
    log_probability: float
    has_ended: bool = True


class LoopResult(NamedTuple):
    """What a loop request came to.

    ``kept`` [rows, steps, ...] and ``last`` [rows, ...] by output; ``sentences`` one a row where there is a decoding.
    Times in seconds: until the first step began, and in the runs that a row was part of, the mean over the rows.
    """

    kept: Arrays
    last: Arrays
    sentences: Sequence[Sentence]
    queue_s: float
    compute_s: float
