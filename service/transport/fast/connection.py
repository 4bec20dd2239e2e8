"""A connection as its fast calls see it, and the short way along it: programs send the same head before each body.

What the same bytes mean need not be parsed again, and if nothing else has come meanwhile, the end of an answer needs
no look at what waits. Everything else goes the long way, through uvicorn's protocol (`fast.py`).
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from service.api.handler import RequestHandler
from service.transport.fast.request import FastRequest
from service.transport.request import Endpoint

_VIEW_FROM_BYTES = 16 << 10
"""Bodies of this size and above are views of what was received; smaller ones are copied, which is faster."""


@dataclass(eq=False)
class Head:
    """What the bytes before a body said: whole, with a length, and a fast route."""

    text: bytes
    size: int
    endpoint: Endpoint
    query: bytes
    headers: dict[bytes, bytes]
    keep_alive: bool


def learn_head(call: FastRequest, data: bytes) -> Head | None:
    """The head of ``data``, which came in one piece and began ``call``; None if it was not exactly that message."""
    if not call.body_is_there or call.refusal is not None:
        return None
    if call.size == 0 or call.headers.get(b"content-length") != b"%d" % call.size:
        return None  # in chunks, or with a length in some other form
    if call.size >= len(data):
        return None
    return Head(data[: -call.size], call.size, call.endpoint, call.query, dict(call.headers), call.keep_alive)


class Connection(Protocol):
    """The long way. ``cycle`` is the last request, of either path."""

    cycle: Any

    def complete(self, call: FastRequest) -> None:
        """All of the call's answer is written, and it is marked as complete."""


class Line:
    """What a connection and its calls have in common.

    ``running`` is the call whose turn it is, ``head`` what the next one may begin with, ``idle_since`` seconds on the
    loop's clock. While ``is_plain`` holds, nothing has come since the last call was taken here and its answers were
    read, so that nothing follows its answer.
    """

    def __init__(
        self,
        connection: Connection,
        handler: RequestHandler | None,
        transport: asyncio.Transport,
        flow: FlowControl,
        server_state: ServerState,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.connection: Connection | None = connection  # None when it is lost: no cycle is left to collect
        self.handler = handler
        self.transport = transport
        self.flow = flow
        self.server_state = server_state
        self.running: FastRequest | None = None
        self.head: Head | None = None
        self.idle_since = 0.0
        self.is_plain = False
        self._loop = loop

    def take(self, data: bytes) -> bool:
        """Begin the call if ``data`` is one with the known head; False where it is not, or has to wait."""
        head = self.head
        if head is None or len(data) != len(head.text) + head.size or not data.startswith(head.text):
            return False
        handler, connection = self.handler, self.connection
        if handler is None or connection is None:
            return False
        previous = connection.cycle
        if (previous is not None and not previous.response_complete) or self.flow.write_paused:
            return False
        if not handler.body_budget.try_admit(head.size):
            return False
        call = FastRequest(self, head.endpoint, head.query, head.headers, head.keep_alive)
        call.held_bytes = head.size
        call.admitted = call.body_is_there = call.turn = call.started = True
        call.body = data[-head.size :] if head.size < _VIEW_FROM_BYTES else memoryview(data)[-head.size :]
        connection.cycle = self.running = call
        self.is_plain = True
        handler.start(call)
        return True

    def stays_quiet_after(self, call: FastRequest) -> bool:
        """Whether neither another answer follows that of ``call`` at once nor the end of the connection."""
        return self.is_plain and call.keep_alive and call.refusal is None

    def complete(self, call: FastRequest) -> None:
        """All of the answer of a call that had its turn is written, or in the write coalescer."""
        call.response_complete = True
        self.forget(call)
        if not self.stays_quiet_after(call):
            if self.connection is not None:
                self.connection.complete(call)
            return
        self.running = None
        self.server_state.total_requests += 1
        self.idle_since = self._loop.time()

    def forget(self, call: FastRequest) -> None:
        """Give back the room of the call's body, once."""
        if call.held_bytes and self.handler is not None:
            size, call.held_bytes = call.held_bytes, 0
            self.handler.body_budget.release(size)
