"""Simulated canaries: how often a harmless one is sent back, and how soon a harmful one. ``python -m`` prints both."""

from dataclasses import dataclass

import numpy as np

from model_store.rollout import Limits
from service.models.rollout.judge import Judge, Window


@dataclass(frozen=True)
class Version:
    """Failures, slow requests (5 times as long) and other answers by probability. ``times`` scales the times.

    Times are lognormal with a median of 10 ms.
    """

    fails: float = 0.001
    times: float = 1.0
    slow: float = 0.0
    differs: float = 0.0


def simulate(
    canary: Version, stable: Version, *, rate: float, percent: float, seconds: int, seed: int, limits: Limits
) -> int | None:
    """Requests at random times for so many seconds. Returns the second in which the canary is sent back, or None."""
    random, judge = np.random.default_rng(seed), Judge(limits)
    for second in range(1, seconds + 1):
        load = 1.0 + 0.5 * np.sin(second / 40)  # both versions get slower and faster together
        window = Window()
        for arm, version, part in (
            (window.canary, canary, percent / 100),
            (window.stable, stable, 1 - percent / 100),
        ):
            number = int(random.poisson(rate * part))
            times = 0.01 * load * version.times * np.exp(0.4 * random.standard_normal(number))
            times = np.where(random.random(number) < version.slow, 5 * times, times)
            for time, fails in zip(times.tolist(), random.random(number) < version.fails, strict=True):
                arm.note(time, bool(fails))
        window.compared = window.canary.requests
        window.differ = int(random.binomial(window.compared, canary.differs))
        if judge.add(window):
            return second
    return None


CASES = {
    "the same in all": Version(0.001),
    "at every limit: errors +1 point, p99 x 1.5, 10 % differ": Version(0.011, 1.5, 0.0, 0.1),
    "1 % fail, 2 % differ, 1.2 times as slow": Version(0.01, 1.2, 0.0, 0.02),
    "5 % fail": Version(0.05),
    "30 % fail": Version(0.3),
    "all fail": Version(1.0),
    "3 times as slow": Version(0.001, 3.0),
    "5 % take 5 times as long": Version(0.001, 1.0, 0.05),
    "30 % differ": Version(0.001, differs=0.3),
    "all differ": Version(0.001, differs=1.0),
}


def main() -> None:
    for percent in (5.0, 20.0):
        for name, version in CASES.items():
            shown = []
            for rate, tries in ((10.0, 200), (100.0, 100), (1000.0, 20)):
                found = [
                    simulate(version, Version(), rate=rate, percent=percent, seconds=600, seed=seed, limits=Limits())
                    for seed in range(tries)
                ]
                seen = [each for each in found if each is not None]
                median = f"{np.median(seen):.0f} s" if seen else "-"
                shown.append(f"{len(seen) / tries:.1%} {median}")
            print(f"{percent:g} % | {name} | " + " | ".join(shown), flush=True)


if __name__ == "__main__":
    main()
