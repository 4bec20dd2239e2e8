"""Limits how many requests the streams of a connection have under way, so that unread answers do not fill the memory.

Rules
- All streams of a connection together have at most ``MOST_REQUESTS`` under way, and fewer if their answers are large.
- Each stream may always have one.
- A request is under way until its answer is sent.
"""

import asyncio
from typing import Final

MOST_REQUESTS: Final = 256
MOST_ANSWER_BYTES: Final = 32 << 20
"""The most bytes of all their answers, if each is as large as the largest one so far."""


class ConnectionConcurrency:
    """The requests of all streams of a connection. On the event loop only."""

    def __init__(self) -> None:
        self._under_way = self._largest_bytes = 0
        self._waiting: dict[StreamConcurrency, asyncio.Future[None]] = {}  # in order of arrival

    def take(self, stream: "StreamConcurrency") -> bool:
        """Let one more request begin. False if it has to wait."""
        fits = (self._under_way + 1) * self._largest_bytes <= MOST_ANSWER_BYTES
        if stream.under_way and not (self._under_way < MOST_REQUESTS and fits):
            return False
        self._under_way += 1
        stream.under_way += 1
        return True

    async def wait(self, stream: "StreamConcurrency") -> None:
        """Wait until one more request may begin."""
        turn = self._waiting[stream] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(stream)
            raise
        finally:
            self._waiting.pop(stream, None)

    def note(self, answer_bytes: int) -> None:
        self._largest_bytes = max(self._largest_bytes, answer_bytes)

    def give_back(self, stream: "StreamConcurrency") -> None:
        """A request has ended. Let waiting ones begin: first this stream's if it has none left, then the oldest."""
        self._under_way -= 1
        stream.under_way -= 1
        if stream in self._waiting and not stream.under_way:
            self._let_begin(stream)
        while self._waiting and self._let_begin(next(iter(self._waiting))):
            pass

    def _let_begin(self, stream: "StreamConcurrency") -> bool:
        turn = self._waiting[stream]
        if not turn.done() and not self.take(stream):
            return False
        del self._waiting[stream]
        if not turn.done():
            turn.set_result(None)
        return True


class StreamConcurrency:
    """The requests of one stream. Only one task at a time may wait in ``begin``."""

    def __init__(self, shared: ConnectionConcurrency) -> None:
        self._shared = shared
        self.under_way = 0

    async def begin(self) -> None:
        """Wait until one more request may begin."""
        if not self._shared.take(self):
            await self._shared.wait(self)

    def note(self, answer_bytes: int) -> None:
        """An answer is ready."""
        self._shared.note(answer_bytes)

    def end(self) -> None:
        """A request has ended, with or without an answer."""
        self._shared.give_back(self)

    def close(self) -> None:
        """The stream is over, and so are all its requests."""
        while self.under_way:
            self._shared.give_back(self)
