"""HTTP/1.1 on a connection: uvicorn's protocol, extended by the fast path for the POST routes that carry tensors.

uvicorn provides the parser, TLS, the rules of keep-alive, and the shutdown. The fast path makes no scope, task, future
or event: it collects the body, calls the handler, and writes the reply to the transport. So all answers of a batch are
written in one turn of the event loop. Other routes and methods, escaped paths and `Expect: 100-continue` take the ASGI
path.

Rules of a connection (timeouts are in ``limits.py``)
- Requests of one connection are answered in order, on either path. One runs. The others wait in uvicorn's pipeline, and
  reading pauses meanwhile.
- A body or header over the limit is refused before it is read, and its connection ends.
- All bodies together have a limit (`BodyBudget`). A large body is not read while there is no room.
- The next request does not begin until the client has read the last answer.
- When a caller goes, its work is cancelled. A stopping server closes idle connections at once, others when answered.
- A head that is repeated on a connection is not parsed again, but its key is checked again.
- The handshake of a live stream ends HTTP on the connection: `websocket/` takes it over.
- Requests that another server might read differently are refused: HTTP versions other than 1.0 and 1.1, no `Host` in
  1.1, more than one `Host`, and any `Transfer-Encoding` but `chunked`.
"""

import asyncio
from typing import Any

import httptools
from mypy_extensions import mypyc_attr
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from service.errors import BodyTooLarge
from service.settings import Settings
from service.transport.fast.connection import Connection, FastRequest, learn_head
from service.transport.fast.limits import MAX_HEADER_BYTES, MAX_HEADER_FIELDS, TOO_LONG, LimitedProtocol, TimedFlow
from service.transport.fast.upgrade import upgrade_connection
from service.transport.handler import HANDLER_STATE, Handler
from service.transport.request import BodyParts
from service.transport.websocket.handshake import Handshake, read_handshake

_PIECE_BYTES = 8 << 10
"""How much is parsed at a time, except of bodies."""
_NOT_HTTP = "request: expected HTTP as RFC 9112 defines it, got a message that breaks it"
_DEFAULTS = Settings()
"""The settings for an application that is not ours."""


@mypyc_attr(native_class=False)
class FastProtocol(LimitedProtocol):
    """A connection of the fast path.

    ``Upgrade`` is ignored (RFC 9110, section 7.8), except for a live stream. Java's client sends it with each request,
    to ask for h2c. But the parser stops after the header of such a request, as if it had no body. The body would be
    lost, or read as another request. So the header is parsed a second time without that field, followed by the body.
    CONNECT is refused, because what follows it is not for this server.
    """

    is_leaving = False  # the server is stopping: the next request is the last of this connection
    _again = b""  # the header to parse again, once the parser has stopped
    _handshake: Handshake | None = None  # to answer once the parser has stopped

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._length = -1  # the declared length of the current body; -1: in chunks, or no body
        self._advancing = False
        self._stalled = False  # the client does not read its answers

    # Called by the parser

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_header = True
        self._since = 0.0
        self._length = -1
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # trailers are ignored
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADER_FIELDS:
            self._header_bytes = MAX_HEADER_BYTES + 1
            raise httptools.HttpParserError(TOO_LONG)

    def on_headers_complete(self) -> None:
        if self._lingering:
            return  # it follows a request that was refused
        version = self.parser.get_http_version()
        size, hosts = len(self.url), 0
        codings: list[bytes] = []
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
            elif name == b"content-length":
                self._length = int(value)  # the parser accepts only numbers
        if hosts != 1 and (hosts or version == "1.1"):
            raise httptools.HttpParserError(f"Host: expected it once, got it {hosts} times")
        if version not in ("1.1", "1.0"):
            raise httptools.HttpParserError(f"HTTP version: expected 1.1 or 1.0, got {version}")
        if codings and (version == "1.0" or codings != [b"chunked"]):
            raise httptools.HttpParserError("Transfer-Encoding: expected chunked, once, and in HTTP/1.1")
        if size > MAX_HEADER_BYTES:
            self._header_bytes = size
            raise httptools.HttpParserError(TOO_LONG)
        if self.parser.should_upgrade():
            is_idle = self.cycle is None or self.cycle.response_complete
            if is_idle and self.parser.get_method() == b"GET" and version == "1.1" and self._length <= 0:
                self._handshake = read_handshake(self._connection.handler, self.url, self.headers)
            if self._handshake is None:
                self._ignore_upgrade()
            return
        self._in_header = False
        self._in_body = True
        self._since = 0.0
        self._header_bytes = self._body_bytes = self._since_bytes = self._seen_bytes = 0
        request = self._fast_request()
        if request is None:
            self._start_asgi()
            return
        previous, self.cycle = self.cycle, request  # type: ignore[assignment]  # it has what uvicorn reads of a cycle
        max_bytes = self.settings.max_body_bytes
        self._connection.admit(request, self.headers)
        if self._length > max_bytes and request.refusal is None:
            said = f"body: expected at most {max_bytes} bytes, got {self._length}"
            self._connection.refuse(request, BodyTooLarge(said))
        if previous is None or previous.response_complete:
            request.has_turn = True
            if request.refusal is not None:
                self._connection.begin(request)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))  # type: ignore[arg-type]  # see _start_asgi_task

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        request = self.cycle
        if not isinstance(request, FastRequest):
            super().on_body(body)
        else:
            self._connection.receive(request, body)

    def on_message_complete(self) -> None:
        if self._again or self._handshake is not None:
            return
        self._in_body = False
        request = self.cycle
        if isinstance(request, FastRequest):
            self._connection.receive_end(request)
        else:
            super().on_message_complete()

    # Called by the transport and the server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.flow = TimedFlow(transport, self.loop.time)
        handler: Handler | None = self.app_state.get(HANDLER_STATE)
        self.settings = settings = _DEFAULTS if handler is None else handler.settings
        if handler is not None:
            handler.connections = self.connections
        client = self.client[0] if self.client else ""  # a Unix socket has none
        self._connection = Connection(self, handler, transport, self.flow, self.server_state, self.loop, client)
        now = self.loop.time()
        self._connection.idle_since = now + settings.header_timeout_s - settings.keep_alive_s  # the first one differs
        self.wake_by(now + min(settings.header_timeout_s, settings.keep_alive_s))
        if len(self.connections) > settings.max_connections:
            self.refuse_connection()

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        if self._lingering or connection.take(data):
            return
        if self._unparsed:
            self._unparsed += data
            self.flow.pause_reading()
            return
        was_idle = self.cycle is None or self.cycle.response_complete
        began_in_header = self._in_header
        self._begun = 0
        connection.head, connection.is_plain = None, False
        self._parse_read(data)
        if was_idle and self._begun == 1 and not began_in_header and isinstance(self.cycle, FastRequest):
            connection.head = learn_head(self.cycle, data)
        if self._lingering:
            return
        # The parser does not show an unfinished header line, so its bytes are counted here, but only if the read has
        # nothing else. Other reads add little: uvloop reads at most 256 KiB at once.
        if self._in_header and (self._begun == 0 if began_in_header else was_idle and self._begun == 1):
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.send_400_response("header too large")
                return
        if self._in_header or self._in_body:
            self.watch_message(len(data))

    def leave(self) -> None:
        """Close the connection with its next answer. An idle one may still send a request."""
        self.is_leaving = True
        self._connection.head, self._connection.is_plain = None, False  # no shortcut

    def connection_lost(self, exc: Exception | None) -> None:
        waiting = [request for request, _ in self.pipeline]
        for request in {self._connection.running, self.cycle, *waiting}:
            if isinstance(request, FastRequest) and not request.response_complete:
                self._connection.lose(request)
        self.pipeline.clear()
        self._unparsed = b""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        # This breaks reference cycles, so that the buffers need not wait for the garbage collector.
        self.cycle = self.parser = self._connection.running = None  # type: ignore[assignment]
        self._connection.protocol = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connection.is_plain = False
        self.watch_answer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled:
            self._stalled = False
            self._start_next()

    def _unset_keepalive_if_required(self) -> None:
        """Do not touch the timer: setting it for each request costs more than a check when it fires."""

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._connection.running = None
        if self.transport.is_closing():
            self.watch_answer()  # it closes once the answer is read
        elif not self._lingering:
            self._start_next()

    # Parsing, and the pipeline of requests

    def _parse_read(self, data: bytes) -> None:
        """Parse what was read until a request has to wait. What follows it stays unparsed: a parsed request takes fifty
        times its bytes."""
        at = 0
        try:
            while at < len(data) and not self._lingering and not self.transport.is_closing():
                if self.pipeline:
                    self._unparsed = data[at:]
                    self.flow.pause_reading()
                    return
                size = _PIECE_BYTES
                if self._in_body and self._length >= 0:
                    size = max(size, self._length - self._body_bytes)
                behind = self._feed_parser(data if at == 0 and size >= len(data) else memoryview(data)[at : at + size])
                at += size
                if self._handshake is not None:
                    handshake, self._handshake, self._in_header = self._handshake, None, False
                    upgrade_connection(self, self._connection.handler, handshake, behind + data[at:])
                    return
        except httptools.HttpParserError as error:
            self.refused_url = self.url if self._in_header else b""
            self._in_header = self._in_body = False
            fault = error.__context__
            is_ours = isinstance(fault, httptools.HttpParserError)
            self.send_400_response(str(fault) if is_ours else f"{_NOT_HTTP}: {error}")

    def _parse_rest(self) -> None:
        """Parse what was left, now that the requests before it are answered."""
        data, self._unparsed = self._unparsed, b""
        self._parse_read(data)
        if self._unparsed or self.pipeline or self._lingering or self._malformed is not None:
            return
        if self._in_header or self._in_body:
            self._since = self.loop.time()
            self.watch_message(0)
        request = self.cycle
        if self.flow.read_paused and not (isinstance(request, FastRequest) and request.waits_for_room):
            self.flow.resume_reading()

    def _feed_parser(self, data: bytes | memoryview) -> bytes:
        """Feed the parser. Returns what follows a handshake."""
        while True:
            try:
                self.parser.feed_data(data)
                return b""
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            if self._handshake is not None:
                return bytes(data)
            again, self._again = self._again, b""
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
            self.parser.feed_data(again)

    def _ignore_upgrade(self) -> None:
        """Keep the header without ``Upgrade``, to parse it when the parser stops, which is before the body."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT: expected the method of a resource")
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self._again = b"\r\n".join([*lines, b"", b""])

    def _fast_request(self) -> FastRequest | None:
        """The request for the message that begins; None if it takes the ASGI path."""
        handler = self._connection.handler
        if handler is None or self.expect_100_continue or self.parser.get_method() != b"POST":
            return None
        if not self.settings.fast_path or self.limit_concurrency is not None:
            return None
        url, _, query = self.url.partition(b"?")
        path, base_path = url.decode("latin-1"), self.settings.base_path
        if self.root_path or "%" in path or not path.startswith(base_path):
            return None  # the ASGI path decodes it
        endpoint = handler.match(path[len(base_path) :])
        if endpoint is None:
            return None
        in_chunks = self.parser.get_http_version() != "1.0"
        keep_alive = in_chunks and not self.is_leaving and self.parser.should_keep_alive()
        request = FastRequest(self._connection, endpoint, query, dict(self.headers), keep_alive)
        request.parts = BodyParts()
        request.in_chunks = in_chunks
        return request

    def _start_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # in place: the scope has this list
        super().on_headers_complete()
        if self.is_leaving:
            self.cycle.keep_alive = False

    def complete(self, request: FastRequest) -> None:
        """A request is answered: go on with the next, or end the connection."""
        if request.refusal is not None:
            self.linger()
        elif not request.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _start_next(self) -> None:
        """Begin the next requests of the pipeline, until one is not answered at once."""
        if self._advancing:
            return  # called by a request that was answered at once, in the loop below
        self._advancing = True
        try:
            while not self.flow.write_paused:
                if self.pipeline:
                    cycle, app = self.pipeline.pop()
                    self._start_asgi_task(cycle, app)
                    if self._unparsed and self._in_body and not self.pipeline:
                        self._parse_rest()  # the rest of its body has been read
                elif self._unparsed:
                    self._parse_rest()
                    cycle = self.cycle
                    if cycle is None:
                        return  # the connection has become a live stream
                else:
                    self._become_idle()
                    return
                if not cycle.response_complete or self.transport.is_closing() or self._lingering:
                    return
            self._stalled = True
            self.flow.pause_reading()
        finally:
            self._advancing = False

    def _become_idle(self) -> None:
        """No request is left: read on, or end the connection if malformed bytes came."""
        if self._malformed is not None:
            self.answer_last(self._malformed)
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._connection.idle_since = self.loop.time()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn calls this for the next request of the pipeline, which may be one of the fast path.
        if isinstance(cycle, FastRequest):
            cycle.has_turn = True
            if not cycle.has_body and not cycle.waits_for_room:
                self.flow.resume_reading()  # reading was paused within its body, for the request before it
            self._connection.begin(cycle)
        else:
            super()._start_asgi_task(cycle, app)
