"""The interface of live streams: messages both ways over one connection, in order.

A transport gives a ``Channel`` to a coroutine of ``Streams``. When that returns, the stream ends well.
"""

import abc
from collections.abc import Callable, Coroutine
from typing import Any

from service.errors import ServiceError
from service.transport.request import Endpoint


class Channel(abc.ABC):
    """A stream. If the client goes, the coroutine that uses it is cancelled."""

    request_id: str

    @abc.abstractmethod
    async def receive(self) -> str | bytes:
        """The next message. Raises ServiceError, which ends the stream, when it has to end."""

    @abc.abstractmethod
    async def send(self, text: bytes) -> None:
        """Send a message, UTF-8, when the client has read most of those before it."""

    @abc.abstractmethod
    def charge(self, rows: int) -> None:
        """Count rows of the caller's key before they run. Raises RateLimited, which ends the stream."""

    @abc.abstractmethod
    def end(self, error: ServiceError) -> None:
        """End the stream when the messages that have come are answered."""


Converse = Callable[[Channel], Coroutine[Any, Any, None]]
"""Answers the messages of a stream. What it raises ends the stream with that error."""


class Streams(abc.ABC):
    """Opens live streams."""

    @abc.abstractmethod
    def match(self, path: str) -> Endpoint | None:
        """The endpoint of a path without the prefix of all routes; None for a path without a stream."""

    @abc.abstractmethod
    def open(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> Converse:
        """Raises ServiceError, which is the answer to the handshake. ``headers`` has lower-case names."""
