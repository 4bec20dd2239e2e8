"""Which versions are evicted for others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.models.budget import Candidate, Claim, MemoryBudget, Plan, Stage


def serve(budget: MemoryBudget, **sizes: int) -> list[Claim]:
    """Claims of versions that serve, the least recently used first."""
    claims = [Claim(name, 1, size, stage=Stage.SERVING) for name, size in sizes.items()]
    budget.claims += claims
    return claims


def ask(budget: MemoryBudget, claim: Claim, *candidates: Candidate) -> Plan:
    budget.claims.append(claim)
    return budget.plan(candidates)


def in_order(claims: list[Claim]) -> list[Candidate]:
    return [Candidate(claim, float(number)) for number, claim in enumerate(claims)]


def names(claims: list[Claim]) -> list[str]:
    return [claim.name for claim in claims]


def test_version_larger_than_the_limit_is_refused_with_the_figures() -> None:
    """Nothing is evicted for a version that can never fit. The reason has its size and the limit."""
    budget = MemoryBudget(100 << 20)
    [old] = serve(budget, old=50 << 20)
    plan = ask(budget, Claim("big", 3, 101 << 20), Candidate(old, 0.0))
    [refusal] = plan.refuse
    assert "it takes 101.0 MiB" in refusal.reason
    assert "100.0 MiB (SLUICE_MODEL_MEMORY_BYTES)" in refusal.reason
    assert not plan.leave
    assert budget.claims == [old]


def test_version_for_which_only_those_that_stay_could_make_room_is_refused_with_their_names() -> None:
    """A request does not wait in vain for versions that are never evicted."""
    budget = MemoryBudget(100)
    pinned, _ = serve(budget, pinned=60, other=10)
    [refusal] = ask(budget, Claim("new", 1, 50), Candidate(budget.claims[1], 0.0)).refuse
    assert "pinned version 1" in refusal.reason
    assert "other" not in refusal.reason
    assert pinned.stage is Stage.SERVING


def test_version_waits_for_what_loads_and_is_promised_what_leaves() -> None:
    """A version that loads can be evicted when it serves, so a claim waits for it; one that may not wait is refused."""
    budget = MemoryBudget(100)
    first = Claim("first", 1, 80)
    assert ask(budget, first).begin == [first]
    second = Claim("second", 1, 80)
    plan = ask(budget, second)
    assert not plan.begin
    assert not plan.refuse
    assert [each.claim.name for each in ask(budget, Claim("shy", 1, 80, waits=False)).refuse] == ["shy"]
    first.stage = Stage.SERVING
    plan = budget.plan([Candidate(first, 0.0)])
    assert (plan.leave, plan.begin) == ([first], [])
    assert not budget.plan([]).begin, "its memory has not been given back"
    budget.free(first)
    assert budget.plan([]).begin == [second]


def test_load_that_may_not_evict_takes_only_what_is_free() -> None:
    """At the start models load until the memory is full."""
    budget = MemoryBudget(100)
    first, second = Claim("a", 1, 60, evicts=False, waits=False), Claim("b", 1, 60, evicts=False, waits=False)
    assert ask(budget, first).begin == [first]
    first.stage = Stage.SERVING
    plan = ask(budget, second, Candidate(first, 0.0))
    assert not plan.leave
    assert [each.claim for each in plan.refuse] == [second]


def test_least_recently_used_goes_first_and_no_more_than_have_to() -> None:
    """A small one is kept if the next one alone frees enough memory."""
    budget = MemoryBudget(100)
    small, large, recent = serve(budget, small=10, large=50, recent=40)
    plan = ask(budget, Claim("new", 1, 50), *in_order([small, large, recent]))
    assert names(plan.leave) == ["large"]
    assert recent.stage is Stage.SERVING


def test_version_that_works_goes_only_after_all_that_do_not() -> None:
    """Its next requests would have to wait for another load."""
    budget = MemoryBudget(100)
    busy, idle = serve(budget, busy=50, idle=50)
    plan = ask(budget, Claim("new", 1, 50), Candidate(busy, 0.0, in_use=True), Candidate(idle, 1.0))
    assert names(plan.leave) == ["idle"]
    plan = ask(budget, Claim("more", 1, 50), Candidate(busy, 0.0, in_use=True))
    assert names(plan.leave) == ["busy"]


def test_version_stays_until_the_request_that_waited_has_come_to_it() -> None:
    """A claim that needs its memory waits, and is not refused."""
    budget = MemoryBudget(100)
    [new] = serve(budget, new=80)
    claim = Claim("next", 1, 80)
    assert ask(budget, claim, Candidate(new, 0.0, is_new=True)) == ([], [], [])
    assert budget.plan([Candidate(new, 1.0, in_use=True)]).leave == [new]


def test_new_version_does_not_take_the_place_of_the_one_that_it_follows() -> None:
    """The old version serves until the new one is ready, so the new one is refused if both do not fit."""
    budget = MemoryBudget(100)
    old, other = serve(budget, m=60, other=40)
    new = Claim("m", 2, 50, waits=False, spares="m")
    plan = ask(budget, new, Candidate(old, 0.0), Candidate(other, 1.0))
    assert not plan.leave
    assert "m version 1" in plan.refuse[0].reason
    plan = ask(budget, Claim("m", 2, 40, waits=False, spares="m"), Candidate(old, 0.0), Candidate(other, 1.0))
    assert names(plan.leave) == ["other"]


def test_others_make_room_for_what_a_version_takes_beyond_its_files() -> None:
    """The next load begins when the total is below the limit again."""
    budget = MemoryBudget(100)
    [old] = serve(budget, old=50)
    new = Claim("new", 1, 10)
    assert ask(budget, new, Candidate(old, 0.0)).begin == [new]
    new.size_bytes, new.stage = 90, Stage.SERVING
    plan = budget.plan([Candidate(old, 0.0)])
    assert names(plan.leave) == ["old"]
    next_one = Claim("next", 1, 5)
    assert not ask(budget, next_one).begin
    budget.free(old)
    assert budget.plan([]).begin == [next_one]


@given(
    st.integers(50, 100),
    st.lists(st.tuples(st.sampled_from(["ask", "serve", "free", "grow", "cancel"]), st.integers(1, 40)), max_size=60),
)
def test_loads_never_exceed_the_limit_and_none_waits_for_ever(limit: int, events: list[tuple[str, int]]) -> None:
    """Whatever happens, no load begins above the limit, and in the end no claim waits."""
    budget = MemoryBudget(limit)

    def at(stage: Stage) -> list[Claim]:
        return [claim for claim in budget.claims if claim.stage is stage]

    def look() -> None:
        before = budget.taken_bytes
        plan = budget.plan(in_order(at(Stage.SERVING)))
        assert not plan.refuse, "each is smaller than the limit, and all can make room"
        assert not plan.begin or before + sum(claim.size_bytes for claim in plan.begin) <= limit

    for number, (event, size) in enumerate(events):
        if event == "ask":
            budget.claims.append(Claim(f"m{number}", 1, size))
        elif event == "serve":
            for claim in at(Stage.LOADING)[:1]:
                claim.stage = Stage.SERVING
        elif event == "grow":
            for claim in at(Stage.LOADING)[:1]:
                claim.size_bytes, claim.stage = size, Stage.SERVING
        else:
            for claim in at(Stage.LEAVING if event == "free" else Stage.WAITING)[:1]:
                budget.free(claim)
        look()
    for _ in range(2 * len(events)):
        for claim in at(Stage.LOADING):
            claim.stage = Stage.SERVING
        for claim in at(Stage.LEAVING):
            budget.free(claim)
        look()
    assert not at(Stage.WAITING)
    assert budget.taken_bytes <= limit


@pytest.mark.parametrize("count", [0, 3])
def test_plan_without_claims_that_wait_changes_nothing(count: int) -> None:
    """Versions that fit stay."""
    budget = MemoryBudget(100)
    claims = serve(budget, **{f"m{number}": 10 for number in range(count)})
    assert budget.plan(in_order(claims)) == ([], [], [])
