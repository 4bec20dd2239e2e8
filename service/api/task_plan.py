"""What a route that works by a task makes of a call: whom it asks, and the task as a generator."""

from collections.abc import Callable
from typing import NamedTuple

from service.models.registry import Model, Registry
from service.tasks.work import Emit, Limits, Work
from service.transport.request import Call


class Opening(NamedTuple):
    """``work`` makes the generator; it is given ``emit`` where the answer is a stream.

    ``last_event`` is the name of the event that ends a stream with the result. ``timeout_s`` is None where the request
    leaves it to the server; of the two values of ``priority`` 0 goes before 1.
    """

    model: Model
    work: Callable[[Emit | None], Work]
    streams: bool = False
    last_event: str | None = "done"
    timeout_s: float | None = None
    priority: int = 1


Opener = Callable[[Call, Registry, Limits], Opening]
"""Reads the request of a call whose body is complete. Raises ServiceError."""
