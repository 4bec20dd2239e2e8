"""The health checks of gRPC: of the server, of its inference service, or of a model by its name.

They say what the readiness routes of HTTP say, and that a stopping server does not serve.
gRPC, `doc/health-checking.md`.
"""

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import quote

import grpc

from service.errors import CallerError, Draining
from service.metrics.meters import Metrics
from service.transport.asgi import ASGIApp
from service.transport.grpc.inference import Context, abort
from service.transport.grpc.info import InfoRequest, ask_route
from service.transport.grpc.messages import FULL_NAME, HEALTH_MESSAGES
from service.transport.grpc.translation import read_info
from service.transport.request import request_id_of
from service.transport.status import error_reply

FULL_HEALTH_NAME = "grpc.health.v1.Health"
LOOK_AGAIN_S = 1.0
"""How often who watches is looked for: nothing tells when a model comes or goes."""

_REQUEST, _RESPONSE = HEALTH_MESSAGES["HealthCheckRequest"], HEALTH_MESSAGES["HealthCheckResponse"]
_SERVER = ("", FULL_NAME)
"""The services that stand for the server as a whole."""
_STATUSES = {200: _RESPONSE.SERVING, 404: _RESPONSE.SERVICE_UNKNOWN}


class Health:
    """``information`` is the application with the information routes."""

    def __init__(self, information: ASGIApp, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._information = information
        self._metrics = metrics
        self._clock = clock
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """The server stops: tell those who watch."""
        self._draining.set()

    async def check(self, content: bytes, context: Context) -> bytes:
        """How the service is now. An unknown one is NOT_FOUND."""
        began = self._clock()
        service = await self._read_service(content, context)
        status = await self._find_status(service)
        is_known = status != _RESPONSE.SERVICE_UNKNOWN
        self._metrics.route("grpc Check", "").answered(200 if is_known else 404, self._clock() - began)
        if not is_known:
            text = f"service {service!r:.120}: expected nothing, {FULL_NAME} or the name of a model"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return bytes(_RESPONSE(status=status).SerializeToString())

    async def watch(self, content: bytes, context: Context) -> None:
        """How the service is now, and again whenever that changes; the last is NOT_SERVING when the server stops."""
        service = await self._read_service(content, context)
        told = None
        while True:
            is_last = self._draining.is_set()
            status = await self._find_status(service)
            if status != told:
                await context.write(_RESPONSE(status=status).SerializeToString())
                told = status
            if is_last:
                await abort(context, error_reply(Draining("the server is stopping"), ""))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), LOOK_AGAIN_S)

    async def _find_status(self, service: str) -> int:
        if self._draining.is_set():
            return int(_RESPONSE.NOT_SERVING)
        path = "/v2/health/ready" if service in _SERVER else f"/v2/models/{quote(service, safe='')}/ready"
        _, reply = await ask_route(self._information, InfoRequest(path), request_id_of({}))
        return int(_STATUSES.get(reply.status, _RESPONSE.NOT_SERVING))

    @staticmethod
    async def _read_service(content: bytes, context: Context) -> str:
        try:
            return str(read_info(_REQUEST, content).service)
        except CallerError as error:
            await abort(context, error_reply(error, request_id_of({})))
            raise
