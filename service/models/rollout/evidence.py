"""Evidence that a canary breaks a limit. Pure.

The question is asked again every second. An ordinary test with an error of 1 % would reject every canary sooner or
later if repeated that often. This test holds however often one looks (a sequential test, here as a bet). A gambler
starts with a capital of 1. In each window of time he bets that the canary breaks the limit, at odds at which the
capital does not grow on average if the canary keeps it. Then the probability that the capital ever reaches 1/a is at
most a (Ville's inequality). So a capital of 300 refutes the canary with an error of 1/300, whenever it is reached.

The capital is divided among several guesses of how bad the canary is (a mixture; Robbins 1970). See Lindon and Malek
2022 on counts, Johari et al. 2017 on tests that may be looked at often, Ramdas et al. 2023 on bets as evidence.
"""

import math
from collections.abc import Callable
from typing import Final

TIMES: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""The guesses: how many times as often as the limit allows an event occurs."""


class Evidence:
    """The capital of the gambler: a logarithm for each guess."""

    def __init__(self) -> None:
        self._logs = [0.0] * len(TIMES)

    @property
    def log_value(self) -> float:
        """The logarithm of the mean capital."""
        most = max(self._logs)
        return most + math.log(math.fsum(math.exp(each - most) for each in self._logs) / len(self._logs))

    def refutes(self, error: float) -> bool:
        """Whether a canary that keeps the limit would get this far with a probability of at most ``error``."""
        return self.log_value >= -math.log(error)

    def _add(self, gain: Callable[[float], float]) -> None:
        self._logs = [log + gain(times) for log, times in zip(self._logs, TIMES, strict=True)]


class Comparison(Evidence):
    """Tests the hypothesis: the probability of an event is at most p + ``spare`` for a request of the canary, where p
    is that for a request of the stable version.

    p may change with time, such as with the load, but is the same for both versions within a window. Let n and m be
    the requests of canary and stable version in a window, x and y the events among them. For a guess k the capital is
    multiplied by a^x b^y exp(-m spare (1 - b)), where a = k / c, b = 1 / c, c = 1 + (k - 1) n / (n + m). The mean of
    this factor is at most exp(n (p + spare) (a - 1) + m (p + spare) (b - 1)), and n (a - 1) + m (b - 1) = 0.
    """

    def __init__(self, spare: float) -> None:
        super().__init__()
        self._spare = spare

    def add(self, requests: int, events: int, stable_requests: int, stable_events: int) -> None:
        """Add a window. It counts only if both versions had requests in it."""
        if not requests or not stable_requests:
            return
        part = requests / (requests + stable_requests)
        free = stable_requests * self._spare

        def gain(times: float) -> float:
            scale = 1.0 + (times - 1.0) * part
            log_scale = math.log(scale)
            return events * (math.log(times) - log_scale) - stable_events * log_scale - free * (1.0 - 1.0 / scale)

        self._add(gain)


class Excess(Evidence):
    """Tests the hypothesis: the probability of an event is at most ``limit``, from 0 to 1. With 1 it cannot be refuted.

    For a guess k the capital is multiplied by the likelihood ratio of k times the odds of the limit to the limit. A
    limit of 0 counts as one in a million.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = max(limit, 1e-6)

    def add(self, requests: int, events: int) -> None:
        if self._limit >= 1.0 or not requests:
            return

        def gain(times: float) -> float:
            log_scale = math.log1p((times - 1.0) * self._limit)
            return events * math.log(times) - requests * log_scale

        self._add(gain)
