"""When the requests of an open loop are due."""

from loadtests.sending.schedule import Schedule


def test_requests_are_due_at_a_constant_rate_whoever_takes_them() -> None:
    """The due times depend on the rate only, not on when they are taken."""
    schedule = Schedule(4.0)
    assert [schedule.take() for _ in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_what_was_due_and_not_sent_is_counted() -> None:
    """A request that is taken but not yet due is not missing; one that is due is, until it is sent."""
    schedule = Schedule(10.0)
    assert schedule.count_not_sent(0.0) == 1
    schedule.sent = 11
    assert schedule.count_not_sent(1.0) == 0
    assert schedule.count_not_sent(1.25) == 2
    schedule.sent = 30
    assert schedule.count_not_sent(1.25) == 0
