"""How requests wait by ``dynamic_batching`` of a Triton configuration."""

import math

import pytest

from model_store.triton import read_config
from service.models.schedule_policy import SchedulePolicy, read_schedule_policy


def read(text: str) -> SchedulePolicy:
    found = read_schedule_policy(read_config(f"dynamic_batching {{ {text} }}", "config.pbtxt").batching)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100 preserve_ordering: true }",
        "dynamic_batching { default_queue_policy { } }",
    ],
)
def test_configuration_without_limits_changes_nothing(text: str) -> None:
    """Batch sizes and delays are no matter of the queue, and without priorities and limits there is nothing to ask."""
    assert read_schedule_policy(read_config(text, "config.pbtxt").batching) is None


@pytest.mark.parametrize(
    ("levels", "priorities"),
    [
        ("priority_levels: 1 default_priority_level: 1", [1, 1, 1]),
        ("priority_levels: 2 default_priority_level: 1", [0, 0, 1, 0]),
        ("priority_levels: 2 default_priority_level: 2", [1, 0, 1, 1]),
        ("priority_levels: 5 default_priority_level: 3", [1, 0, 0, 1, 1, 1, 1]),
        ("default_queue_policy { max_queue_size: 1 }", [1, 1, 1]),
    ],
)
def test_levels_are_split_in_halves(levels: str, priorities: list[int]) -> None:
    """The upper half goes first; without a level, or with one that there is not, it is the default."""
    found = read(levels)
    assert [found.priority_of(level) for level in range(len(priorities))] == priorities


def test_timeout_of_the_configuration_is_that_of_the_wait() -> None:
    """Requests may wait so long, or shorter where that is allowed; else what they ask for is that of the whole."""

    def times(found: SchedulePolicy, asked_s: float | None) -> tuple[float | None, float]:
        schedule = found.schedule(asked_s, 0)
        return schedule.timeout_s, schedule.wait_s

    fixed = read("default_queue_policy { default_timeout_microseconds: 2000000 }")
    assert [times(fixed, asked_s) for asked_s in (None, 1.0, 9.0)] == [(None, 2.0)] * 3
    free = read("default_queue_policy { default_timeout_microseconds: 2000000 allow_timeout_override: true }")
    assert [times(free, asked_s) for asked_s in (None, 1.0, 9.0)] == [(None, 2.0), (None, 1.0), (None, 2.0)]
    late = read("default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 max_queue_size: 3 }")
    assert [times(late, asked_s) for asked_s in (None, 1.0)] == [(None, math.inf), (1.0, math.inf)]


def test_each_level_has_its_own_policy() -> None:
    """A level has its own policy or the default one; the limits of levels that are joined add up."""
    levels = "priority_levels: 4 default_priority_level: 4 default_queue_policy { max_queue_size: 5 }"
    policy = "priority_queue_policy { key: 1 value { max_queue_size: 2 default_timeout_microseconds: 1000000 } }"
    found = read(levels + policy)
    assert found.max_requests == (7, 10)
    assert [found.schedule(None, level).wait_s for level in (0, 1, 2)] == [math.inf, 1.0, math.inf]
    assert read(levels + "priority_queue_policy { key: 3 value { } }").max_requests == (10, None)
    assert read("default_queue_policy { max_queue_size: 5 }").max_requests == (None, 5)
