"""The gRPC server of a worker. All workers of a server listen on the same port.

``service/transport/http2`` speaks HTTP/2, because `grpc.aio` takes several times as long for a call as the engine.
"""

import asyncio
import functools
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection
from starlette.types import ASGIApp

from model_store.triton.schema import POOL
from service.access.grants import INFER
from service.errors import NotOffered, ServiceError
from service.metrics.meters import Metrics
from service.settings import Settings, SettingsError
from service.transport.addresses import join_address
from service.transport.grpc.contexts import CallContext, MethodHandler
from service.transport.grpc.health import Health
from service.transport.grpc.inference import InferenceServicer
from service.transport.grpc.info import INFO_REQUESTS, InfoServicer
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.protocol import GrpcProtocol, Service
from service.transport.handler import Handler
from service.transport.status import error_reply
from service.transport.tls import Identity, RenewedIdentity, use_identity

logger = logging.getLogger("sluice.grpc")

_CUDA_MEMORY = tuple(f"CudaSharedMemory{what}" for what in ("Status", "Register", "Unregister"))
_REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")
"""Both have the same messages."""
_BACKLOG = 1024


class GrpcServer:
    """``information`` is the application with the information routes. ``port`` 0: any free port. ``listener`` is a
    listening socket, which is closed at the end.

    ``services`` has the methods of each service, except ModelInfer, which the handler answers. Methods get bytes,
    because a message is checked before it is parsed.
    """

    def __init__(
        self,
        handler: Handler,
        information: ASGIApp,
        metrics: Metrics,
        settings: Settings,
        port: int | None = None,
        *,
        listener: socket.socket | None = None,
    ) -> None:
        self._tls = RenewedIdentity(settings)
        self._context = None if self._tls.identity is None else _make_context(self._tls.identity, settings)
        self._settings, self._listener = settings, listener
        self._port = settings.grpc_port if port is None else port
        self._inference = InferenceServicer(handler)
        self._health = Health(information, metrics, handler.clock, functools.partial(_check_caller, handler))
        info = InfoServicer(information, metrics, handler.clock)
        methods: dict[str, dict[str, MethodHandler]] = {
            FULL_NAME: {
                "ModelStreamInfer": MethodHandler(self._inference.stream, takes_many=True, is_reported=False),
                **{method: MethodHandler(functools.partial(info.answer, method)) for method in INFO_REQUESTS},
                **dict.fromkeys(_CUDA_MEMORY, MethodHandler(_refuse_cuda_memory)),
            },
            health.SERVICE_NAME: {
                "Check": MethodHandler(self._health.check),
                "Watch": MethodHandler(self._health.watch),
            },
        }
        servicer = reflection.ReflectionServicer((*methods, *_REFLECTION), pool=POOL)
        reflect = MethodHandler(functools.partial(_reflect, servicer), takes_many=True)
        methods |= {service: {"ServerReflectionInfo": reflect} for service in _REFLECTION}
        self.services = {service: tuple(found) for service, found in methods.items()}
        self._connections: set[GrpcProtocol] = set()
        self._is_empty = asyncio.Event()
        self._service = Service(
            handler,
            settings,
            f"/{FULL_NAME}/ModelInfer".encode(),
            _by_path(methods),
            self._connections,
            self._is_empty.set,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen. Returns the port. Raises SettingsError if the port cannot be used."""
        settings = self._settings
        address = join_address(settings.host, self._port)
        try:
            place: dict[str, Any] = {"host": settings.host, "port": self._port}
            if self._listener is not None:
                place = {"sock": self._listener}
            elif settings.workers > 1:
                place["reuse_port"] = True
            self._server = await asyncio.get_running_loop().create_server(
                self._make_protocol, **place, ssl=self._context, backlog=_BACKLOG
            )
        except OSError as error:
            raise SettingsError(f"SLUICE_GRPC_PORT: expected to listen on {address}: {error}") from None
        logger.info("gRPC%s on %s", " over TLS" if self._context else "", address)
        return int(self._server.sockets[0].getsockname()[1])

    def _make_protocol(self) -> GrpcProtocol:
        """The protocol of a new connection. A changed certificate is used from its handshake on."""
        renewed = self._tls.renew(time.monotonic())
        if renewed is not None and self._context is not None:
            use_identity(self._context, renewed)
        return GrpcProtocol(self._service)

    def announce_stop(self) -> None:
        """Tell those who watch the health that the server stops. Calls are still answered."""
        self._health.drain()

    async def hand_over(self, drain_s: float) -> None:
        """Tell clients to connect again, to another worker. Open calls and streams have ``drain_s`` seconds."""
        self._close()
        self._health.leave()
        await self._end(drain_s)

    async def stop(self, drain_s: float) -> None:
        """Refuse new calls, finish open ones, and drop those that are left after ``drain_s`` seconds."""
        self._close()
        self._inference.drain()
        self._health.drain()
        await self._end(drain_s)

    def _close(self) -> None:
        """Accept no more. Connections that wait in a shared socket stay there for the other workers."""
        if self._server is not None:
            self._server.close()

    async def _end(self, drain_s: float) -> None:
        """Have each client take its calls elsewhere. Those that are on their way here are still answered."""
        self._service.is_leaving = True
        for connection in list(self._connections):
            connection.leave()
        if self._connections:
            self._is_empty.clear()
            try:
                await asyncio.wait_for(self._is_empty.wait(), drain_s)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()


def _by_path(methods: Mapping[str, Mapping[str, MethodHandler]]) -> dict[bytes, MethodHandler]:
    return {
        f"/{service}/{name}".encode(): method for service, found in methods.items() for name, method in found.items()
    }


def _make_context(identity: Identity, settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    use_identity(context, identity)
    if settings.tls_client_ca is not None:
        context.load_verify_locations(settings.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_caller(handler: Handler, context: CallContext) -> None:
    """Check the key of a call that needed none so far. Raises Unauthenticated, MissingScope, RateLimited."""
    if handler.guard is None:
        return
    try:
        handler.guard.admit(INFER, context.fields, context.client)
    except ServiceError as error:
        handler.count_rejected(type(error))
        raise


async def _refuse_cuda_memory(_: bytes, context: CallContext) -> bytes:
    text = "this server does not offer shared memory of CUDA: send raw contents, or use that of the system"
    context.refuse(error_reply(NotOffered(text), ""))


async def _reflect(servicer: reflection.ReflectionServicer, _: None, context: CallContext) -> None:
    async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        async for content in context.messages():
            yield reflection_pb2.ServerReflectionRequest.FromString(content)

    async for answer in servicer.ServerReflectionInfo(requests(), context):
        await context.write(answer.SerializeToString())
