"""A connection of gRPC: it passes bytes between a transport of asyncio and ``http2/connection.py``, and has the timer.

All that the calls send in one turn of the event loop is written together. While the client does not read, nothing more
is read from it. One timer for each connection ends what makes no progress.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from service.access.grants import Grant
from service.errors import CallerError, NotOffered, ServiceError, UnsupportedCoding
from service.settings import Settings
from service.transport.grpc.contexts import CallContext, MethodHandler
from service.transport.grpc.framing import WRONG_MEDIA, CallHead, Link, write_refusal
from service.transport.grpc.infer_call import InferCall
from service.transport.handler import Handler
from service.transport.http2 import frames
from service.transport.http2.connection import Connection
from service.transport.http2.fields import Fields
from service.transport.http2.frames import ConnectionFault
from service.transport.http2.streams import Stream, StreamHandler
from service.transport.observer import RequestEnd, report_end
from service.transport.request import LEAST_BYTES_PER_S, request_id_of
from service.transport.status import error_reply

logger = logging.getLogger("sluice.grpc")

_PING_AFTER_S: Final = 60.0
_ANSWER_PING_WITHIN_S: Final = 20.0
_LOOK_S: Final = 5.0
_DISCOUNTED_FRAMES: Final = 50
"""Idle frames that are forgotten at each check: ten a second, as several proxies may ping."""
_FRAMING_BYTES: Final = 64 << 10
"""Room for the parts of a message besides its tensors."""


@dataclass(eq=False)
class Service:
    """What all connections share. ``infer_path`` is the path of ModelInfer, ``methods`` has the others by path.

    ``is_leaving``: connections that are still made, because they were accepted before, must leave too.
    """

    handler: Handler
    settings: Settings
    infer_path: bytes
    methods: Mapping[bytes, MethodHandler]
    connections: "set[GrpcProtocol]"
    on_empty: Callable[[], None]
    is_leaving: bool = False

    @property
    def max_bytes(self) -> int:
        return self.settings.max_body_bytes + _FRAMING_BYTES


class GrpcProtocol(asyncio.Protocol, StreamHandler):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._connection = Connection(self)
        self._sender = self._connection.sender
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._link = Link(self._sender, service.handler, service.max_bytes, "", self.wake)
        self._is_scheduled = False
        self._is_stuck = False  # the client does not read
        self._received_at = self._moved_at = self._sent_at = self._began_at = self._loop.time()
        self._has_pinged = False
        self._sent_bytes = 0  # at the last check
        self._unwritten_bytes = 0  # when a client that was stuck last made progress
        self._timer: asyncio.TimerHandle | None = None

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._link.client = intern(str(peer[0])) if isinstance(peer, tuple) else ""
        self._service.connections.add(self)
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        if len(self._service.connections) > self._service.settings.max_connections:
            self._end(frames.ENHANCE_YOUR_CALM, "too many connections")
        elif self._service.is_leaving:
            self.leave()
        else:
            self.wake()

    def data_received(self, data: bytes) -> None:
        self._received_at, self._has_pinged = self._loop.time(), False
        try:
            self._connection.receive(data)
        except ConnectionFault as fault:
            self._end(fault.code, str(fault))
            return
        if self._sender.has_output:
            self.wake()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._is_stuck, self._moved_at = True, self._loop.time()
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        self._transport.pause_reading()
        self._sender.hold()

    def resume_writing(self) -> None:
        self._is_stuck, self._has_pinged = False, False
        self._received_at = self._sent_at = self._loop.time()  # while it was stuck, nothing was read
        self._transport.resume_reading()
        self._sender.go_on()
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._connection.open.values()):
            self.drop(stream)
        self._connection.open.clear()
        if not self._service.connections:
            self._service.on_empty()

    # Called by the connection

    def parse(self, fields: Fields) -> CallHead:
        return CallHead(fields)

    def begin(self, stream: Stream, head: CallHead) -> None:
        service = self._service
        try:
            grant = self._admit(head)
        except ServiceError as error:
            service.handler.count_rejected(type(error))
            self._refuse(stream, head, error)
            return
        if head.path == service.infer_path and head.is_grpc and head.fault is None and head.knows_coding:
            stream.owner = InferCall(head, stream, self._link, grant)
            return
        if not head.is_grpc:
            self._sender.finish(stream, WRONG_MEDIA)
            return
        method = service.methods.get(head.path)
        fault = head.fault
        if not head.knows_coding:
            fault = UnsupportedCoding(
                "grpc-encoding: expected identity, deflate or gzip", ("identity", "deflate", "gzip")
            )
        if fault is not None or method is None:
            path = head.path.decode("latin-1")
            self._refuse(stream, head, fault or NotOffered(f"this server does not offer {path!r:.120}"))
            return
        context = CallContext(head, stream, self._link, grant)
        stream.owner = context
        context.begin(method)

    def _admit(self, head: CallHead) -> Grant | None:
        """What the caller's credential allows; None if none is needed. Raises ServiceError."""
        guard = self._service.handler.guard
        if guard is None or head.scope is None:
            return None
        if head.grant is not None and (renewed := guard.renew(head.grant)) is not None:
            return renewed
        head.grant = guard.admit(head.scope, head.metadata, self._link.client)
        return head.grant

    def take(self, stream: Stream, data: bytes) -> None:
        if stream.owner is not None:
            stream.owner.take(data)

    def drop(self, stream: Stream) -> None:
        owner, stream.owner = stream.owner, None
        if owner is not None:
            owner.drop()

    def _refuse(self, stream: Stream, head: CallHead, error: ServiceError) -> None:
        handler, request_id = self._service.handler, request_id_of(head.headers)
        reply = error_reply(error, request_id)
        self._sender.finish(stream, write_refusal(reply))
        if handler.observer is not None:
            path = head.path.decode("latin-1")
            end = RequestEnd("POST", "", path, reply.status, 0.0, request_id, head.headers)
            end.client, end.reason = self._link.client, error.reason
            report_end(handler.observer, end)

    # Writing, and the end

    def wake(self) -> None:
        """Write at the end of this turn of the event loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._is_scheduled = False
        if self._is_stuck or self._transport.is_closing():
            return
        self._transport.write(self._sender.take_output())
        if self._connection.is_leaving and not self._connection.open:
            self._transport.close()

    def leave(self) -> None:
        """Take no more calls, and close when the open ones are answered."""
        if not self._connection.is_leaving:
            self._connection.begin_leaving()
            self.wake()

    def abort(self) -> None:
        self._transport.abort()

    def _end(self, code: int, text: str) -> None:
        """Tell a client that has broken the rules, and close."""
        logger.info("a connection of gRPC ends: %s", text)
        self._service.handler.count_rejected(CallerError)
        for stream in list(self._connection.open.values()):
            self.drop(stream)
        self._connection.open.clear()
        self._connection.go_away(code, text)
        self._transport.write(self._sender.take_output())
        self._transport.close()

    def _end_if_unread(self, stream: Stream, now: float) -> None:
        """End a stream from which the client reads nothing, even if it reads others."""
        has_moved = stream.flushed_bytes != stream.seen_bytes or not stream.unsent_bytes or stream.send_window > 0
        if has_moved or self._is_stuck or not stream.moved_at:
            stream.seen_bytes, stream.moved_at = stream.flushed_bytes, now
        elif now - stream.moved_at > self._service.settings.body_timeout_s:
            self._sender.reset(stream, frames.CANCEL)
            self.drop(stream)
            self.wake()

    def _look(self) -> None:
        """End what makes no progress."""
        service, now = self._service, self._loop.time()
        settings = service.settings
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self._connection.discount_idle_frames(_DISCOUNTED_FRAMES)
        streams = self._connection.open.values()
        if self._is_stuck:
            left_bytes = self._transport.get_write_buffer_size()
            if self._unwritten_bytes - left_bytes >= LEAST_BYTES_PER_S * settings.body_timeout_s:
                self._unwritten_bytes, self._moved_at = left_bytes, now
            self._received_at = self._sent_at = now
        elif self._sender.sent_bytes != self._sent_bytes or not any(stream.unsent_bytes for stream in streams):
            self._sent_bytes, self._sent_at = self._sender.sent_bytes, now
        for stream in list(streams):
            if stream.owner is not None:
                stream.owner.end_if_slow(service.handler.clock() - settings.body_timeout_s)
            self._end_if_unread(stream, now)
        if (
            (not self._connection.has_settings and now - self._began_at > settings.header_timeout_s)
            or now - (self._moved_at if self._is_stuck else self._sent_at) > settings.body_timeout_s
            or (self._has_pinged and now - self._received_at > _PING_AFTER_S + _ANSWER_PING_WITHIN_S)
        ):
            self.abort()
        elif now - self._received_at > _PING_AFTER_S and not self._has_pinged:
            self._has_pinged = True
            self._connection.ping()
            self.wake()
