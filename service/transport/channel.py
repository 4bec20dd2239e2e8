"""The interface of live streams: messages in both directions over one connection, in order.

A transport passes a ``Channel`` to a coroutine from ``Streams``. The stream ends without an error when that returns.
"""

import abc
from collections.abc import Callable, Coroutine
from typing import Any

from service.errors import ServiceError
from service.metrics.spans import Trace
from service.transport.request import Endpoint


class Channel(abc.ABC):
    """A stream. The coroutine that uses it is cancelled if the client goes."""

    request_id: str
    trace: Trace | None = None

    @abc.abstractmethod
    async def receive(self) -> str | bytes:
        """The next message. Raises ServiceError, which ends the stream, if there is none."""

    @abc.abstractmethod
    async def send(self, text: bytes) -> None:
        """Send a message in UTF-8, once the client has read most of the earlier ones."""

    @abc.abstractmethod
    def charge(self, rows: int) -> None:
        """Charge rows to the caller's key before they run. Raises RateLimited, which ends the stream."""

    @abc.abstractmethod
    def end(self, error: ServiceError) -> None:
        """End the stream with an error, once the messages received so far are answered."""


Converse = Callable[[Channel], Coroutine[Any, Any, None]]
"""Answers the messages of a stream. An error that it raises ends the stream."""


class Streams(abc.ABC):
    """Opens live streams."""

    @abc.abstractmethod
    def match(self, path: str) -> Endpoint | None:
        """The endpoint of a path, which is below the base path; None if the path has no stream."""

    @abc.abstractmethod
    def open(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> Converse:
        """``headers`` has lower-case names. Raises ServiceError, which is the answer to the handshake."""
