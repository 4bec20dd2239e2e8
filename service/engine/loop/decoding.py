"""The next symbol of a sentence: the likeliest, or beam search. Plain values, no engine.

Beam search (Graves, Sequence Transduction with Recurrent Neural Networks, 2012) without length normalisation: what is
compared is the joint probability of whole sentences, so a row can end as soon as no hypothesis can overtake the best
finished one.
"""

from dataclasses import dataclass, field

import numpy as np

from service.engine.loop.request import Sentence


@dataclass(slots=True)
class Greedy:
    """One row: its symbols so far and the logarithm of their probability."""

    end: int
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    has_ended: bool = False

    def take(self, token: int, log_probability: float) -> None:
        """Add a symbol; then ``has_ended`` says whether it was the end."""
        self.log_probability += log_probability
        self.has_ended = token == self.end
        if not self.has_ended:
            self.tokens.append(token)

    def best(self) -> Sentence:
        return Sentence(self.tokens, self.log_probability, self.has_ended)


class Beams:
    """One row: ``width`` hypotheses, the likeliest first, each in a slot of its own."""

    def __init__(self, width: int, end: int) -> None:
        self.width = width
        self.end = end
        self._tokens: list[list[int]] = [[] for _ in range(width)]
        # They begin equal, so only the first counts.
        self._log_probability = np.full(width, -np.inf)
        self._log_probability[0] = 0.0
        self._finished: Sentence | None = None
        self.has_ended = False

    def take(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Go on by ``scores`` [width, symbols]. Returns, for each slot, which slot it continues and with which symbol;
        then ``has_ended`` says whether no hypothesis can become better than the best sentence that has ended.
        """
        symbols = scores.shape[1]
        joint = self._log_probability[:, None] + scores.astype(np.float64)
        for slot in np.flatnonzero(np.isfinite(joint[:, self.end])):
            ended = Sentence(self._tokens[slot], float(joint[slot, self.end]))
            if self._finished is None or ended.log_probability > self._finished.log_probability:
                self._finished = ended
        joint[:, self.end] = -np.inf
        # A stable sort, so that equal ones come in the same order every time.
        best = np.argsort(-joint.reshape(-1), kind="stable")[: self.width]
        parents, tokens = np.divmod(best, symbols)
        self._log_probability = joint.reshape(-1)[best]
        self._tokens = [[*self._tokens[p], int(t)] for p, t in zip(parents.tolist(), tokens.tolist(), strict=True)]
        if self._finished is not None:
            self.has_ended = self._finished.log_probability >= self._log_probability[0]
        return parents, tokens

    def best(self) -> Sentence:
        """The likeliest finished sentence; the likeliest unfinished one where none has ended."""
        if self._finished is not None:
            return self._finished
        return Sentence(self._tokens[0], float(self._log_probability[0]), has_ended=False)
