"""The gRPC server of a worker. All workers of a server listen on the same port."""

import functools
import logging
import time
from typing import Any

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from starlette.types import ASGIApp

from model_store.triton.schema import POOL
from service.errors import NotOffered
from service.metrics.meters import Metrics
from service.settings import Settings, SettingsError
from service.transport.addresses import join_address
from service.transport.grpc.access import GuardInterceptor
from service.transport.grpc.health import Health
from service.transport.grpc.inference import Context, InferenceServicer, abort
from service.transport.grpc.info import INFO_REQUESTS, InfoServicer
from service.transport.grpc.messages import FULL_NAME
from service.transport.handler import Handler
from service.transport.status import error_reply
from service.transport.tls import Identity, RenewedIdentity

logger = logging.getLogger("sluice.grpc")

_SHARED_MEMORY = tuple(
    f"{kind}SharedMemory{what}" for kind in ("System", "Cuda") for what in ("Status", "Register", "Unregister")
)
_FRAMING_BYTES = 64 << 10
"""Room for the parts of a message besides its tensors."""


class GrpcServer:
    """``information`` is the application with the information routes. ``port`` 0: any free port.

    Methods get bytes and not messages, because a message is checked before it is parsed.
    """

    def __init__(
        self,
        handler: Handler,
        information: ASGIApp,
        metrics: Metrics,
        settings: Settings,
        port: int | None = None,
    ) -> None:
        self._tls = RenewedIdentity(settings)
        self._address = join_address(settings.host, settings.grpc_port if port is None else port)
        self._inference = InferenceServicer(handler)
        info = InfoServicer(information, metrics, handler.clock)
        unary = grpc.unary_unary_rpc_method_handler
        handlers: dict[str, Any] = {
            "ModelInfer": unary(self._inference.infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._inference.stream),
            **{method: unary(functools.partial(info.answer, method)) for method in INFO_REQUESTS},
            **dict.fromkeys(_SHARED_MEMORY, unary(_refuse_shared_memory)),
        }
        self._health = Health(information, metrics, handler)
        of_health = {
            "Check": unary(self._health.check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._health.watch),
        }
        interceptors = [] if handler.guard is None else [GuardInterceptor(handler)]
        self._server = grpc.aio.server(options=_options(settings), interceptors=interceptors)
        services = {FULL_NAME: handlers, health.SERVICE_NAME: of_health}
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(*each) for each in services.items()]
        )
        reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), self._server, POOL)

    async def start(self) -> int:
        """Listen. Returns the port. Raises SettingsError if the port cannot be used."""
        try:
            identity = self._tls.identity
            if identity is None:
                port = self._server.add_insecure_port(self._address)
            else:
                credentials = grpc.dynamic_ssl_server_credentials(
                    _configure(identity), self._renew_certificate, identity.client_ca is not None
                )
                port = self._server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise SettingsError(f"SLUICE_GRPC_PORT: expected to listen on {self._address}: {error}") from None
        await self._server.start()
        logger.info("gRPC%s on %s", " over TLS" if self._tls.identity else "", self._address)
        return int(port)

    def _renew_certificate(self) -> Any:
        """What the next handshake uses; None: as before. gRPC calls this in a thread, for one handshake at a time."""
        renewed = self._tls.renew(time.monotonic())
        return None if renewed is None else _configure(renewed)

    def announce_stop(self) -> None:
        """Tell watches of the health that the server stops. Calls are still answered."""
        self._health.drain()

    async def stop(self, drain_s: float) -> None:
        """Refuse new calls, finish the open ones, and drop those that are left after ``drain_s`` seconds."""
        self._inference.drain()
        self._health.drain()
        await self._server.stop(drain_s)


def _configure(identity: Identity) -> Any:
    certificate, key, client_ca = identity
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # A compressed message may inflate to this size.
        ("grpc.max_receive_message_length", min(settings.max_body_bytes + _FRAMING_BYTES, (1 << 31) - 1)),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(settings.workers > 1)),
        # Notice connections whose other end has vanished, and allow clients to ping every 10 s.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


async def _refuse_shared_memory(_: bytes, context: Context) -> bytes:
    await abort(context, error_reply(NotOffered("this server does not offer shared memory: send raw contents"), ""))
    return b""
