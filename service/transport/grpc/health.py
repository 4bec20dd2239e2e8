"""The health service of gRPC: for the server, for its inference service, and for each model by its name.

The messages are those of `grpcio-health-checking`. Its servicer is not used: it has to be told of every change, but
models come and go without notice. So a check asks the readiness routes of HTTP, and a watch asks them every second.
All watches of one service share the result. Their number is limited, because a client may open very many.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from urllib.parse import quote

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from starlette.types import ASGIApp

from service.errors import Draining, QueueFull, ServiceError, UnknownModel
from service.metrics.meters import Metrics
from service.transport.grpc.contexts import CallContext
from service.transport.grpc.info import InfoRequest, ask_route
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.translation import read_info
from service.transport.request import request_id_of
from service.transport.status import error_reply

LOOK_AGAIN_S = 1.0
"""How often a watched service is checked."""

MAX_WATCHES = 1024
MAX_WATCHED = 128
"""The most watches of a worker at once, and the most services that they may watch."""

_SERVER = ("", FULL_NAME)
"""The names that mean the server as a whole."""
_STATUSES = {200: HealthCheckResponse.SERVING, 404: HealthCheckResponse.SERVICE_UNKNOWN}


class _Watched:
    """A watched service: the number of its watches, and its status at the last check."""

    def __init__(self) -> None:
        self.watches = 0
        self.status: int | None = None
        self.looked_at = 0.0


class Health:
    """``information`` is the application with the information routes. ``check_caller`` raises ServiceError if a caller
    must not know which models there are."""

    def __init__(
        self,
        information: ASGIApp,
        metrics: Metrics,
        clock: Callable[[], float],
        check_caller: Callable[[CallContext], None] = lambda context: None,
    ) -> None:
        self._information = information
        self._metrics = metrics
        self._clock = clock
        self._check_caller = check_caller
        self._draining = False
        self._leaving = asyncio.Event()
        self._watched: dict[str, _Watched] = {}
        self._watches = 0

    def leave(self) -> None:
        """Another worker takes over: end the watches, so that clients begin them there."""
        self._leaving.set()

    def drain(self) -> None:
        """The server stops: end all watches with NOT_SERVING."""
        self._draining = True
        self._leaving.set()

    async def check(self, content: bytes, context: CallContext) -> bytes:
        """Answer with the status of a service, or with NOT_FOUND."""
        began = self._clock()
        service = await self._read_service(content, context)
        status = await self._find_status(service)
        is_known = status != HealthCheckResponse.SERVICE_UNKNOWN
        self._metrics.route("grpc Check").answered(200 if is_known else 404, self._clock() - began)
        if not is_known:
            text = f"service {service!r:.120}: expected nothing, {FULL_NAME} or the name of a model"
            context.refuse(error_reply(UnknownModel(text), request_id_of({})))
        return bytes(HealthCheckResponse(status=status).SerializeToString())

    async def watch(self, content: bytes, context: CallContext) -> None:
        """Send the status of a service, and each change of it. When the server stops, the last is NOT_SERVING."""
        service = await self._read_service(content, context)
        told = None
        with self._admit(service, context) as watched:
            while True:
                is_last = self._leaving.is_set()
                status = await self._look_at(service, watched)
                if status != told:
                    await context.write(HealthCheckResponse(status=status).SerializeToString())
                    told = status
                if is_last:
                    context.refuse(error_reply(Draining("the server is stopping"), ""))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._leaving.wait(), LOOK_AGAIN_S)

    @contextlib.contextmanager
    def _admit(self, service: str, context: CallContext) -> Iterator[_Watched]:
        """Count a watch, or refuse it."""
        if self._watches >= MAX_WATCHES or (service not in self._watched and len(self._watched) >= MAX_WATCHED):
            text = f"expected at most {MAX_WATCHES} watches at once, of {MAX_WATCHED} services: use Check"
            context.refuse(error_reply(QueueFull(text), request_id_of({})))
        watched = self._watched.setdefault(service, _Watched())
        self._watches += 1
        watched.watches += 1
        try:
            yield watched
        finally:
            self._watches -= 1
            watched.watches -= 1
            if not watched.watches:
                del self._watched[service]

    async def _look_at(self, service: str, watched: _Watched) -> int:
        """The status of a watched service; the known one if another watch has just checked it."""
        now = self._clock()
        if watched.status is None or self._draining or now - watched.looked_at >= LOOK_AGAIN_S / 2:
            watched.looked_at = now
            watched.status = await self._find_status(service)
        return watched.status

    async def _find_status(self, service: str) -> int:
        if self._draining:
            return int(HealthCheckResponse.NOT_SERVING)
        path = "/v2/health/ready" if service in _SERVER else f"/v2/models/{quote(service, safe='')}/ready"
        _, reply = await ask_route(self._information, InfoRequest(path), request_id_of({}))
        return int(_STATUSES.get(reply.status, HealthCheckResponse.NOT_SERVING))

    async def _read_service(self, content: bytes, context: CallContext) -> str:
        """The name of the service. As over HTTP, anybody may ask for the server; for a model a key may be needed."""
        try:
            service = str(read_info(HealthCheckRequest, content).service)
            if service not in _SERVER:
                self._check_caller(context)
        except ServiceError as error:
            context.refuse(error_reply(error, request_id_of({})))
        return service
