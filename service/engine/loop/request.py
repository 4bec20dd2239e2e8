"""A request to a loop: what its rows begin with, what each step takes, what is kept, when they end; and its result."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from service.engine.tensors import Arrays

Value = np.ndarray | np.generic | float | int
ByStep = Callable[[slice, int], Value]
"""(rows of the request, step from 0) -> the values of an input: [rows, ...], or one value for all rows. For example
``lambda rows, step: draws[rows, step]``."""
Watch = Callable[[int, int, Mapping[str, np.ndarray]], None]
"""Called with (row, step, the row's shown outputs) after each step, on the event loop. Must not keep the arrays."""
Follow = Callable[[int, Sequence[int]], bool]
"""Called with (row, its tokens so far) after each chosen token, on the event loop. True ends the row."""


@dataclass(frozen=True, slots=True)
class TokenSampling:
    """How tokens are drawn: from the ``top_k`` likeliest, and from the fewest likeliest whose probabilities add up to
    ``top_p``. Scores are divided by ``temperature``, above 0. The draws depend only on ``seed`` and the step.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a step chooses the next token of each row, by the output ``scores``: [batch, symbols], or
    [batch, length, symbols], of which the last position counts. A row ends with one of ``ends``.

    The input ``token``, int64 [batch] or [batch, 1], takes ``begin`` at the first step and then the last token. If it
    ``takes_all``, it is [batch, length] with all tokens so far; those of the first step are in ``LoopRequest.begin``.
    """

    token: str
    scores: str
    begin: int
    ends: Collection[int]
    width: int = 1
    """1 takes the likeliest token. More means beam search: the number of hypotheses of a row, each in its own slot."""
    length_penalty: float = 0.0
    """For beam search, 0 or more. Sentences are compared by their log-probability, divided by the number of their
    tokens (the end included) to this power. Higher values favour long sentences."""
    takes_all: bool = False
    are_logits: bool = False
    """Whether scores are logits. Otherwise they are logarithms of probabilities."""
    forced: Sequence[Sequence[int]] = ()
    """For each row the given tokens between ``begin`` and the first chosen one. Empty: none."""
    suppressed: list[int] = field(default_factory=list)
    """Tokens that are never chosen."""
    suppressed_first: list[int] = field(default_factory=list)
    """Tokens that are not chosen first."""
    max_tokens: int = sys.maxsize
    """The most chosen tokens of a row, the end included. Needed if the given tokens of rows differ in number; otherwise
    ``LoopRequest.steps`` is the limit."""
    sampling: TokenSampling | None = None
    """With width 1 only."""
    follow: Follow | None = None
    """With width 1 only."""

    @property
    def is_plain(self) -> bool:
        """Whether every step takes the likeliest of all tokens."""
        chooses = self.width == 1 and self.sampling is None and not self.forced
        return chooses and not self.suppressed and not self.suppressed_first


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """A request to a loop.

    begin    [rows, ...] for every input that is carried or never changes
    by_step  the other inputs
    keep     outputs that are collected at every step
    last     outputs that are wanted of the last step
    watch    is shown the outputs in ``keep`` and ``show``, and the chosen token under the name of its input
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
        """The inputs that change at every step and are not carried."""
        return (*self.by_step, self.decoding.token) if self.decoding else self.by_step.keys()

    @property
    def rows(self) -> int:
        return len(next(iter(self.begin.values())))


class Sentence(NamedTuple):
    """Chosen tokens without the end, and their joint log-probability, the end included.

    ``has_ended`` is False if the steps were used up before the end.
    """

    tokens: Sequence[int]
    log_probability: float
    has_ended: bool = True


class LoopResult(NamedTuple):
    """The result of a loop request.

    ``kept`` [rows, steps, ...] and ``last`` [rows, ...] are by output. ``sentences`` has one for each row, if there is
    a decoding. ``queue_s``: until the first step began. ``compute_s``: in the runs of a row, the mean over the rows.
    """

    kept: Arrays
    last: Arrays
    sentences: Sequence[Sentence]
    queue_s: float
    compute_s: float
    batch_rows: int = 0
    """The most rows of a batch that its own were in."""
