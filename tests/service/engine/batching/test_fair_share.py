"""Fair shares of a device."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching.cost import FairShare


def run(share: FairShare, who: list[str], batch_s: dict[str, float], times: int) -> dict[str, float]:
    """Let the models take turns, each always with work; returns the seconds that each got."""
    used = dict.fromkeys(who, 0.0)
    for _ in range(times):
        chosen = share.pick(who)
        share.charge(chosen, batch_s[chosen])
        used[chosen] += batch_s[chosen]
    return used


def enter(*who: str) -> FairShare:
    share = FairShare()
    for name in who:
        share.enter(name)
    return share


def test_somebody_must_want_to_run() -> None:
    """To ask whose turn it is when nobody has work is an error."""
    with pytest.raises(ValueError, match="empty"):
        FairShare().pick([])


@settings(deadline=None, max_examples=50)
@given(batch_s=st.floats(1e-6, 10), times=st.integers(1, 200), count=st.integers(2, 5))
def test_equal_work_gets_equal_turns(batch_s: float, times: int, count: int) -> None:
    """Models whose batches cost the same are never more than one batch apart."""
    who = [f"m{i}" for i in range(count)]
    used = run(enter(*who), who, dict.fromkeys(who, batch_s), times)
    assert max(used.values()) - min(used.values()) <= batch_s * 1.001


@settings(deadline=None, max_examples=50)
@given(a=st.floats(1e-3, 10), b=st.floats(1e-3, 10), times=st.integers(1, 300))
def test_seconds_are_shared_and_not_turns(a: float, b: float, times: int) -> None:
    """Where batches cost different times, the seconds that two models got differ by one batch at most."""
    used = run(enter("a", "b"), ["a", "b"], {"a": a, "b": b}, times)
    assert abs(used["a"] - used["b"]) <= max(a, b) * 1.001


@pytest.mark.parametrize("has_rested", [False, True], ids=["newcomer", "after a rest"])
def test_absence_earns_no_credit(has_rested: bool) -> None:
    """A model that comes late, or back, shares from then on: it neither catches up nor waits."""
    share = enter("a", *["b"] * has_rested)
    if has_rested:
        run(share, ["a", "b"], {"a": 1.0, "b": 1.0}, 10)
    run(share, ["a"], {"a": 1.0}, 1000)
    share.enter("b")
    used = run(share, ["a", "b"], {"a": 1.0, "b": 1.0}, 20)
    assert abs(used["a"] - used["b"]) <= 1.0


def test_newcomer_does_not_stand_behind_estimates() -> None:
    """A newcomer is not put at a disadvantage by estimates that are too high for runs that have not ended."""
    share = enter("a")
    for _ in range(2):
        assert share.pick(["a"]) == "a"
        share.begin("a", 5.0)
    share.enter("b")
    for _ in range(2):
        share.end("a", 5.0, 0.1)
    assert share.pick(["a", "b"]) == "b"


def test_what_is_under_way_counts() -> None:
    """Of two models that have used the same, the one without a run goes next."""
    share = enter("a", "b")
    share.begin("a", 1.0)
    assert share.pick(["a", "b"]) == "b"
    share.end("a", 1.0, 0.0)
    share.begin("b", 1.0)
    assert share.pick(["a", "b"]) == "a"


def test_account_is_what_was_used() -> None:
    """A model keeps its account when it has work again. What it was charged in advance and did not use is paid back."""
    share = enter("a", "b")
    share.charge("a", 5.0)
    share.enter("a")
    assert [share.pick(["a", "b"]) for _ in range(3)] == ["b", "b", "b"]
    share = enter("a", "b")
    share.charge("a", 5.0)
    share.charge("b", 1.0)
    share.charge("a", -4.5)
    assert share.pick(["a", "b"]) == "a"


def test_forgotten_model_leaves_no_account() -> None:
    """A model that was unloaded starts like a new one when it comes again. To forget an unknown one is no error."""
    share = enter("a", "b")
    share.charge("a", 100.0)
    share.forget("a")
    share.forget("stranger")
    share.enter("a")
    assert share.pick(["a", "b"]) == "a"
