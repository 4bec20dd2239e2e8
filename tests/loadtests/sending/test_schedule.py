"""When the requests of an open loop are due."""

from loadtests.sending.schedule import Schedule


def test_requests_are_due_at_a_constant_rate_whoever_takes_them() -> None:
    """The due times depend on the rate only, not on when they are taken."""
    schedule = Schedule(4.0)
    assert [schedule.take() for _ in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_what_was_due_and_not_taken_is_counted() -> None:
    """A request that no caller took is missing once it is due; one that a caller holds at the end is not."""
    schedule = Schedule(10.0)
    assert schedule.count_not_sent(0.0) == 1
    for _ in range(11):
        schedule.take()
    assert schedule.count_not_sent(1.0) == 0
    assert schedule.count_not_sent(1.25) == 2
    for _ in range(256):  # callers that wait for their turn when the run ends
        schedule.take()
    assert schedule.count_not_sent(1.25) == 0
