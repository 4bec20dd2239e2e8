"""When a request is sent again."""

import email.utils
from datetime import UTC, datetime

import pytest

from sluice_client.retry import Retry, read_retry_after


def test_wait_is_at_least_what_the_server_asks_for() -> None:
    """``Retry-After`` is a lower bound, and callers are spread over a quarter of it."""
    waits = [Retry().choose_wait(1, 60, 8.0) for _ in range(200)]
    assert all(wait is not None and 8 <= wait <= 10 for wait in waits)
    assert len(set(waits)) > 100


def test_wait_never_passes_the_deadline() -> None:
    """There is no next try where the wait would end after the deadline, and none is longer than what is left."""
    assert Retry().choose_wait(1, 5, 5.0) is None
    assert all((Retry().choose_wait(1, 8.1, 8.0) or 9) <= 8.1 for _ in range(50))
    assert Retry().choose_wait(1, 0) is None


def test_waits_double_up_to_the_most() -> None:
    """Without ``Retry-After`` each wait is twice the last one, within a quarter, up to the longest."""
    retry = Retry(tries=9, first_wait_s=1, most_wait_s=4)
    waits = [retry.choose_wait(tried, 100) for tried in range(1, 6)]
    assert [int((wait or 0) / 1.26 + 0.99) for wait in waits] == [1, 2, 4, 4, 4]


def test_tries_are_bounded() -> None:
    """The last try is not followed by a wait."""
    assert Retry(tries=1).choose_wait(1, 60) is None
    assert Retry(tries=2).choose_wait(1, 60) is not None
    with pytest.raises(ValueError, match="tries: expected at least 1"):
        Retry(tries=0)
    with pytest.raises(ValueError, match="first_wait_s"):
        Retry(first_wait_s=0)


def test_retry_after_is_seconds_or_a_date() -> None:
    """Both forms of RFC 9110 are read; a date in the past is now, and what is neither counts as absent."""
    when = datetime(2026, 1, 1, tzinfo=UTC)
    date = email.utils.format_datetime(when, usegmt=True)
    assert read_retry_after("7") == 7
    assert read_retry_after(date, lambda: when.timestamp() - 3) == 3
    assert read_retry_after(date, lambda: when.timestamp() + 3) == 0
    assert [read_retry_after(text) for text in (None, "", "soon", "-1")] == [None] * 4
