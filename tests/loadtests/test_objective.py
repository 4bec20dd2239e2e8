"""The judgement of measured figures."""

import math

import numpy as np
import pytest

from loadtests.objective import Measured, Objective

STRICT = Objective(max_error_rate=0.01, max_p99_s=0.25, min_requests=100)


@pytest.mark.parametrize(
    ("objective", "measured", "broken"),
    [
        # Where nothing was measured, nothing holds: a dead service must not pass.
        (
            Objective(max_error_rate=1.0, max_p99_s=1000.0),
            Measured(0, 0, math.nan),
            ["requests", "error_rate", "p99_s"],
        ),
        (STRICT, Measured(99, 0, 0.1), ["requests"]),
        (STRICT, Measured(100, 2, 0.1), ["error_rate"]),
        (STRICT, Measured(100, 0, 0.251), ["p99_s"]),
        (STRICT, Measured(100, 100, 0.3), ["error_rate", "p99_s"]),
        # A figure that equals its limit holds.
        (STRICT, Measured(100, 1, 0.25), []),
    ],
)
def test_each_breach_is_named(objective: Objective, measured: Measured, broken: list[str]) -> None:
    """The verdict names exactly the figures that broke their limits, with what was measured and the limit."""
    verdict = objective.judge(measured)
    assert [finding.figure for finding in verdict.findings if not finding.holds] == broken
    assert verdict.holds == (not broken)
    limits = [objective.min_requests, objective.max_error_rate, objective.max_p99_s]
    assert [finding.limit for finding in verdict.findings] == limits
    values = [measured.requests, measured.error_rate, measured.p99_s]
    np.testing.assert_array_equal([finding.measured for finding in verdict.findings], values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_error_rate", 1.5), ("max_error_rate", math.nan), ("max_p99_s", 0.0), ("max_p99_s", math.nan)),
        ("min_requests", 0),
    ],
)
def test_senseless_limit_is_refused(name: str, value: float) -> None:
    """A limit that everything or nothing would hold is refused by name."""
    with pytest.raises(ValueError, match=name):
        Objective(**{name: value})
