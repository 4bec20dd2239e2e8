"""What the rows of a request do in a loop: what they begin with, what each step takes, what is kept, when they end.

Plain values and pure functions; ``continuous_batcher.py`` runs them.
"""

import sys
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


Follow = Callable[[int, Sequence[int]], bool]
"""(row, its tokens so far) after each token that was chosen, on the event loop. True ends the row."""


@dataclass(frozen=True, slots=True)
class TokenSampling:
    """Tokens are drawn: of the ``top_k`` likeliest, and of those of the likeliest that together have the share
    ``top_p``. Scores are divided by ``temperature``, above 0. The draws depend on ``seed`` and step alone.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Decoding:
    """A step chooses the next token of each row by the output ``scores`` [batch, symbols], or [batch, length, symbols],
    whose last place counts. A row ends with one of ``ends``.

    The input ``token`` int64 [batch] or [batch, 1] takes ``begin`` at the first step, and then the last token. If it
    ``takes_all``, it is [batch, length] with all tokens so far; those of the first step are in ``LoopRequest.begin``.
    """

    token: str
    scores: str
    begin: int
    ends: Collection[int]
    width: int = 1
    """1 takes the likeliest token. More is beam search: so many hypotheses of each row, each in a slot of its own."""
    takes_all: bool = False
    are_logits: bool = False
    """Whether scores are logits. Else they are logarithms of probabilities."""
    forced: Sequence[Sequence[int]] = ()
    """For each row the tokens between ``begin`` and the first that is chosen. Empty: none."""
    suppressed: list[int] = field(default_factory=list)
    """Tokens that are never chosen."""
    suppressed_first: list[int] = field(default_factory=list)
    """Tokens that are not the first to be chosen."""
    max_tokens: int = sys.maxsize
    """A row ends at the latest after so many chosen tokens, its end among them. Needed where rows have given tokens of
    several lengths; else ``LoopRequest.steps`` is the limit."""
    sampling: TokenSampling | None = None
    """With width 1 only."""
    follow: Follow | None = None
    """With width 1 only."""

    @property
    def is_plain(self) -> bool:
        """Whether every step takes the likeliest token of each row, whichever it is."""
        chooses = self.width == 1 and self.sampling is None and not self.forced
        return chooses and not self.suppressed and not self.suppressed_first


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """A request to a loop.

    ``begin`` has [rows, ...] for every carried input and every input that stays the same; ``by_step`` is asked for the
    rest. ``keep`` names outputs that are collected at every step, ``last`` those of the last step that are wanted;
    ``watch`` is shown the kept ones, those in ``show``, and the chosen token under the name of its input.
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
    """Chosen tokens without the end, and the logarithm of their joint probability with it.

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
    batch_rows: int = 0
    """The most rows that ran together with its own, these included."""
