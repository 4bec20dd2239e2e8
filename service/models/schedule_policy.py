"""``dynamic_batching`` of a Triton configuration: priorities of requests, and how long and how many may wait."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from model_store.triton import DynamicBatching, QueuePolicy


class Schedule(NamedTuple):
    """``timeout_s``: how long a request may take; None: the server's default. ``wait_s``: how long it may be queued.

    ``priority`` is that of the engine: 0 goes before 1.
    """

    timeout_s: float | None
    wait_s: float
    priority: int


UNSCHEDULED = Schedule(None, math.inf, 1)
"""The schedule of a request without a timeout and a priority."""


@dataclass(frozen=True)
class SchedulePolicy:
    """The queueing rules of a model. The engine has two priorities, so each gets half of Triton's priority levels."""

    batching: DynamicBatching

    def level_of(self, level: int) -> int:
        """The priority level of a request that gives ``level``; 0: it gives none."""
        return level if 1 <= level <= self.batching.priority_levels else self.batching.default_priority

    def priority_of(self, level: int) -> int:
        """The engine's priority of a request: 0 goes before 1. Without levels all are equal, as in Triton."""
        levels = self.batching.priority_levels
        return 0 if levels and self.level_of(level) <= levels // 2 else 1

    def schedule(self, asked_s: float | None, level: int) -> Schedule:
        """The schedule of a request. As in Triton, a timeout of the configuration limits only the wait in the queue."""
        policy, priority = self.batching.queue_for(self.level_of(level)), self.priority_of(level)
        if policy.timeout_s is None or policy.on_timeout == "delay":
            return Schedule(asked_s, math.inf, priority)
        if asked_s is None or not policy.allow_override:
            return Schedule(None, policy.timeout_s, priority)
        return Schedule(None, min(asked_s, policy.timeout_s), priority)

    @property
    def max_requests(self) -> tuple[int | None, int | None]:
        """How many requests of each engine priority may wait; None: any number."""
        levels = range(1, self.batching.priority_levels + 1) or (0,)
        policies = [(self.priority_of(level), self.batching.queue_for(level)) for level in levels]
        first, second = ([policy for at, policy in policies if at == priority] for priority in (0, 1))
        return _sum(first), _sum(second)


def _sum(policies: list[QueuePolicy]) -> int | None:
    sizes = [policy.max_requests for policy in policies]
    return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


def read_schedule_policy(batching: DynamicBatching | None) -> SchedulePolicy | None:
    """None if the configuration has neither priorities nor limits."""
    if batching is None:
        return None
    limits = (batching.queue, *batching.queue_of_priority.values())
    if not batching.priority_levels and all(policy == QueuePolicy() for policy in limits):
        return None
    return SchedulePolicy(batching)
