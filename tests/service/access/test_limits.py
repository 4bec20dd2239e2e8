"""Rates and quotas. Time is an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.limits import DAY_S, Bucket, DailyQuota, Limits, Rates, open_limits


def test_bucket_holds_a_second_and_fills_up() -> None:
    """At 4 a second, four requests pass at once, the fifth a quarter of a second later."""
    limits = Limits(Rates(requests_per_s=4))
    assert [limits.take_request(0.0) is None for _ in range(5)] == [True] * 4 + [False]
    refusal = limits.take_request(0.0)
    assert refusal is not None
    assert refusal.wait_s == pytest.approx(0.25)
    assert limits.take_request(0.25) is None
    assert limits.take_request(0.25) is not None


def test_slow_rate_lets_one_through_each_time() -> None:
    """A tenth of a request a second is one request in ten seconds."""
    bucket = Bucket("requests", 0.1)
    assert bucket.wait_s(1, 0.0) == 0
    bucket.take(1, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(10)
    assert bucket.wait_s(1, 10.0) == pytest.approx(0)
    assert bucket.describe_policy() == '"requests";q=1;w=10'


def test_request_that_is_larger_than_the_limit_waits_until_it_is_untouched() -> None:
    """It is answered then, and what it took too much is missing later."""
    limits = Limits(Rates(rows_per_s=10))
    assert limits.take_rows(1, 0.0) is None
    assert limits.take_rows(30, 0.0) is not None
    assert limits.take_rows(30, 0.1) is None
    refusal = limits.take_rows(1, 0.1)
    assert refusal is not None
    assert refusal.wait_s == pytest.approx(2.1)


def test_work_that_has_begun_is_counted_and_not_refused() -> None:
    """Later runs of a request take what is not there, and the next request waits for it."""
    limits = Limits(Rates(rows_per_s=10))
    assert limits.take_rows(10, 0.0) is None
    assert limits.take_rows(10, 0.0, may_refuse=False) is None
    refusal = limits.take_rows(10, 0.0)
    assert refusal is not None
    assert refusal.wait_s == pytest.approx(2)


def test_day_begins_with_the_first_row() -> None:
    """A quota of 24 hours is there again 24 hours after its first row, and not before."""
    quota = DailyQuota("rows-per-day", 100)
    quota.take(60, 5.0)
    assert (quota.wait_s(40, 6.0), quota.wait_s(41, 6.0)) == (0.0, DAY_S - 1)
    assert quota.wait_s(41, DAY_S + 4.9) == pytest.approx(0.1)
    assert (quota.left(DAY_S + 5), quota.wait_s(100, DAY_S + 5)) == (100, 0.0)


def test_refused_rows_count_for_no_limit() -> None:
    """If the daily quota refuses, the rate per second is not touched."""
    limits = Limits(Rates(rows_per_s=5, rows_per_day=6))
    assert limits.take_rows(5, 0.0) is None
    assert limits.take_rows(5, 1.0) is not None
    assert limits.take_rows(1, 1.0) is None
    assert limits.headers(1.0)[1] == (b"ratelimit", b'"rows";r=4;t=1, "rows-per-day";r=0;t=86399')


def test_caller_learns_what_is_left() -> None:
    """The headers have each policy and what is left of it, never less than nothing."""
    limits = Limits(Rates(requests_per_s=3, rows_per_s=10))
    limits.take_request(0.0)
    limits.take_rows(25, 0.0)
    policy, left = limits.headers(0.0)
    assert policy == (b"ratelimit-policy", b'"requests";q=3;w=1, "rows";q=10;w=1;qu="rows"')
    assert left == (b"ratelimit", b'"requests";r=2;t=1, "rows";r=0;t=3')


def test_workers_share_a_limit() -> None:
    """Each of four workers has a quarter, at least one."""
    limits = open_limits(Rates(requests_per_s=40, rows_per_day=2), 4)
    assert limits is not None
    assert limits.headers(0.0)[0] == (
        b"ratelimit-policy",
        b'"requests";q=10;w=1, "rows-per-day";q=1;w=86400;qu="rows"',
    )
    assert open_limits(Rates(), 4) is None


@given(
    rate=st.floats(0.1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), max_size=60),
)
def test_no_sequence_of_requests_gets_more_than_the_rate(rate: float, steps: list[tuple[float, int]]) -> None:
    """In any time t, what passes is at most the bucket, the rate times t, and one request that was too large."""
    bucket, now, passed = Bucket("rows", rate), 0.0, 0
    for wait_s, amount in steps:
        now += wait_s
        if bucket.wait_s(amount, now) == 0:
            bucket.take(amount, now)
            passed += amount
    assert passed <= bucket.quota + rate * now + 20 + 1e-6


def test_clock_that_steps_back_gives_nothing_away() -> None:
    """A time before the last one counts as the last one."""
    bucket = Bucket("requests", 1)
    bucket.take(1, 100.0)
    assert bucket.wait_s(1, 50.0) == pytest.approx(1)
