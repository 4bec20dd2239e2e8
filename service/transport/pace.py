"""How many requests of the streams of a connection are under way.

A caller who reads no answers does not fill the memory.

Rules
- The streams of a connection have ``MOST_REQUESTS`` at a time together, and fewer where their answers are large.
- Each stream may have one, whatever the others do.
- A request is under way until its answer is sent.
"""

import asyncio
from typing import Final

MOST_REQUESTS: Final = 256
MOST_ANSWER_BYTES: Final = 32 << 20
"""Of the answers to all of them, if each were as large as the largest one so far."""


class Pace:
    """Of one connection. On the event loop only."""

    def __init__(self) -> None:
        self._under_way = self._largest_bytes = 0
        self._waiting: dict[StreamPace, asyncio.Future[None]] = {}  # the first that came is the first

    def take(self, stream: "StreamPace") -> bool:
        """Let one more request begin, if it may."""
        fits = (self._under_way + 1) * self._largest_bytes <= MOST_ANSWER_BYTES
        if stream.under_way and not (self._under_way < MOST_REQUESTS and fits):
            return False
        self._under_way += 1
        stream.under_way += 1
        return True

    async def wait(self, stream: "StreamPace") -> None:
        """Return when a request was let begin."""
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

    def give_back(self, stream: "StreamPace") -> None:
        """A request has ended. Let those that wait begin: this stream, if it has no other, and then the first."""
        self._under_way -= 1
        stream.under_way -= 1
        if stream in self._waiting and not stream.under_way:
            self._let_begin(stream)
        while self._waiting and self._let_begin(next(iter(self._waiting))):
            pass

    def _let_begin(self, stream: "StreamPace") -> bool:
        turn = self._waiting[stream]
        if not turn.done() and not self.take(stream):
            return False
        del self._waiting[stream]
        if not turn.done():
            turn.set_result(None)
        return True


class StreamPace:
    """Of one stream. One task at a time waits in ``begin``."""

    def __init__(self, shared: Pace) -> None:
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
        """A request has ended: its answer is sent, or there is none."""
        self._shared.give_back(self)

    def close(self) -> None:
        """The stream is over: whatever has begun has ended."""
        while self.under_way:
            self._shared.give_back(self)
