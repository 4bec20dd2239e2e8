"""HTTP/1.1 on a connection: uvicorn's protocol, and on it the fast path for the POST routes that carry tensors.

uvicorn keeps parsing, TLS, keep-alive rules and shutdown. On the fast path there is no scope, task, future or event:
the body is collected, the handler is called, and its reply is written to the transport, so that a finished batch writes
all its answers in one pass of the loop; the pieces of a stream are written as they come. Everything else goes to the
ASGI path: other routes and methods, escaped paths, `Expect: 100-continue`.

Rules of the fast path
- Requests of one connection are answered in the order they came, fast or not: one runs, the next ones wait in uvicorn's
  pipeline, and reading stops meanwhile.
- A body over the limit is refused before it is read, and its connection ends; so is a header over the limit.
- Bodies under way may hold so many bytes in all (`BodyBudget`); a connection whose next body does not fit is not read.
- The next request is not begun while the client does not read the last answer.
- A caller that goes takes its work with it, also in the middle of a stream.
- A stopping server closes idle connections at once, and the others after their answer.
- A connection that sends the same head again, which programs do, is not parsed again: equal bytes mean the same.
"""

import asyncio
from typing import Any

import httptools
from mypy_extensions import mypyc_attr
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.errors import BodyTooLarge, HeaderTooLarge, InvalidInput, ServiceError
from service.transport.fast.connection import Connection, FastRequest, learn_head, write_reply
from service.transport.handler import HANDLER_STATE, Handler
from service.transport.request import LINGER_S, request_id_of
from service.transport.status import error_reply

MAX_HEADER_BYTES = 64 << 10
_TOO_LONG = f"header: expected at most {MAX_HEADER_BYTES} bytes, got more"


@mypyc_attr(native_class=False)
class Http1Protocol(HttpToolsProtocol):
    """A connection whose requests all go to the ASGI path: as uvicorn has it, but for ``Upgrade``, which is ignored.

    Java's client asks for h2c with each request. To the parser such a request is the last of its connection: it has no
    body, and the parser stops after its header. What a client sends as a body would be lost, or answered as a request
    that nobody before us has seen. So the header is parsed again without that field, and what came after it follows
    (RFC 9110, section 7.8). The first time, nothing is begun. A tunnel is another matter: what follows CONNECT is for
    somebody else, so it is refused like what is not HTTP.

    ``keep_alive_s`` is how long the connection may be idle: as the settings say, not as the options of whoever runs
    uvicorn. BentoML's worker has 5 seconds, and a proxy that keeps its connections longer answers 502 for one that is
    just being closed.
    """

    keep_alive_s: float
    is_leaving = False  # the server stops: the next request is the last of this connection

    _again = b""  # the header to parse again, from its end on until the parser has stopped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        handler: Handler | None = self.app_state.get(HANDLER_STATE)
        self.keep_alive_s = float(self.timeout_keep_alive if handler is None else handler.keep_alive_s)
        self.timeout_keep_alive = self.keep_alive_s  # type: ignore[assignment]  # uvicorn's timer takes any number

    def leave(self) -> None:
        """Tell the client with the next answer to close; while it is idle it may still send a request."""
        self.is_leaving = True

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._ignore_upgrade()
            return
        super().on_headers_complete()
        if self.is_leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if not self._again:
            super().on_message_complete()

    def _ignore_upgrade(self) -> None:
        """Begin nothing, and keep what to parse instead when the parser stops, which it does before another byte."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT: expected the method of a resource")
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self._again = b"\r\n".join([*lines, b"", b""])

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            again, self._again = self._again, b""
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            self.parser.feed_data(again)


@mypyc_attr(native_class=False)
class FastProtocol(Http1Protocol):
    """A connection of the fast path."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_header = False
        self._header_bytes = 0
        self._begun = 0  # messages whose first byte was in what is being parsed; one with an upgrade counts again
        self._advancing = False
        self._stalled = False  # the client does not read its answers
        self._lingering = False  # the last answer is out; what still comes is thrown away
        self._malformed = False  # what came after the running request is not HTTP

    # What the parser says

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_header = True
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._ignore_upgrade()
            return
        if self._lingering:
            return  # it came with the end of the request that was refused
        self._in_header = False
        self._header_bytes = 0
        request = self._fast_request()
        if request is None:
            self._go_by_asgi()
            return
        previous, self.cycle = self.cycle, request  # type: ignore[assignment]  # it has what uvicorn asks of a cycle
        if _count_bytes(self.url, self.headers) > MAX_HEADER_BYTES:
            request.admitted = True
            self._connection.refuse(request, HeaderTooLarge(_TOO_LONG))
        else:
            self._connection.admit(request)
        if previous is None or previous.response_complete:
            request.turn = True
            if request.refusal is not None:
                self._connection.begin(request)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))  # type: ignore[arg-type]  # see _start_asgi_task

    def on_body(self, body: bytes) -> None:
        request = self.cycle
        if not isinstance(request, FastRequest):
            super().on_body(body)
            return
        handler = self._connection.handler
        if handler is None or request.refusal is not None or request.response_complete:
            return
        request.size += len(body)
        if request.size > handler.max_body_bytes:
            limit = f"body: expected at most {handler.max_body_bytes} bytes, got more"
            self._connection.refuse(request, BodyTooLarge(limit))
            return
        request.parts.append(body)
        if request.size > request.held_bytes and request.admitted:
            handler.body_budget.grow(request.size - request.held_bytes)
            request.held_bytes = request.size

    def on_message_complete(self) -> None:
        request = self.cycle
        if self._again or not isinstance(request, FastRequest):
            super().on_message_complete()
            return
        request.body_is_there = True
        self._connection.begin(request)

    # What the transport and the server say

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        handler = self.app_state.get(HANDLER_STATE)
        self._connection = Connection(self, handler, transport, self.flow, self.server_state, self.loop)

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        if self._lingering or connection.take(data):
            return
        was_idle = self.cycle is None or self.cycle.response_complete
        began_in_header = self._in_header
        self._begun = 0
        connection.head, connection.is_plain = None, False
        super().data_received(data)
        if was_idle and self._begun == 1 and not began_in_header and isinstance(self.cycle, FastRequest):
            connection.head = learn_head(self.cycle, data)
        if self._lingering:
            return
        # The parser keeps an unfinished header line to itself, so what it was fed is counted: pieces of nothing but
        # this header. One that holds the end of another request as well is not; uvloop reads 256 KiB at most at once.
        if self._in_header and (self._begun == 0 if began_in_header else was_idle and self._begun == 1):
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.send_400_response("header too large")

    def send_400_response(self, msg: str) -> None:
        """The parser has given up. What runs on this connection is answered first, then the complaint ends it."""
        cycle = self.cycle
        if isinstance(cycle, FastRequest):
            if not cycle.body_is_there and not cycle.response_complete:
                cycle.admitted = True  # the rest of its body would never come
                if cycle.refusal is None:
                    self._connection.refuse(cycle, InvalidInput(msg))
                return
        elif cycle is not None and cycle.more_body and not cycle.response_complete:
            if self._connection.running is not None or self.pipeline or cycle.response_started:
                self.transport.close()
                return
            # Whoever waits for the rest of this body is told that the caller has gone.
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._connection.running is not None or self.pipeline or not is_idle:
            self._malformed = True
            self.flow.pause_reading()
            return
        error: ServiceError = InvalidInput(msg)
        if self._header_bytes > MAX_HEADER_BYTES:
            error = HeaderTooLarge(_TOO_LONG)
        request_id = request_id_of({})
        reply = error_reply(error, request_id)
        reply.headers = (*reply.headers, (b"x-request-id", request_id.encode()))
        write_reply(self._connection, reply, keep_alive=False)
        self._linger()

    def leave(self) -> None:
        super().leave()
        self._connection.head, self._connection.is_plain = None, False  # no short way

    def connection_lost(self, exc: Exception | None) -> None:
        waiting = [request for request, _ in self.pipeline]
        for request in {self._connection.running, self.cycle, *waiting}:
            if isinstance(request, FastRequest) and not request.response_complete:
                self._connection.lose(request)
        self.pipeline.clear()
        super().connection_lost(exc)
        # The parser and the last request refer to this and would wait, with their buffers, for the garbage collector.
        self.cycle = self.parser = self._connection.running = None  # type: ignore[assignment]
        self._connection.long_way = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connection.is_plain = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled:
            self._stalled = False
            self._next()

    def timeout_keep_alive_handler(self) -> None:
        """Close if the connection has been idle for long enough; one timer serves many requests."""
        self.timeout_keep_alive_task = None
        self._connection.is_plain = False  # the next answer that ends sets a timer again
        if self.transport.is_closing() or not (self.cycle is None or self.cycle.response_complete):
            return
        left_s = self._connection.idle_since + self.keep_alive_s - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        # Data has come. The timer stays and looks at this when it fires: to set one anew for each request costs more.
        self._connection.idle_since = self.loop.time()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._connection.running = None
        if not self.transport.is_closing() and not self._lingering:
            self._next()

    # The long way of a request, where it is not the short one of its connection

    def _fast_request(self) -> FastRequest | None:
        """The request, if the message that begins is one that this path takes."""
        handler = self._connection.handler
        if handler is None or self.expect_100_continue or self.parser.get_method() != b"POST":
            return None
        if self.limit_concurrency is not None:
            return None
        url, _, query = self.url.partition(b"?")
        path, base_path = url.decode("latin-1"), handler.base_path
        if self.root_path or "%" in path or not path.startswith(base_path):
            return None  # the ASGI path unescapes
        endpoint = handler.match(path[len(base_path) :])
        if endpoint is None:
            return None
        in_chunks = self.parser.get_http_version() != "1.0"
        keep_alive = in_chunks and not self.is_leaving and self.parser.should_keep_alive()
        request = FastRequest(self._connection, endpoint, query, dict(self.headers), keep_alive)
        request.parts = []
        request.in_chunks = in_chunks
        return request

    def _go_by_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # in place: the scope holds this list
        super().on_headers_complete()

    def complete(self, request: FastRequest) -> None:
        """A request that had its turn is complete: go on with the next, or end the connection."""
        if request.refusal is not None:
            self._linger()
        elif not request.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _linger(self) -> None:
        """End our side and wait for the client to end its own, but not for long."""
        self._lingering = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
        else:  # TLS has no half-closed connections
            self.transport.close()

    def _next(self) -> None:
        """Begin what waits in the pipeline, one after the other, or be idle."""
        if self._advancing:
            return  # a request that was answered at once: the loop below goes on with the next
        self._advancing = True
        try:
            while not self.flow.write_paused:
                if not self.pipeline:
                    self._rest()
                    return
                cycle, app = self.pipeline.pop()
                self._start_asgi_task(cycle, app)
                if not cycle.response_complete or self.transport.is_closing() or self._lingering:
                    return
            self._stalled = True
            self.flow.pause_reading()
        finally:
            self._advancing = False

    def _rest(self) -> None:
        """Nothing is left to answer."""
        if self._malformed:
            self.send_400_response("Invalid HTTP request received.")
            return
        request = self.cycle
        if self.flow.read_paused and (not isinstance(request, FastRequest) or request.admitted):
            self.flow.resume_reading()
        self._connection.idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.keep_alive_s, self.timeout_keep_alive_handler)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn starts the next of the pipeline here; it may be one of ours.
        if isinstance(cycle, FastRequest):
            cycle.turn = True
            if cycle.admitted and not cycle.body_is_there:
                self.flow.resume_reading()  # reading stopped for the request before it, in the middle of this one
            self._connection.begin(cycle)
        else:
            super()._start_asgi_task(cycle, app)


def _count_bytes(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) for name, value in headers)
