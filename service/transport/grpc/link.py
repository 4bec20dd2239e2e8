"""What the calls of a connection share."""

from collections.abc import Callable
from typing import Final

from service.errors import QueueFull, TooSlow
from service.transport.handler import Handler
from service.transport.http2.sender import Sender

GRANT_BYTES: Final = 1 << 20
"""So much more of a large message is asked for at a time."""
TOO_SLOW: Final = TooSlow("message: expected more of it")
NO_ROOM: Final = QueueFull("message: others hold the room for it")


class Link:
    """A connection, for its calls.

    ``max_bytes`` limits a message. ``client`` is the caller's address. ``wake`` writes what was sent, at the end of
    this turn of the event loop.
    """

    def __init__(self, sender: Sender, handler: Handler, max_bytes: int, client: str, wake: Callable[[], None]) -> None:
        self.sender = sender
        self.handler = handler
        self.max_bytes = max_bytes
        self.client = client
        self.wake = wake
