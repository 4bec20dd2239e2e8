"""The tokens that a row has written in a loop: greedily, by draws, or by beam search.

Beam search (Graves, Sequence Transduction with Recurrent Neural Networks, 2012) compares whole sentences by their joint
probability. A length penalty (Wu et al., Google's Neural Machine Translation System, 2016) divides its logarithm by a
power of the length. A row ends as soon as no hypothesis can become better than the best finished one.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from service.engine.loop.request import Decoding, Follow, Sentence

logger = logging.getLogger("sluice.engine")


@dataclass(slots=True)
class Greedy:
    """A row in one slot: its tokens so far and their log-probability."""

    ends: Collection[int]
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    has_ended: bool = False

    def take(self, token: int, log_probability: float) -> None:
        """Add a token, and set ``has_ended`` if the row ends with it."""
        self.log_probability += log_probability
        self.has_ended = token in self.ends
        if not self.has_ended:
            self.tokens.append(token)

    def best(self) -> Sentence:
        return Sentence(self.tokens, self.log_probability, self.has_ended)


@dataclass(slots=True)
class Followed(Greedy):
    """The same for a row whose first ``forced`` tokens are given, that has a limit, or that has a follower."""

    row: int = 0
    forced: int = 0
    max_tokens: int = 0
    follow: Follow | None = None
    is_cut: bool = False
    """Whether the limit came before the end."""

    def take(self, token: int, log_probability: float) -> None:
        if self.forced:
            self.forced -= 1
            return
        # ``super()`` does not work here, because the decorator makes a class with slots anew.
        Greedy.take(self, token, log_probability)
        if self.has_ended:
            return
        self.has_ended = self.follow is not None and self._tell(self.follow)
        if not self.has_ended and len(self.tokens) >= self.max_tokens:
            self.has_ended = self.is_cut = True

    def _tell(self, follow: Follow) -> bool:
        try:
            return follow(self.row, self.tokens)
        except Exception:  # the other requests of the batch must continue
            logger.exception("the follower of a loop request failed")
            return False

    def best(self) -> Sentence:
        return Sentence(self.tokens, self.log_probability, self.has_ended and not self.is_cut)


class Beams:
    """A row with ``width`` hypotheses, the likeliest first, each in its own slot."""

    def __init__(self, width: int, ends: Collection[int], max_tokens: int, length_penalty: float = 0.0) -> None:
        self.width = width
        self.ends = sorted(ends)
        self.max_tokens = max_tokens
        self.length_penalty = length_penalty
        self._tokens: list[list[int]] = [[] for _ in range(width)]
        # All hypotheses begin equal, so only the first counts.
        self._log_probability = np.full(width, -np.inf)
        self._log_probability[0] = 0.0
        self._finished: Sentence | None = None
        self._best_rate = -np.inf
        self.has_ended = False

    def take(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Extend the hypotheses by ``scores`` [width, symbols], logarithms of probabilities.

        Returns for each slot which slot it continues, and with which token. Sets ``has_ended`` if the limit is reached,
        or if no hypothesis can become better than the best finished sentence.
        """
        symbols = scores.shape[1]
        joint = self._log_probability[:, None] + scores.astype(np.float64)
        for end in self.ends:
            for slot in np.flatnonzero(np.isfinite(joint[:, end])):
                ended = Sentence(self._tokens[slot], float(joint[slot, end]))
                rate = self._rate(ended.log_probability, len(ended.tokens) + 1)
                if self._finished is None or rate > self._best_rate:
                    self._finished, self._best_rate = ended, rate
        joint[:, self.ends] = -np.inf
        # The sort is stable, so that equal hypotheses always have the same order.
        best = np.argsort(-joint.reshape(-1), kind="stable")[: self.width]
        parents, tokens = np.divmod(best, symbols)
        self._log_probability = joint.reshape(-1)[best]
        self._tokens = [[*self._tokens[p], int(t)] for p, t in zip(parents.tolist(), tokens.tolist(), strict=True)]
        self.has_ended = len(self._tokens[0]) >= self.max_tokens
        if self._finished is not None:
            # More tokens never make a hypothesis likelier. So its rate at the greatest length is its upper bound.
            self.has_ended |= self._best_rate >= self._rate(float(self._log_probability[0]), self.max_tokens)
        return parents, tokens

    def _rate(self, log_probability: float, tokens: int) -> float:
        """The number by which sentences are compared."""
        return float(log_probability / tokens**self.length_penalty)

    def best(self) -> Sentence:
        """The best finished sentence, or the likeliest unfinished one if none has ended."""
        if self._finished is not None:
            return self._finished
        return Sentence(self._tokens[0], float(self._log_probability[0]), has_ended=False)


Written = Greedy | Beams


def begin_row(decoding: Decoding, row: int) -> Written:
    """The state of a row before its first step."""
    if decoding.width > 1:
        return Beams(decoding.width, decoding.ends, decoding.max_tokens, decoding.length_penalty)
    if not decoding.forced and decoding.follow is None:
        return Greedy(decoding.ends)  # the number of steps limits it
    forced = len(decoding.forced[row]) if decoding.forced else 0
    return Followed(decoding.ends, row=row, forced=forced, max_tokens=decoding.max_tokens, follow=decoding.follow)
