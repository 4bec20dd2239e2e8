"""Which steps may begin: the scheduler of a pipeline, without models."""

import hypothesis.strategies as st
from hypothesis import given

from service.tasks.pipelines.flow import Flow


def test_steps_begin_when_all_that_they_need_has_ended():
    """Steps that need none of each other are ready together, and each is given once."""
    needs = {"one": (), "other": (), "both": ("one", "other"), "last": ("both",)}
    flow = Flow({name: frozenset(needed) for name, needed in needs.items()})
    assert flow.take() == ["one", "other"]
    assert flow.take() == []
    flow.end("other")
    assert flow.take() == []
    flow.end("one")
    assert flow.take() == ["both"]
    flow.end("both")
    assert not flow.is_done
    assert flow.take() == ["last"]
    assert list(flow.running) == ["last"]
    flow.end("last")
    assert flow.is_done


@given(st.lists(st.lists(st.booleans(), max_size=8), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_order_of_ends_runs_every_step_once(rows: list[list[bool]], draw: object):
    """Whatever ends first, each step runs once, after all that it needs."""
    names = [f"s{i}" for i in range(len(rows))]
    needs = {
        name: frozenset(n for n, on in zip(names[:i], rows[i], strict=False) if on) for i, name in enumerate(names)
    }
    flow, ran = Flow(needs), []
    while not flow.is_done:
        for name in flow.take():
            assert needs[name] <= set(ran)
        name = draw.choice(list(flow.running))
        flow.end(name)
        ran.append(name)
    assert sorted(ran) == names
