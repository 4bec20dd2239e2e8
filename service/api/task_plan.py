"""The plan of a request to a route that runs a task: the model, and the task's coroutine."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from service.models.entry import Model, Served
from service.models.registry import Registry
from service.models.schedule_policy import UNSCHEDULED, Schedule
from service.tasks.work import Emit, Limits, Work
from service.transport.request import Request


class TaskPlan(NamedTuple):
    """``work`` makes the coroutine. Its argument is ``emit`` if the answer is a stream, else None.

    ``last_event`` is the name of the last event of a stream. ``schedule`` holds for each run of the task. ``steps`` has
    the models of the steps of a pipeline. ``rows`` is the number of rows in the request.
    """

    model: Served
    work: Callable[[Emit | None], Work]
    streams: bool = False
    last_event: str | None = "done"
    schedule: Schedule = UNSCHEDULED
    steps: Mapping[str, Model] = MappingProxyType({})
    rows: int = 0


Planner = Callable[[Request, Registry, Limits], TaskPlan]
"""Reads a request whose body is complete. Raises ServiceError."""
