"""All methods but inference. Each asks a route of HTTP in process, and turns the route's JSON into a message."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from google.protobuf import json_format
from starlette.types import ASGIApp, Message

from service.access.local import OF_PROXIES
from service.errors import InvalidInput, ModelFailure, NotOffered, ServiceError
from service.metrics.meters import Metrics
from service.transport.grpc.codes import metadata_of
from service.transport.grpc.contexts import CallContext
from service.transport.grpc.messages import METHODS
from service.transport.grpc.translation import read_info, read_parameters
from service.transport.request import Reply
from service.transport.status import error_reply

logger = logging.getLogger("sluice.grpc")


class InfoRequest(NamedTuple):
    """The path of a route and the JSON to send to it; None: a GET without a body."""

    path: str
    body: Any = None


def _quote_name(name: str) -> str:
    """A model's name as a segment of a path. Raises InvalidInput if it is empty."""
    if not name:
        raise InvalidInput("name: expected the name of a model, got none")
    return quote(name, safe="")


def _model_path(request: Any, what: str = "") -> str:
    version = f"/versions/{quote(request.version, safe='')}" if request.version else ""
    return f"/v2/models/{_quote_name(request.name)}{version}{what}"


def _ask_repository(request: Any, what: str) -> InfoRequest:
    if request.repository_name:
        raise InvalidInput(f"repository_name: expected none, got {request.repository_name!r:.60}")
    if what == "index":
        return InfoRequest("/v2/repository/index", {"ready": request.ready})
    parameters = read_parameters(request.parameters, "parameters")
    for name, value in parameters.items():
        if isinstance(value, bytes):
            raise InvalidInput(f"parameters.{name:.60}: files are not taken over the network: publish a version")
    return InfoRequest(f"/v2/repository/models/{_quote_name(request.model_name)}/{what}", {"parameters": parameters})


def _ask_trace(request: Any) -> InfoRequest:
    of_model = f"/models/{_quote_name(request.model_name)}" if request.model_name else ""
    settings: dict[str, Any] = {}
    for name, setting in request.settings.items():
        values = list(setting.value)
        settings[name] = None if not values else values if name == "trace_level" else values[0]
    return InfoRequest(f"/v2{of_model}/trace/setting", settings or None)


_REGIONS = "/v2/systemsharedmemory"


def _region_path(name: str, what: str) -> str:
    """The path of a region, or of all regions if ``name`` is empty. Raises InvalidInput."""
    if "/" in name:
        raise InvalidInput(f"name: expected one without /, got {name!r:.60}")
    return f"{_REGIONS}/region/{name}/{what}" if name else f"{_REGIONS}/{what}"


def _register_region(request: Any) -> InfoRequest:
    if not request.name:
        raise InvalidInput("name: expected the name of a region, got none")
    about = {"key": request.key, "offset": request.offset, "byte_size": request.byte_size}
    return InfoRequest(_region_path(request.name, "register"), about)


INFO_REQUESTS: Mapping[str, Callable[[Any], InfoRequest]] = {
    "ServerLive": lambda request: InfoRequest("/v2/health/live"),
    "ServerReady": lambda request: InfoRequest("/v2/health/ready"),
    "ModelReady": lambda request: InfoRequest(_model_path(request, "/ready")),
    "ServerMetadata": lambda request: InfoRequest("/v2"),
    "ModelMetadata": lambda request: InfoRequest(_model_path(request)),
    "ModelConfig": lambda request: InfoRequest(_model_path(request, "/config")),
    "ModelStatistics": lambda request: InfoRequest(
        _model_path(request, "/stats") if request.name else "/v2/models/stats"
    ),
    "RepositoryIndex": lambda request: _ask_repository(request, "index"),
    "RepositoryModelLoad": lambda request: _ask_repository(request, "load"),
    "RepositoryModelUnload": lambda request: _ask_repository(request, "unload"),
    "SystemSharedMemoryStatus": lambda request: InfoRequest(_region_path(request.name, "status")),
    "SystemSharedMemoryRegister": _register_region,
    "SystemSharedMemoryUnregister": lambda request: InfoRequest(_region_path(request.name, "unregister"), {}),
    "TraceSetting": _ask_trace,
    "LogSettings": lambda request: InfoRequest("/v2/logging", read_parameters(request.settings, "settings") or None),
}
"""Method -> a function that makes the HTTP request of a message. It raises InvalidInput."""


def _describe_traces(settings: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: value if isinstance(value, list) else [value] for name, value in settings.items()}
    return {"settings": {name: {"value": [str(each) for each in value]} for name, value in values.items()}}


def _describe_logs(settings: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    return {"settings": {name: {kinds[type(value)]: value} for name, value in settings.items()}}


ANSWERS: Mapping[str, Callable[[Any], Any]] = {
    "ModelConfig": lambda content: {"config": content},
    "RepositoryIndex": lambda content: {"models": content},
    "RepositoryModelLoad": lambda content: {},
    "RepositoryModelUnload": lambda content: {},
    "SystemSharedMemoryStatus": lambda content: {"regions": {each["name"]: each for each in content}},
    "TraceSetting": _describe_traces,
    "LogSettings": _describe_logs,
}
"""Method -> a function that turns the route's JSON into that of the message, where they differ."""

_NOT_READY = {"ServerReady": (503,), "ModelReady": (404, 503)}
"""Statuses that mean "not ready" and are not errors."""


class InfoServicer:
    """``information`` is the application with the information routes."""

    def __init__(self, information: ASGIApp, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._information = information
        self._metrics = metrics
        self._clock = clock

    async def answer(self, method: str, content: bytes, context: CallContext) -> bytes:
        """Answer a method of ``INFO_REQUESTS``."""
        began = self._clock()
        request_id = context.request_id
        reply = await self._ask(method, content, request_id, _scope_of(context))
        self._metrics.route(f"grpc {method}").answered(reply.status, self._clock() - began)
        if reply.status in _NOT_READY.get(method, ()):
            reply = Reply(200, [b'{"ready":false}'], reply.headers)
        if reply.status != 200:
            context.refuse(reply)
        context.set_trailing_metadata(metadata_of(reply))
        shape = ANSWERS.get(method, lambda content: content)
        answer = shape(orjson.loads(b"".join(reply.chunks) or b"{}"))
        message = json_format.ParseDict(answer, METHODS[method].response(), ignore_unknown_fields=True)
        return bytes(message.SerializeToString())

    async def _ask(self, method: str, content: bytes, request_id: str, caller: Mapping[str, Any]) -> Reply:
        """Ask the route of a method. If there is none, the method is not offered. ``caller`` goes into the scope."""
        try:
            info_request = INFO_REQUESTS[method](read_info(METHODS[method].request, content))
            scope, reply = await ask_route(self._information, info_request, request_id, caller)
            if "sluice.route" not in scope:
                raise NotOffered(f"this server does not offer {method}")
        except ServiceError as error:
            if not isinstance(error, NotOffered):  # the application has counted the missing route
                self._metrics.rejected("", error.reason)
            reply = error_reply(error, request_id)
        except Exception:  # Starlette answers 500 and raises it again
            logger.exception("request %s: a fault of the server", request_id)
            reply = error_reply(ModelFailure("a fault of the server"), request_id)
        reply.headers = (*reply.headers, (b"x-request-id", request_id.encode()))
        return reply


def _scope_of(context: CallContext) -> dict[str, Any]:
    """What the routes need to know about a caller. Browsers cannot call gRPC, so the host need not be compared."""
    return {
        "client": (context.client, 0),
        "headers": [(b"host", b"localhost"), *(field for field in context.fields if field[0] in OF_PROXIES)],
        "sluice.grant": context.grant,
    }


async def ask_route(
    application: ASGIApp, info_request: InfoRequest, request_id: str, caller: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], Reply]:
    """Ask an ASGI application in process. Returns also the scope, in which the application leaves values.

    httpx could do this, but only the tests depend on it.
    """
    path, body = info_request
    caller = caller or {}
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "query_string": b"",
        **caller,
        "headers": [*caller.get("headers", ()), *([] if body is None else [(b"content-type", b"application/json")])],
        "sluice.request_id": request_id,
    }
    reply = Reply(500, [], [])
    chunks: list[bytes | memoryview] = []
    messages: list[Message] = [{"type": "http.request", "body": b"" if body is None else orjson.dumps(body)}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # the caller never disconnects
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status, reply.headers = message["status"], list(message["headers"])
        else:
            chunks.append(message.get("body", b""))

    await application(scope, receive, send)
    reply.chunks = chunks
    return scope, reply
