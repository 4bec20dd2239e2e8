"""Evidence against a canary: how little what was seen fits a canary that keeps a limit.

The question is asked again after every second, so a usual test would be wrong sooner or later: repeated often enough, a
test with an error of 1 % rejects everything. This one holds however often one looks. It is a bet. A gambler starts with
1, and stakes on each window of time that the canary breaks the limit, at odds at which a canary that keeps it makes the
capital shrink on average. Then the probability that the capital ever reaches 1/a is at most a (Ville's inequality). A
capital of 300 refutes the canary with an error of 1/300, whenever it is reached.

The gambler spreads the capital over several guesses of how bad the canary is (a mixture; Robbins 1970). See Lindon and
Malek 2022 on counts, Johari et al. 2017 on tests that may be looked at often, Ramdas et al. 2023 on bets as evidence.
"""

import math
from collections.abc import Callable
from typing import Final

TIMES: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""The guesses: how many times as often as the limit allows."""


class Evidence:
    """The capital of the gambler, as logarithms: one for each guess."""

    def __init__(self) -> None:
        self._logs = [0.0] * len(TIMES)

    @property
    def log_value(self) -> float:
        """The logarithm of the mean capital."""
        most = max(self._logs)
        return most + math.log(math.fsum(math.exp(each - most) for each in self._logs) / len(self._logs))

    def refutes(self, error: float) -> bool:
        """Whether a canary that keeps the limit would be here with a probability of at most ``error``."""
        return self.log_value >= -math.log(error)

    def _add(self, gain: Callable[[float], float]) -> None:
        self._logs = [log + gain(times) for log, times in zip(self._logs, TIMES, strict=True)]


class Comparison(Evidence):
    """Against "an event strikes a request of the canary with at most the probability p + ``spare``, where p is that of
    the stable version".

    p may change with time, as under load, but not within a window between the versions. Let n and m be the requests of
    canary and stable version in a window, x and y the events among them. For a guess k the capital is multiplied with
    a^x b^y exp(-m spare (1 - b)), where a = k / c, b = 1 / c, c = 1 + (k - 1) n / (n + m). Its mean is at most
    exp(n (p + spare) (a - 1) + m (p + spare) (b - 1)), and n (a - 1) + m (b - 1) = 0.
    """

    def __init__(self, spare: float = 0.0) -> None:
        super().__init__()
        self._spare = spare

    def add(self, requests: int, events: int, stable_requests: int, stable_events: int) -> None:
        """Take in a window. One without requests of both versions says nothing."""
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
    """Against "an event has at most the probability ``limit``", of 0 to 1. At 1 there is nothing to refute.

    For a guess k the capital is multiplied with the ratio of the likelihoods, with the odds k times those of the limit.
    A limit of 0 counts as one in a million.
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
