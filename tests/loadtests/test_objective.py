"""The judgement of measured figures."""

import math

import pytest

from loadtests.objective import Measured, Objective


def broken(objective: Objective, measured: Measured) -> list[str]:
    return [finding.figure for finding in objective.judge(measured).findings if not finding.holds]


def test_no_request_never_holds() -> None:
    """Where nothing was measured, nothing holds: a dead service must not pass."""
    verdict = Objective(max_error_rate=1.0, max_p99_s=1000.0).judge(Measured(0, 0, math.nan))
    assert not verdict.holds
    assert [finding.figure for finding in verdict.findings if not finding.holds] == ["requests", "error_rate", "p99_s"]


@pytest.mark.parametrize(
    ("measured", "figures"),
    [
        (Measured(99, 0, 0.1), ["requests"]),
        (Measured(100, 2, 0.1), ["error_rate"]),
        (Measured(100, 0, 0.251), ["p99_s"]),
        (Measured(100, 100, 0.3), ["error_rate", "p99_s"]),
    ],
)
def test_each_breach_is_named(measured: Measured, figures: list[str]) -> None:
    """The verdict names exactly the figures that broke their limits."""
    assert broken(Objective(max_error_rate=0.01, max_p99_s=0.25, min_requests=100), measured) == figures


def test_limit_itself_holds() -> None:
    """A figure that equals its limit holds."""
    verdict = Objective(0.01, 0.25, 100).judge(Measured(100, 1, 0.25))
    assert verdict.holds
    assert [(finding.measured, finding.limit) for finding in verdict.findings] == [
        (100, 100),
        (0.01, 0.01),
        (0.25, 0.25),
    ]


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_error_rate": 1.5}, "max_error_rate"),
        ({"max_error_rate": math.nan}, "max_error_rate"),
        ({"max_p99_s": 0.0}, "max_p99_s"),
        ({"max_p99_s": math.nan}, "max_p99_s"),
        ({"min_requests": 0}, "min_requests"),
    ],
)
def test_senseless_limit_is_refused(limits: dict, text: str) -> None:
    """A limit that everything or nothing would hold is refused by name."""
    with pytest.raises(ValueError, match=text):
        Objective(**limits)
