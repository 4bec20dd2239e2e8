"""The interface of the request handler, as all transports use it."""

import abc
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from typing import Any

from service.access.grants import Guard
from service.errors import Cancelled, ServiceError
from service.settings import Settings
from service.transport.channel import Streams
from service.transport.cors import Cors
from service.transport.observer import GONE, RequestObserver, end_of, report_end
from service.transport.request import BodyBudget, Endpoint, Request

HANDLER_STATE = "sluice.handler"
"""The key of the handler in the lifespan's state, which uvicorn passes to its protocols."""
REFUSED = "sluice.refused"
"""The key in the state of an ASGI request that was refused below ASGI before its body was complete."""


class Handler(abc.ABC):
    """Answers requests whose bodies are complete. (Compiled calls are faster on a class than on ``typing.Protocol``.)

    clock             seconds
    parsing           the thread for work that holds the interpreter
    find_max_tensors  the most inputs, or outputs, that a request for any model may have
    streams           opens live streams
    guard             checks every request before its body is read; None if callers need no key
    connections       those of the HTTP server
    observer          gets the end of each request; None if nobody observes
    cors              None if CORS is off
    """

    clock: Callable[[], float]
    parsing: Executor
    find_max_tensors: Callable[[], int]
    streams: Streams | None = None
    guard: Guard | None = None
    connections: Collection[Any] = ()
    observer: RequestObserver | None = None
    settings: Settings
    cors: Cors | None
    body_budget: BodyBudget

    @abc.abstractmethod
    def match(self, path: str) -> Endpoint | None:
        """The endpoint of a path, which is below the base path; None if the handler does not answer it."""

    @abc.abstractmethod
    def start(self, request: Request) -> None:
        """Begin a request. The reply may come before this returns."""

    @abc.abstractmethod
    def count_rejected(self, error: type[ServiceError]) -> None:
        """Count a request that was never started: its caller has gone, or its connection ended with an error."""

    def lose(self, request: Request) -> None:
        """The caller of a request has gone before it was started."""
        self.count_rejected(Cancelled)
        if self.observer is not None:
            end = end_of(request, GONE, 0.0)
            end.reason, end.bytes_in = Cancelled.reason, max(0, request.received_bytes)
            report_end(self.observer, end)

    @abc.abstractmethod
    def refuse(self, request: Request, error: ServiceError) -> None:
        """Answer a request with an error of its transport, such as a body that is too long."""
