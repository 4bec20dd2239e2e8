"""When a canary is rolled back: by its counts, with a stated confidence, however often it is judged."""

import math

import numpy as np
import pytest

from model_store.rollout import Limits
from service.models.rollout.evidence import TIMES, Comparison, Excess
from service.models.rollout.judge import Arm, Judge, Window, bucket_of, start_of
from tests.service.models.rollout.simulation import CASES, Version, simulate

STABLE = Version()


def returned(name: str, rate: float, tries: int, seconds: int, percent: float = 5.0) -> list[int | None]:
    return [
        simulate(CASES[name], STABLE, rate=rate, percent=percent, seconds=seconds, seed=seed, limits=Limits())
        for seed in range(tries)
    ]


@pytest.mark.parametrize(
    ("case", "rate", "within_s"),
    [("all fail", 10, 30), ("all differ", 10, 30), ("30 % fail", 100, 30), ("3 times as slow", 100, 30)],
)
def test_harmful_canary_goes_back_soon(case: str, rate: float, within_s: int) -> None:
    """At 5 % of so many requests a second, 19 of 20 such canaries are back within 30 s."""
    found = returned(case, rate, 20, within_s)
    assert sum(second is not None for second in found) >= 19, found


def test_canary_at_every_limit_stays() -> None:
    """With errors, p99 and disagreement all at their limits, looked at 300 times: at most 1 in 100 may go back."""
    found = returned("at every limit: errors +1 point, p99 x 1.5, 10 % differ", 20, 40, 300, percent=20.0)
    assert sum(second is not None for second in found) <= 2, found


@pytest.mark.parametrize("size", [(1, 19), (3, 2), (50, 950)])
@pytest.mark.parametrize("fails", [0.0, 0.02, 0.6])
def test_capital_does_not_grow_on_average_at_the_limit(size: tuple[int, int], fails: float) -> None:
    """The mean factor of each guess is at most 1, summed over all outcomes of a window. That is the whole proof."""
    requests, stable_requests = size
    spare = 0.05
    counts, stable_counts = np.arange(requests + 1), np.arange(stable_requests + 1)
    chances = np.outer(binomial(requests, fails + spare), binomial(stable_requests, fails))
    means = np.zeros(len(TIMES))
    for events in counts:
        for stable_events in stable_counts:
            if chances[events, stable_events] > 1e-12:
                evidence = Comparison(spare)
                evidence.add(requests, int(events), stable_requests, int(stable_events))
                means += chances[events, stable_events] * np.exp(evidence._logs)
    assert (means <= 1 + 1e-9).all()
    assert means.max() > 0.0


def binomial(number: int, chance: float) -> np.ndarray:
    counts = range(number + 1)
    return np.array([math.comb(number, k) * chance**k * (1 - chance) ** (number - k) for k in counts])


def test_excess_is_a_fair_bet_at_the_limit() -> None:
    """The mean factor is 1 where exactly the limit differs."""
    for number in (1, 7):
        means = np.zeros(len(TIMES))
        for events, chance in enumerate(binomial(number, 0.1)):
            evidence = Excess(0.1)
            evidence.add(number, events)
            means += chance * np.exp(evidence._logs)
        assert means == pytest.approx(np.ones(len(TIMES)))


def test_reason_names_what_was_seen_and_the_limit() -> None:
    """Who reads the card knows the numbers of both versions, the limit and the confidence."""
    judge = Judge(Limits(confidence=0.999))
    reason = judge.add(Window(Arm(100, 40), Arm(1900, 2)))
    assert reason.startswith("errors: 40 of 100 (40.00%) of its requests failed, 2 of 1900 (0.11%) of the stable")
    assert reason.endswith("it may be 0.01 more; confidence 99.9 %")


def test_errors_of_both_versions_send_nobody_back() -> None:
    """A server on which everything fails is not the fault of the canary."""
    judge = Judge(Limits())
    for _ in range(100):
        assert judge.add(Window(Arm(50, 50), Arm(950, 950))) == ""


def test_windows_of_one_version_wait_for_the_other() -> None:
    """At half a request a second most windows have none of the canary; their requests count with the next."""
    apart, together = Judge(Limits()), Judge(Limits())
    for _ in range(9):
        apart.add(Window(Arm(), Arm(100, 1)))
    apart.add(Window(Arm(5, 1), Arm(100, 1)))
    together.add(Window(Arm(5, 1), Arm(1000, 10)))
    assert apart.doubts == together.doubts
    assert apart.total == together.total


def test_any_answer_may_differ_where_the_limit_is_1() -> None:
    """A version that was trained for other answers is not sent back for them."""
    judge = Judge(Limits(disagreement=1.0))
    assert judge.add(Window(Arm(1000), Arm(1000), compared=1000, differ=1000)) == ""
    assert Judge(Limits()).add(Window(Arm(1000), Arm(1000), compared=1000, differ=1000)).startswith("disagreement: ")


def test_cold_canary_may_take_the_extra_time() -> None:
    """With times far below ``p99_extra_s``, a canary that takes many times as long stays."""
    judge, slow = Judge(Limits(p99_extra_s=0.01)), Judge(Limits(p99_extra_s=0.0))
    for _ in range(20):
        window = Window(Arm(), Arm())
        for _ in range(95):
            window.stable.note(0.001, False)
        for _ in range(5):
            window.canary.note(0.008, False)
        assert judge.add(window) == ""
        slow.add(window)
    assert slow.find_reason().startswith("p99: 95 of 95 (100.00%) of its requests took longer than 0.0015")


def test_window_is_told_to_another_worker_whole() -> None:
    """What comes out of JSON is what went in."""
    window = Window(compared=3, differ=1)
    window.canary.note(0.003, True)
    window.stable.note(1.5, False)
    assert Window.from_json(window.to_json()) == window


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.0123, 1.0, 77.0])
def test_time_lies_in_its_bucket(seconds: float) -> None:
    """The start of its bucket is at most the time, and the next start is above it; below a microsecond it is one."""
    bucket = bucket_of(seconds)
    assert start_of(bucket) <= max(seconds, 1e-6) * (1 + 1e-9)
    assert start_of(bucket + 1) > seconds
