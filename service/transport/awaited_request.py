"""Requests whose answer is awaited: of the ASGI path, of gRPC streams, forwarded by a worker, or made in process."""

import asyncio
from collections.abc import Sequence

from starlette.types import Receive, Send

from service.transport.request import MAX_UNREAD_BYTES, Endpoint, HeaderField, Reply, StreamedRequest


class AwaitedRequest(StreamedRequest):
    """``answer`` is the reply or, for a stream, its head once all of it has been sent.

    Without ``send`` a stream is collected into an ordinary reply: for requests in process, and for HTTP/1.0, which has
    no chunks. ``held_bytes`` is the part of the body budget that the body takes, ``client`` the caller's address.
    """

    __slots__ = ("_head", "_pieces", "_send", "_sending", "_unread_bytes", "answer", "client", "held_bytes")

    def __init__(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes], send: Send | None = None) -> None:
        super().__init__(endpoint, query, headers)
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.held_bytes = 0
        self.client = ""
        self._send = send
        self._sending: asyncio.Task[None] | None = None
        self._unread_bytes = 0

    def find_client(self) -> str:
        return self.client

    @property
    def is_sent(self) -> bool:
        """Whether nothing is left to send: the answer was a stream, or was cancelled."""
        return self._sending is not None or self.answer.cancelled()

    def reply(self, reply: Reply) -> None:
        if not self.answer.done():
            self.answer.set_result(reply)

    def open(self, status: int, headers: Sequence[HeaderField]) -> None:
        self._head = Reply(status, (), list(headers))
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()  # an empty piece ends it
        if self._send is not None and not self.answer.done():
            self._sending = asyncio.create_task(self._forward(self._send))

    def send(self, chunk: bytes) -> None:
        if not chunk or self.answer.done():
            return
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self.abort()
            return
        self._unread_bytes += len(chunk)
        self._pieces.put_nowait(chunk)

    def end(self) -> None:
        if self._sending is not None:
            self._pieces.put_nowait(b"")
            return
        self._head.chunks = [self._pieces.get_nowait() for _ in range(self._pieces.qsize())]
        self.reply(self._head)

    def abort(self) -> None:
        self.answer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    async def wait(self, receive: Receive) -> None:
        """Wait for the reply or the end of the stream. If the caller goes first, ``answer`` is cancelled."""
        if self.answer.done() and not self.answer.cancelled():
            return
        watch = asyncio.create_task(_cancel_when_gone(receive, self.answer))
        try:
            await asyncio.wait([self.answer])
        finally:
            watch.cancel()
            if not self.answer.done() or self.answer.cancelled():
                self.give_up()

    def give_up(self) -> None:
        """The caller has gone: cancel the answer and the work."""
        self.abort()
        if self.work is not None:
            self.work.cancel()

    async def _forward(self, send: Send) -> None:
        head = self._head
        try:
            await send({"type": "http.response.start", "status": head.status, "headers": head.headers})
            while piece := await self._pieces.get():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self._unread_bytes -= len(piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            self.reply(head)
        finally:
            self.answer.cancel()  # has an effect only if sending has failed


async def _cancel_when_gone(receive: Receive, answered: asyncio.Future[Reply]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answered.cancel()
