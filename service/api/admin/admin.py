"""What callers may look at and change while the server runs: the model repository, traces, logs."""

from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.api.admin.control import Control
from service.api.admin.diagnostics import read_trace, render_trace
from service.api.admin.repository import read_index, read_version, render_index
from service.api.routes import Routes
from service.errors import BodyTooLarge, Cancelled, Forbidden, UnsupportedMedia
from service.models.registry import Registry
from service.protocol.large_json import parse_object

MAX_BODY_BYTES = 64 << 10
"""These requests are small."""
_JSON, _BYTES, _FORM = "application/json", "application/octet-stream", "application/x-www-form-urlencoded"
_USUAL_PORTS = {"http": ":80", "https": ":443"}


class Administration:
    """Reading is for everybody; changing is where the settings allow it, and reaches every worker of the server."""

    def __init__(self, registry: Registry, control: Control) -> None:
        self._registry = registry
        self._control = control

    def routes(self) -> Routes:
        trace = {"GET": self.trace, "POST": self.change_trace}
        return {
            "/v2/repository/index": {"POST": self.index},
            "/v2/repository/models/{model}/load": {"POST": self.load},
            "/v2/repository/models/{model}/unload": {"POST": self.unload},
            "/v2/trace/setting": trace,
            "/v2/models/{model}/trace/setting": trace,
            "/v2/logging": {"GET": self.logging, "POST": self.change_logging},
        }

    async def index(self, request: Request) -> Response:
        only_ready = read_index(await _read_object(request))
        return JSONResponse(render_index(await self._registry.index(), only_ready))

    async def load(self, request: Request) -> Response:
        """Answered when the version serves, in all workers."""
        self._check(request)
        model = request.path_params["model"]
        await self._control.load(model, read_version(await _read_object(request)))
        return JSONResponse({"name": model, "load": True})

    async def unload(self, request: Request) -> Response:
        """Answered when nobody new can reach it; what it has accepted is finished afterwards."""
        self._check(request)
        model = request.path_params["model"]
        await self._control.unload(model, read_version(await _read_object(request)))
        return JSONResponse({"name": model, "unload": True})

    def _check(self, request: Request) -> None:
        """Raises Forbidden, NotOffered, UnsupportedMedia for a change that is not to be made."""
        check_sender(request)
        self._control.check()

    async def trace(self, request: Request) -> Response:
        model = request.path_params.get("model")
        if model is not None:
            self._registry.model_entry(model)  # raises UnknownModel
        return JSONResponse(render_trace(self._registry.tracer.settings(model)))

    async def change_trace(self, request: Request) -> Response:
        self._check(request)
        changes = read_trace(await _read_object(request))
        await self._control.trace(request.path_params.get("model"), changes)
        return await self.trace(request)

    async def logging(self, request: Request) -> Response:
        return JSONResponse(self._control.logs.render())

    async def change_logging(self, request: Request) -> Response:
        self._check(request)
        settings = await _read_object(request)
        self._control.logs.check(settings)
        await self._control.log(settings)
        return await self.logging(request)


def check_sender(request: Request) -> None:
    """Refuse what a page of another site makes a browser send: that needs no key, only a browser inside the network.

    A page can send forms and plain text anywhere without being asked; other types only where its origin is let in. And
    it cannot leave out ``Origin`` and ``Sec-Fetch-Site``. Programs do: Triton's clients name no type, or that of bytes,
    and ``curl -d`` and Python's urllib call whatever they send a form. Raises UnsupportedMedia, Forbidden.
    """
    media_type = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    is_program = "origin" not in request.headers and "sec-fetch-site" not in request.headers
    if media_type not in (_JSON, _BYTES) and not (media_type == _FORM and is_program):
        raise UnsupportedMedia(f"content-type: expected {_JSON}, got {media_type!r:.60}")
    host = request.headers.get("host", "").lower()
    for origin in request.headers.getlist("origin"):
        scheme, _, authority = origin.lower().partition("://")
        port = _USUAL_PORTS.get(scheme, "")
        if not authority or authority.removesuffix(port) != host.removesuffix(port):
            raise Forbidden(f"origin: expected that of this server, {host:.120}, got {origin!r:.120}")


async def _read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a request; an empty body is an empty one. Raises InvalidInput, BodyTooLarge."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge(f"body: expected at most {MAX_BODY_BYTES} bytes, got more")
    except ClientDisconnect:
        raise Cancelled("the caller has gone") from None
    return parse_object(body) if body else {}
