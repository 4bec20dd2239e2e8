"""What a route that works by a task makes of a request: whom it asks, and the task as a generator."""

import math
from collections.abc import Callable
from typing import NamedTuple

from service.models.entry import Model
from service.models.registry import Registry
from service.tasks.work import Emit, Limits, Work
from service.transport.request import Request


class TaskPlan(NamedTuple):
    """``work`` makes the generator; it is given ``emit`` where the answer is a stream.

    ``last_event`` is the name of the event that ends a stream with the result. ``timeout_s`` is None where the request
    leaves it to the server; each of its runs may wait for ``wait_s``. Of the two values of ``priority`` 0 goes before
    1.
    """

    model: Model
    work: Callable[[Emit | None], Work]
    streams: bool = False
    last_event: str | None = "done"
    timeout_s: float | None = None
    wait_s: float = math.inf
    priority: int = 1


Planner = Callable[[Request, Registry, Limits], TaskPlan]
"""Reads a request whose body is complete. Raises ServiceError."""
