"""The interface of the request handler, which all transports use."""

import abc
from collections.abc import Callable
from concurrent.futures import Executor

from service.access.grants import Guard
from service.errors import ServiceError
from service.settings import Settings
from service.transport.channel import Streams
from service.transport.cors import Cors
from service.transport.request import BodyBudget, Endpoint, Request

HANDLER_STATE = "sluice.handler"
"""The key of the handler in the lifespan's state, which uvicorn passes to its protocols."""


class Handler(abc.ABC):
    """Answers requests whose bodies are complete. Not a ``typing.Protocol``: compiled calls are faster on a class.

    ``clock`` gives seconds. ``cors`` is None where CORS is off. ``parsing`` is the thread for work that holds the
    interpreter. ``find_max_tensors`` gives the most inputs, or outputs, that a request for any model may have.
    ``streams`` opens live streams. ``guard`` looks at every request before its body is read; None where callers need
    no key.
    """

    clock: Callable[[], float]
    parsing: Executor
    find_max_tensors: Callable[[], int]
    streams: Streams | None = None
    guard: Guard | None = None
    settings: Settings
    cors: Cors | None
    body_budget: BodyBudget

    @abc.abstractmethod
    def match(self, path: str) -> Endpoint | None:
        """The endpoint of a path without the prefix of all routes; None for a path that the handler does not answer."""

    @abc.abstractmethod
    def start(self, request: Request) -> None:
        """Begin a request. The reply may come before this returns."""

    @abc.abstractmethod
    def count_rejected(self, error: type[ServiceError]) -> None:
        """Count a request that was never started: its caller went, or its connection ended with an error."""

    @abc.abstractmethod
    def refuse(self, request: Request, error: ServiceError) -> None:
        """Answer a request with an error of its transport, such as a body that is too long."""
