"""The ASGI application. It sends each request to the handler, to BentoML (for its schema), or to `information`.

It serves while models are still loading, so that probes get "not ready" instead of a closed port.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.grants import INFER
from service.access.routes import find_scope
from service.errors import (
    BodyTooLarge,
    Forbidden,
    InvalidInput,
    ServiceError,
    TryLater,
    Unauthenticated,
    WrongMethod,
)
from service.metrics.meters import Metrics
from service.transport.awaited_request import AwaitedRequest
from service.transport.handler import HANDLER_STATE, REFUSED, Handler
from service.transport.observer import GONE, RequestEnd, report_end
from service.transport.request import LINGER_S, BodyParts, Endpoint, HeaderField, Reply, no_room, request_id_of
from service.transport.status import error_reply

_SCHEMA = "/schema.json"
"""The one route that BentoML answers: its client reads the tasks there. BentoML's page is not served, because it loads
scripts from other origins."""


class Lifecycle(Protocol):
    """What the application starts and stops. ``information`` is an application: the routes that carry no tensors."""

    @property
    def handler(self) -> Handler: ...
    @property
    def information(self) -> ASGIApp: ...
    @property
    def metrics(self) -> Metrics: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class AsgiApplication:
    """``open_service`` is called on the event loop. ``inner`` is BentoML's application."""

    def __init__(self, open_service: Callable[[], Lifecycle], inner: ASGIApp) -> None:
        self._open_service = open_service
        self._inner = inner
        self._service: Lifecycle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start after BentoML and stop before it."""

        async def receive_and_stop() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and self._service is not None:
                await self._service.stop()
            return message

        async def start_and_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._service = self._open_service()
                scope.get("state", {})[HANDLER_STATE] = self._service.handler
                await self._service.start()
            await send(message)

        await self._inner(scope, receive_and_stop, start_and_send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        if service is None:
            raise RuntimeError("the application was not started: run it with its lifespan")
        path = _strip(scope["path"], service.handler.settings.base_path)
        if path != scope["path"]:
            scope = {**scope, "path": path, "sluice.path": scope["path"]}
        if service.handler.cors is not None:
            headers = dict(scope["headers"])
            preflight = service.handler.cors.answer_preflight(scope["method"], headers)
            if preflight is not None:
                await _send_reply(preflight, send)
                end = _end_of(scope, preflight.status, 0.0)
                end.bytes_out = preflight.size_bytes
                _report_end(service.handler, end)
                return
            send = _add_headers(service.handler.cors.headers_for(headers), send)
        scope = {**scope, "sluice.grant": None}
        endpoint = service.handler.match(path)
        if endpoint is not None:
            await self._handle(service.handler, endpoint, scope, receive, send)
        else:
            await self._answer_information(service, scope, receive, send)

    async def _pass_on(self, service: Lifecycle, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the key of a request that is not for the handler, and pass the request on."""
        handler = service.handler
        needed = find_scope(scope["path"])
        if handler.guard is not None and needed is not None:
            try:
                grant = handler.guard.admit(needed, scope["headers"], _client_of(scope))
            except ServiceError as error:
                handler.count_rejected(type(error))
                scope["sluice.reason"] = error.reason
                await _send_and_linger(error_reply(error, scope["sluice.request_id"]), send, receive)
                return
            scope["sluice.grant"] = grant
            if grant.limits is not None:
                send = _add_headers(handler.guard.describe(grant), send)
        if scope["path"] == _SCHEMA:
            scope["sluice.route"] = _SCHEMA
            await self._inner(scope, receive, send)
        else:
            await service.information(scope, receive, send)

    async def _answer_information(self, service: Lifecycle, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not for the handler: give it an id, count it and report its end."""
        request_id = scope["sluice.request_id"] = request_id_of(dict(scope["headers"]))
        send_with_id = _add_headers([(b"x-request-id", request_id.encode())], send)
        clock = service.handler.clock
        began = clock()
        status, bytes_in, bytes_out = 0, 0, 0

        async def receive_and_note() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal status, bytes_out
            status = message.get("status", status)
            bytes_out += len(message.get("body", b""))
            await send_with_id(message)

        try:
            await self._pass_on(service, scope, receive_and_note, send_and_note)
        except ClientDisconnect:
            status = status or GONE
            raise
        finally:
            status, seconds = status or 500, clock() - began
            service.metrics.route(scope.get("sluice.route", "")).answered(status, seconds)
            if not scope.get("state", {}).get(REFUSED):
                end = _end_of(scope, status, seconds)
                end.bytes_in, end.bytes_out = bytes_in, bytes_out
                _report_end(service.handler, end)

    async def _handle(self, handler: Handler, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the handler. It is cancelled when the caller goes."""
        pieces_to = None if scope["http_version"] == "1.0" else send
        request = AwaitedRequest(endpoint, scope["query_string"], dict(scope["headers"]), pieces_to)
        is_unread = False
        request.method, request.path = scope["method"], scope.get("sluice.path", scope["path"])
        request.client = _client_of(scope)
        try:
            _admit(request, handler, scope)
            if scope["method"] != "POST":
                raise WrongMethod(f"{scope['path']}: expected POST, got {scope['method']}", ("POST",))
            _check_length(request.headers, handler.settings.max_body_bytes)
            request.body = await _read_body(request, handler, receive)
        except ClientDisconnect:
            if not scope.get("state", {}).get(REFUSED):
                request.received_bytes = request.held_bytes
                handler.lose(request)
            return
        except ServiceError as error:
            is_unread = isinstance(error, BodyTooLarge | TryLater | Unauthenticated | Forbidden)
            request.received_bytes = request.held_bytes
            handler.refuse(request, error)
        else:
            handler.start(request)
            await request.wait(receive)
        finally:
            handler.body_budget.release(request.held_bytes, request)
        if is_unread:
            await _send_and_linger(request.answer.result(), send, receive)
        elif not request.is_sent:
            await _send_reply(request.answer.result(), send)


def _client_of(scope: Scope) -> str:
    client = scope.get("client")  # None for a Unix socket
    return client[0] if client else ""


def _end_of(scope: Scope, status: int, seconds: float) -> RequestEnd:
    headers = dict(scope["headers"])
    path = scope.get("sluice.path", scope["path"])
    request_id = scope.get("sluice.request_id") or request_id_of(headers)
    end = RequestEnd(scope["method"], scope.get("sluice.route", ""), path, status, seconds, request_id, headers)
    end.client, end.reason = _client_of(scope), scope.get("sluice.reason", "")
    if (grant := scope.get("sluice.grant")) is not None:
        end.caller = grant.name
    return end


def _report_end(handler: Handler, end: RequestEnd) -> None:
    if handler.observer is not None:
        report_end(handler.observer, end)


def _strip(path: str, base_path: str) -> str:
    """The path without the base path and without a slash at its end; "" for a path outside the base path."""
    if base_path:
        if path != base_path and not path.startswith(base_path + "/"):
            return ""
        path = path[len(base_path) :]
    return path.rstrip("/") or "/"


def _add_headers(headers: Sequence[HeaderField], send: Send) -> Send:
    """A ``send`` that adds headers to the answer."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return send_with_headers


def _admit(request: AwaitedRequest, handler: Handler, scope: Scope) -> None:
    """Check the caller's key. Raises Unauthenticated, MissingScope, RateLimited, TryLater."""
    if handler.guard is not None:
        grant = handler.guard.admit(INFER, scope["headers"], _client_of(scope))
        request.grant, request.caller = grant, grant.name


def _check_length(headers: Mapping[bytes, bytes], max_bytes: int) -> None:
    """Check the declared length of the body. Raises InvalidInput, BodyTooLarge."""
    declared = headers.get(b"content-length", b"0").strip()
    if not declared.isdigit() or len(declared) > 18:
        raise InvalidInput(f"Content-Length: expected a number, got {declared.decode('latin-1')!r:.40}")
    if int(declared) > max_bytes:
        raise BodyTooLarge(f"body: expected at most {max_bytes} bytes, got {int(declared)}")


async def _read_body(request: AwaitedRequest, handler: Handler, receive: Receive) -> bytes:
    """The whole body. Its bytes are counted in the body budget as they arrive.

    Raises BodyTooLarge before it holds more than the limit, TryLater if it waits too long for room, ClientDisconnect.
    """
    parts = BodyParts()
    loop = asyncio.get_running_loop()
    budget, timeout_s = handler.body_budget, handler.settings.deadline_s
    room_until = 0.0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        if request.held_bytes + len(part) > handler.settings.max_body_bytes:
            raise BodyTooLarge(f"body: expected at most {handler.settings.max_body_bytes} bytes, got more")
        parts.add(part)
        budget.grow(len(part))
        request.held_bytes += len(part)
        if not message.get("more_body", False):
            return parts.take()
        if not budget.may_read_on(request, request.held_bytes, (room := asyncio.Event()).set):
            room_until = room_until or loop.time() + timeout_s
            try:
                async with asyncio.timeout_at(room_until):
                    await room.wait()
            except TimeoutError:
                raise no_room(timeout_s) from None
            if budget.is_first(request):
                room_until = loop.time() + timeout_s
        elif budget.is_first(request):
            room_until = room_until or loop.time() + timeout_s
            if budget.keeps_others_waiting(request) and loop.time() >= room_until:
                raise no_room(timeout_s)


async def _send_and_linger(reply: Reply, send: Send, receive: Receive) -> None:
    """Answer while the body is still arriving. Closing at once would reset the connection before the answer is read."""
    await _send_head(reply, send, (b"connection", b"close"))
    await send({"type": "http.response.body", "body": b"".join(reply.chunks), "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (message := await receive())["type"] != "http.disconnect" and message.get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_reply(reply: Reply, send: Send) -> None:
    await _send_head(reply, send)
    chunks = reply.chunks or [b""]
    for i, chunk in enumerate(chunks, 1):
        await send({"type": "http.response.body", "body": chunk, "more_body": i < len(chunks)})


async def _send_head(reply: Reply, send: Send, *more: HeaderField) -> None:
    headers = [*reply.headers, (b"content-length", str(reply.size_bytes).encode()), *more]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
