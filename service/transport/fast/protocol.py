"""The fast path: uvicorn's HTTP protocol with a short way for the POST routes that carry tensors.

uvicorn keeps parsing, TLS, keep-alive rules and shutdown. For a fast route there is no scope, task, future or event: the
body is collected, the request handler is called, and its reply is written to the transport, so that a finished batch writes
all its answers in one pass of the loop; the pieces of a stream are written as they come (`exchange.py`). Everything
else goes to the ASGI path: other routes and methods, escaped paths, `Expect: 100-continue`.

Rules
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
import functools
from typing import Any

from mypy_extensions import mypyc_attr
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from service.api.handler import HANDLER_STATE, RequestHandler
from service.errors import BodyTooLarge, HeaderTooLarge, InvalidInput, ServiceError
from service.transport.fast.connection import Line, learn_head
from service.transport.fast.request import FastRequest, write_reply
from service.transport.http1 import Http1Protocol
from service.transport.request import LINGER_S, Endpoint, request_id_of
from service.transport.status import error_reply

PROTOCOL = "service.transport.fast.protocol:HotProtocol"

MAX_HEADER_BYTES = 64 << 10
_TOO_LONG = f"header: expected at most {MAX_HEADER_BYTES} bytes, got more"


@mypyc_attr(native_class=False)
class FastProtocol(Http1Protocol):
    """One connection."""

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
        call = self._fast_request()
        if call is None:
            self._go_by_asgi()
            return
        previous, self.cycle = self.cycle, call  # type: ignore[assignment]  # it has what uvicorn asks of a cycle
        if _count_bytes(self.url, self.headers) > MAX_HEADER_BYTES:
            call.admitted = True
            self._refuse(call, HeaderTooLarge(_TOO_LONG))
        else:
            self._admit(call)
        if previous is None or previous.response_complete:
            call.turn = True
            if call.refusal is not None:
                self._begin(call)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((call, self.app))  # type: ignore[arg-type]  # see _start_asgi_task

    def on_body(self, body: bytes) -> None:
        call = self.cycle
        if not isinstance(call, FastRequest):
            super().on_body(body)
            return
        handler = self._line.handler
        if handler is None or call.refusal is not None or call.response_complete:
            return
        call.size += len(body)
        if call.size > handler.max_body_bytes:
            self._refuse(call, BodyTooLarge(f"body: expected at most {handler.max_body_bytes} bytes, got more"))
            return
        call.parts.append(body)
        if call.size > call.held_bytes and call.admitted:
            handler.body_budget.grow(call.size - call.held_bytes)
            call.held_bytes = call.size

    def on_message_complete(self) -> None:
        call = self.cycle
        if self._again or not isinstance(call, FastRequest):
            super().on_message_complete()
            return
        call.body_is_there = True
        self._begin(call)

    # What the transport and the server say

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._line = Line(self, self.app_state.get(HANDLER_STATE), transport, self.flow, self.server_state, self.loop)

    def data_received(self, data: bytes) -> None:
        line = self._line
        if self._lingering or line.take(data):
            return
        was_idle = self.cycle is None or self.cycle.response_complete
        began_in_header = self._in_header
        self._begun = 0
        line.head, line.is_plain = None, False
        super().data_received(data)
        if was_idle and self._begun == 1 and not began_in_header and isinstance(self.cycle, FastRequest):
            line.head = learn_head(self.cycle, data)
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
                    self._refuse(cycle, InvalidInput(msg))
                return
        elif cycle is not None and cycle.more_body and not cycle.response_complete:
            if self._line.running is not None or self.pipeline or cycle.response_started:
                self.transport.close()
                return
            # Whoever waits for the rest of this body is told that the caller has gone.
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
        if self._line.running is not None or self.pipeline or not (self.cycle is None or self.cycle.response_complete):
            self._malformed = True
            self.flow.pause_reading()
            return
        error: ServiceError = InvalidInput(msg)
        if self._header_bytes > MAX_HEADER_BYTES:
            error = HeaderTooLarge(_TOO_LONG)
        request_id = request_id_of({})
        reply = error_reply(error, request_id)
        reply.headers = (*reply.headers, (b"x-request-id", request_id.encode()))
        write_reply(self._line, reply, keep_alive=False)
        self._linger()

    def connection_lost(self, exc: Exception | None) -> None:
        waiting = [call for call, _ in self.pipeline]
        for call in {self._line.running, self.cycle, *waiting}:
            if isinstance(call, FastRequest) and not call.response_complete:
                call.disconnected = True
                if self._line.handler is not None:
                    self._line.handler.cancel(call)
                self._line.forget(call)
        self.pipeline.clear()
        super().connection_lost(exc)
        # The parser and the last request refer to this and would wait, with their buffers, for the garbage collector.
        self.cycle = self.parser = self._line.running = self._line.connection = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        super().pause_writing()
        self._line.is_plain = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled:
            self._stalled = False
            self._next()

    def timeout_keep_alive_handler(self) -> None:
        """Close if the connection has been idle for long enough; one timer serves many requests."""
        self.timeout_keep_alive_task = None
        self._line.is_plain = False  # the next answer that ends sets a timer again
        if self.transport.is_closing() or not (self.cycle is None or self.cycle.response_complete):
            return
        left_s = self._line.idle_since + self.keep_alive_s - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        # Data has come. The timer stays and looks at this when it fires: to set one anew for each request costs more.
        self._line.idle_since = self.loop.time()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._line.running = None
        if not self.transport.is_closing() and not self._lingering:
            self._next()

    # The way of a fast call, where it is not the short one of its line

    def _fast_request(self) -> FastRequest | None:
        """The call, if the message that begins is one that this path takes."""
        handler = self._line.handler
        if handler is None or self.expect_100_continue or self.parser.get_method() != b"POST":
            return None
        if self.limit_concurrency is not None:
            return None
        endpoint = None if self.root_path else _match(self.url, handler.base_path)
        if endpoint is None:
            return None
        in_chunks = self.parser.get_http_version() != "1.0"
        keep_alive = in_chunks and self.parser.should_keep_alive()
        call = FastRequest(self._line, endpoint, self.url.partition(b"?")[2], dict(self.headers), keep_alive)
        call.parts = []
        call.in_chunks = in_chunks
        return call

    def _go_by_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # in place: the scope holds this list
        super().on_headers_complete()

    def _admit(self, call: FastRequest) -> None:
        """Reserve room for the body by its declared length, or stop reading until there is some."""
        handler = self._line.handler
        if handler is None or call.disconnected or call.response_complete:
            return
        size = int(call.headers.get(b"content-length", b"0"))  # the parser has refused what is not a number
        if size > handler.max_body_bytes:
            call.admitted = True
            self._refuse(call, BodyTooLarge(f"body: expected at most {handler.max_body_bytes} bytes, got {size}"))
        elif handler.body_budget.admit(size, functools.partial(self._admit_later, call)):
            call.admitted, call.held_bytes = True, size
        else:
            self.flow.pause_reading()

    def _admit_later(self, call: FastRequest) -> None:
        self._admit(call)
        if call.admitted:
            self.flow.resume_reading()
            self._begin(call)

    def _refuse(self, call: FastRequest, error: ServiceError) -> None:
        """Answer without the body; the rest of it is not wanted, so the connection ends with the answer."""
        call.refusal = error
        call.keep_alive = False
        call.parts.clear()
        self._begin(call)

    def _begin(self, call: FastRequest) -> None:
        """Give the call to the request handler, if all of it is there and it is its turn."""
        handler = self._line.handler
        if handler is None or not (call.turn and call.admitted) or call.started or call.response_complete:
            return
        if not call.body_is_there and call.refusal is None:
            return
        self._line.running = call
        call.started = True
        parts, call.parts = call.parts, []
        call.body = parts[0] if len(parts) == 1 else b"".join(parts)
        if call.refusal is not None:
            handler.refuse(call, call.refusal)
        else:
            handler.start(call)

    def complete(self, call: FastRequest) -> None:
        """A call that had its turn is complete: go on with the next, or end the connection."""
        if call.refusal is not None:
            self._linger()
        elif not call.keep_alive:
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
            return  # a call that was answered at once: the loop below goes on with the next
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
        call = self.cycle
        if self.flow.read_paused and (not isinstance(call, FastRequest) or call.admitted):
            self.flow.resume_reading()
        self._line.idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.keep_alive_s, self.timeout_keep_alive_handler)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn starts the next of the pipeline here; it may be one of ours.
        if isinstance(cycle, FastRequest):
            cycle.turn = True
            if cycle.admitted and not cycle.body_is_there:
                self.flow.resume_reading()  # reading stopped for the request before it, in the middle of this one
            self._begin(cycle)
        else:
            super()._start_asgi_task(cycle, app)


def _count_bytes(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) for name, value in headers)


@functools.lru_cache(maxsize=4096)
def _match(url: bytes, base_path: str) -> Endpoint | None:
    """The endpoint of a raw URL; escaped paths go to the ASGI path, which unescapes them."""
    path = url.partition(b"?")[0]
    return None if b"%" in path else RequestHandler.match(path.decode("latin-1"), base_path)
