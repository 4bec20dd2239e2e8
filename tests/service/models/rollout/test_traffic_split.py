"""Which requests a canary gets."""

from collections import Counter

from service.models.rollout.traffic_split import TrafficSplit


def values(number: int) -> list[dict[bytes, bytes]]:
    return [{b"x-user": b"user-%d" % at} for at in range(number)]


def test_value_of_the_header_decides_always_the_same() -> None:
    """Chance plays no part if a request has the header, so other workers and later starts choose the same."""

    def never() -> float:
        raise AssertionError("chance was asked")

    first, second = (TrafficSplit(20, "x-user", "m/2", never) for _ in range(2))
    picked = [first.picks(headers) for headers in values(10_000)]
    assert picked == [second.picks(headers) for headers in values(10_000)]
    assert 1850 < sum(picked) < 2150  # 2000 +- 4 standard deviations of 40


def test_larger_part_keeps_those_who_were_chosen() -> None:
    """No caller of the canary goes back to the stable version because its part grows."""
    small, large = TrafficSplit(5, "x-user", "m/2"), TrafficSplit(30, "x-user", "m/2")
    seen = Counter((small.picks(headers), large.picks(headers)) for headers in values(5000))
    assert seen[True, False] == 0
    assert seen[False, True] > 1000


def test_two_trials_choose_apart() -> None:
    """Being chosen for one canary does not make a caller more likely to be chosen for the next."""
    one, other = TrafficSplit(50, "x-user", "m/2"), TrafficSplit(50, "x-user", "m/3")
    same = sum(one.picks(headers) == other.picks(headers) for headers in values(4000))
    assert 1870 < same < 2130


def test_request_without_the_header_is_chosen_by_chance() -> None:
    """Also an empty header chooses; only one that is missing leaves it to chance."""
    drawn = iter([0.19, 0.21])
    split = TrafficSplit(20, "x-user", "m/2", lambda: next(drawn))
    assert [split.picks({}), split.picks({b"x-other": b"1"})] == [True, False]
    assert split.picks({b"x-user": b""}) in (True, False)  # a third draw would end the iterator
