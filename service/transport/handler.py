"""What every transport asks of whoever answers its requests."""

import abc
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from service.errors import ServiceError
from service.settings import Settings
from service.transport.cors import Cors
from service.transport.request import BodyBudget, Endpoint, Request

HANDLER_STATE = "sluice.handler"
"""Where the ASGI path leaves the handler in the lifespan's state, which uvicorn hands to its protocols."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What a client may take of its connection. The times are seconds; ``room_timeout_s`` is how long a body may wait
    for room in the budget of all bodies."""

    keep_alive_s: float
    header_timeout_s: float
    body_timeout_s: float
    room_timeout_s: float
    max_connections: int

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        return cls(
            keep_alive_s=settings.keep_alive_s,
            header_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            room_timeout_s=settings.deadline_s,
            max_connections=settings.max_connections,
        )


class Handler(abc.ABC):
    """Answers requests whose bodies are complete, and has what their transports share. Not a protocol: compiled, it is
    asked without a look-up by name.

    ``clock`` gives seconds. ``cors`` is None where pages of other origins are told nothing. ``parsing`` is the thread
    for what holds the interpreter. ``find_max_tensors`` gives the most inputs, and outputs, that a request may have,
    whichever model it is for.
    """

    clock: Callable[[], float]
    parsing: Executor
    find_max_tensors: Callable[[], int]
    max_body_bytes: int
    base_path: str
    limits: ConnectionLimits
    cors: Cors | None
    body_budget: BodyBudget

    @abc.abstractmethod
    def match(self, path: str) -> Endpoint | None:
        """The endpoint of a path without the prefix of all routes, None where it is not one of the handler's."""

    @abc.abstractmethod
    def start(self, request: Request) -> None:
        """Begin a request whose body is complete. The reply may come before this returns."""

    @abc.abstractmethod
    def count_rejected(self, error: type[ServiceError]) -> None:
        """Count what could not be started as a request: its caller has gone, or its connection ends with an error."""

    @abc.abstractmethod
    def refuse(self, request: Request, error: ServiceError) -> None:
        """Answer a request with an error that its transport has found before the body was there."""
