"""The guard of calls over gRPC: a call that it refuses is ended before its message is read."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

import grpc

from service.access.grants import Grant
from service.access.routes import find_rpc_scope
from service.errors import ServiceError
from service.transport.grpc.codes import refusal_of
from service.transport.handler import Handler
from service.transport.request import HeaderField, Reply, request_id_of
from service.transport.status import error_reply

GRANT: ContextVar[Grant | None] = ContextVar("grant", default=None)
"""What the key of the running call allows. gRPC calls the interceptor and the method in one task."""


class GuardInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """Looks at each call, those of reflection and of unknown methods included. The handler must have a guard."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        guard, needed = self._handler.guard, find_rpc_scope(details.method)
        if guard is None or needed is None:
            return await continuation(details)
        fields = fields_of(details.invocation_metadata)
        try:
            GRANT.set(guard.admit(needed, fields, ""))
        except ServiceError as error:
            self._handler.count_rejected(type(error))
            return _end_with(error_reply(error, request_id_of(dict(fields))))
        return await continuation(details)


def fields_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Sequence[HeaderField]:
    """Metadata in the form of a header."""
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape"))
        for name, value in metadata or ()
    ]


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer: ``ipv4:127.0.0.1:5``, ``ipv6:%5B::1%5D:5``; "" for other kinds."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].strip("[]")


def _end_with(reply: Reply) -> Any:
    """A method that ends any call with an error. As one that takes a stream it need not read a message before."""

    async def end(_: object, context: Any) -> None:
        await context.abort(*refusal_of(reply))

    return grpc.stream_stream_rpc_method_handler(end)
