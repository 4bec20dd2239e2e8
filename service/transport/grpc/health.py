"""The health service of gRPC: of the server, of its inference service, or of a model by its name.

The messages are those of `grpcio-health-checking`. Its servicer is not used: it must be told of every change, but
models come and go without notice. So a check asks the readiness routes of HTTP, and a watch asks them every second.
"""

import asyncio
import contextlib
from urllib.parse import quote

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from starlette.types import ASGIApp

from service.access.grants import INFER
from service.errors import Draining, ServiceError
from service.metrics.meters import Metrics
from service.transport.grpc.access import address_of, fields_of
from service.transport.grpc.inference import Context, abort
from service.transport.grpc.info import InfoRequest, ask_route
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.translation import read_info
from service.transport.handler import Handler
from service.transport.request import request_id_of
from service.transport.status import error_reply

LOOK_AGAIN_S = 1.0
"""How often a watched service is looked at."""

_SERVER = ("", FULL_NAME)
"""Names of the server as a whole."""
_STATUSES = {200: HealthCheckResponse.SERVING, 404: HealthCheckResponse.SERVICE_UNKNOWN}


class Health:
    """``information`` is the application with the information routes."""

    def __init__(self, information: ASGIApp, metrics: Metrics, handler: Handler) -> None:
        self._information = information
        self._metrics = metrics
        self._handler = handler
        self._clock = handler.clock
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """The server stops: end all watches with NOT_SERVING."""
        self._draining.set()

    async def check(self, content: bytes, context: Context) -> bytes:
        """Answer with the status of a service; NOT_FOUND for an unknown one."""
        began = self._clock()
        service = await self._read_service(content, context)
        status = await self._find_status(service)
        is_known = status != HealthCheckResponse.SERVICE_UNKNOWN
        self._metrics.route("grpc Check", "").answered(200 if is_known else 404, self._clock() - began)
        if not is_known:
            text = f"service {service!r:.120}: expected nothing, {FULL_NAME} or the name of a model"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return bytes(HealthCheckResponse(status=status).SerializeToString())

    async def watch(self, content: bytes, context: Context) -> None:
        """Send the status of a service, and again when it changes. The last is NOT_SERVING, when the server stops."""
        service = await self._read_service(content, context)
        told = None
        while True:
            is_last = self._draining.is_set()
            status = await self._find_status(service)
            if status != told:
                await context.write(HealthCheckResponse(status=status).SerializeToString())
                told = status
            if is_last:
                await abort(context, error_reply(Draining("the server is stopping"), ""))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), LOOK_AGAIN_S)

    async def _find_status(self, service: str) -> int:
        if self._draining.is_set():
            return int(HealthCheckResponse.NOT_SERVING)
        path = "/v2/health/ready" if service in _SERVER else f"/v2/models/{quote(service, safe='')}/ready"
        _, reply = await ask_route(self._information, InfoRequest(path), request_id_of({}))
        return int(_STATUSES.get(reply.status, HealthCheckResponse.NOT_SERVING))

    async def _read_service(self, content: bytes, context: Context) -> str:
        """The name of the service. All may ask for the server, as over HTTP; for a model a key may be needed."""
        guard = self._handler.guard
        try:
            service = str(read_info(HealthCheckRequest, content).service)
            if guard is not None and service not in _SERVER:
                guard.admit(INFER, fields_of(context.invocation_metadata()), address_of(context.peer()))
        except ServiceError as error:
            self._handler.count_rejected(type(error))
            await abort(context, error_reply(error, request_id_of({})))
            raise
        return service
