"""The routes that show and change a running server: the model repository, traces, logs, shared memory."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.access.audit import write
from service.access.grants import ADMIN, Grant
from service.access.local import is_local
from service.api.admin.changes import IndexRequest, LoadRequest, LogChanges, RegisterRequest, TraceChanges
from service.api.admin.diagnostics import Logs, render_trace
from service.api.routes import Routes
from service.errors import (
    BodyTooLarge,
    Cancelled,
    Forbidden,
    MissingScope,
    NotOffered,
    NotReady,
    ServiceError,
    UnknownRegion,
    UnsupportedMedia,
)
from service.models.entry import State
from service.models.registry import Registry
from service.protocol.large_json import parse_object
from service.settings import Settings
from service.shared_memory.regions import Regions
from service.workers import Command, Workers

MAX_BODY_BYTES = 64 << 10
REGIONS = "/v2/systemsharedmemory"
_JSON, _BYTES, _FORM = "application/json", "application/octet-stream", "application/x-www-form-urlencoded"
_USUAL_PORTS = {"http": ":80", "https": ":443"}


class Administration:
    """Anybody may read. A change needs a setting that allows it, and a key with the scope ``admin``.

    If the server has no keys, only callers on this machine may make changes.

    A request reaches one worker. It makes the change itself, which shows whether the change is possible, and then tells
    the other workers (`workers.py`). A worker that starts later does not know of the change: it follows the store and
    the settings.

    ``regions`` is None if shared memory is off. Changes of regions need only the setting ``shared_memory``.
    """

    def __init__(self, registry: Registry, settings: Settings, regions: Regions | None = None) -> None:
        self._registry = registry
        self._regions = regions
        self._logs = Logs()
        self._is_allowed = settings.control
        self._asks_for_keys = settings.asks_for_keys
        self._host = settings.host
        self._cannot_tell_others = settings.metrics_dir is None and settings.workers > 1
        self.workers = Workers(settings.metrics_dir, self._apply)
        self.commands: dict[str, Callable[[Command], Awaitable[None]]] = {}
        """More commands from other workers, by name."""

    def routes(self) -> Routes:
        trace = {"GET": self.trace, "POST": self.change_trace}
        return {
            "/v2/repository/index": {"POST": self.index},
            "/v2/repository/models/{model}/load": {"POST": functools.partial(self._change_model, "load")},
            "/v2/repository/models/{model}/unload": {"POST": functools.partial(self._change_model, "unload")},
            "/v2/trace/setting": trace,
            "/v2/models/{model}/trace/setting": trace,
            "/v2/logging": {"GET": self.logging, "POST": self.change_logging},
            f"{REGIONS}/status": {"GET": self.list_regions},
            f"{REGIONS}/unregister": {"POST": self.unregister},
            f"{REGIONS}/region/{{region}}/status": {"GET": self.list_regions},
            f"{REGIONS}/region/{{region}}/register": {"POST": self.register},
            f"{REGIONS}/region/{{region}}/unregister": {"POST": self.unregister},
        }

    async def index(self, request: Request) -> Response:
        only_ready = IndexRequest.read(await _read_object(request)).ready
        entries = [each for each in await self._registry.index() if each.state is State.READY or not only_ready]
        return JSONResponse([{name: text for name, text in each._asdict().items() if text} for each in entries])

    async def _change_model(self, do: str, request: Request) -> Response:
        """Load or unload. The answer comes when all workers have done it."""
        self._check(request)
        model = request.path_params["model"]
        version = LoadRequest.read(await _read_object(request)).version
        await self._change({"do": do, "model": model, "version": version}, request)
        return JSONResponse({"name": model, do: True})

    def _check(self, request: Request) -> None:
        """Raises Forbidden, MissingScope, NotOffered or UnsupportedMedia for a change that must not be made."""
        check_sender(request)
        if not self._is_allowed:
            raise Forbidden("this server cannot be changed while it runs: start it with SLUICE_CONTROL=true")
        self._check_change(request)

    def _check_change(self, request: Request) -> None:
        """Raises Forbidden, MissingScope or NotOffered."""
        self._check_caller(request)
        if self._cannot_tell_others:
            raise NotOffered("the workers of this server share no folder: set SLUICE_METRICS_DIR")

    def _check_caller(self, request: Request) -> None:
        """Raises MissingScope or Forbidden.

        The guard has checked the scope by the path. This check does not depend on how the path was written.
        """
        grant: Grant | None = request.scope.get("sluice.grant")
        if self._asks_for_keys:
            if grant is None or ADMIN not in grant.scopes:
                raise MissingScope("expected a key with the scope admin", ADMIN)
        elif not is_local(_peer_of(request), request.headers.raw, self._host):
            raise Forbidden(
                "expected a caller on this machine, at localhost and without a proxy: for others, set "
                "SLUICE_API_KEYS_FILE, and give them a key with the scope admin"
            )

    async def trace(self, request: Request) -> Response:
        model = request.path_params.get("model")
        if model is not None:
            self._registry.model_entry(model)  # raises UnknownModel
        return JSONResponse(render_trace(self._registry.tracer.settings(model)))

    async def change_trace(self, request: Request) -> Response:
        self._check(request)
        changes = TraceChanges.read(await _read_object(request)).changes()
        await self._change({"do": "trace", "model": request.path_params.get("model"), "changes": changes}, request)
        return await self.trace(request)

    async def logging(self, request: Request) -> Response:
        return JSONResponse(self._logs.render())

    async def change_logging(self, request: Request) -> Response:
        self._check(request)
        settings = LogChanges.read(await _read_object(request)).model_dump(exclude_none=True)
        await self._change({"do": "log", "settings": settings}, request)
        return await self.logging(request)

    def _offered_regions(self) -> Regions:
        if self._regions is None:
            raise NotOffered("this server does not offer shared memory: send the tensors, or set SLUICE_SHARED_MEMORY")
        return self._regions

    def _regions_to_change(self, request: Request) -> Regions:
        """Raises NotOffered, UnsupportedMedia, Forbidden or MissingScope."""
        regions = self._offered_regions()
        check_sender(request)
        self._check_change(request)
        return regions

    async def list_regions(self, request: Request) -> Response:
        """The caller's regions, or the one in the path. Raises UnknownRegion."""
        regions = self._offered_regions()
        if not self._asks_for_keys:
            self._check_caller(request)
        name = request.path_params.get("region")
        found = [each for each in regions.list_of(_caller_of(request)) if name in (None, each.name)]
        if name is not None and not found:
            raise UnknownRegion(f"no region {name!r:.60} that you have registered")
        shown = [(each.name, each.key, each.offset, each.size_bytes) for each in found]
        return JSONResponse([dict(zip(("name", "key", "offset", "byte_size"), each, strict=True)) for each in shown])

    async def register(self, request: Request) -> Response:
        """The answer comes when all workers know the region."""
        regions = self._regions_to_change(request)
        name, caller = request.path_params["region"], _caller_of(request)
        asked = RegisterRequest.read(await _read_object(request))
        await asyncio.to_thread(regions.register, name, asked.key, asked.offset, asked.byte_size, caller)
        await self._change({"do": "regions", "region": name, "key": asked.key}, request)
        return JSONResponse({})

    async def unregister(self, request: Request) -> Response:
        """The answer comes when no worker uses the region any more. An unknown region counts as removed."""
        regions = self._regions_to_change(request)
        name = request.path_params.get("region")
        await _read_object(request)
        await asyncio.to_thread(regions.unregister, name, _caller_of(request))
        await self._change({"do": "regions", "region": name, "key": None}, request)
        return JSONResponse({})

    async def _change(self, command: Command, request: Request) -> None:
        """Make a change in every worker, and write it to the audit log.

        ``command["do"]`` is load, unload, trace, log or regions. Raises the errors of ``Registry.load`` and ``unload``,
        and NotReady if another worker could not make the change.
        """
        write("admin", caller=_caller_of(request), peer=_peer_of(request), request_id=_id_of(request), **command)
        await self._make(command)
        complaints = await self.workers.tell(command)
        if complaints:
            raise NotReady(f"some workers could not make the change: {'; '.join(complaints)}")

    async def _apply(self, command: Command) -> str:
        """Make a change that another worker asks for. Returns why it failed, or ""."""
        try:
            await self._make(command)
        except ServiceError as error:
            return str(error)
        return ""

    async def _make(self, command: Command) -> None:
        match command["do"]:
            case "load":
                await self._registry.load(command["model"], command["version"])
            case "unload":
                await self._registry.unload(command["model"], command["version"])
            case "trace":
                if command["model"] is not None:
                    self._registry.model_entry(command["model"])  # raises UnknownModel
                self._registry.tracer.change(command["model"], command["changes"])
            case "log":
                self._logs.change(command["settings"])
            case "regions" if self._regions is not None:
                for region in self._regions.take_unregistered():
                    await asyncio.to_thread(region.close)
            case other:
                await self.commands[other](command)


def check_sender(request: Request) -> None:
    """Refuse requests that a page of another site may have made a browser send. Raises UnsupportedMedia, Forbidden.

    Such a page can send forms and plain text to any server; other types need the permission of CORS. It cannot leave
    out ``Origin`` and ``Sec-Fetch-Site``, but programs do. Triton's clients send no content type, or that of bytes.
    ``curl -d`` and Python's urllib always send that of a form.
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


def _peer_of(request: Request) -> str:
    """The address of the other end, "" if unknown."""
    return "" if request.client is None else request.client.host


def _caller_of(request: Request) -> str:
    """The name of the caller's key, "" without keys."""
    grant: Grant | None = request.scope.get("sluice.grant")
    return "" if grant is None else grant.name


def _id_of(request: Request) -> str:
    return str(request.scope.get("sluice.request_id", ""))


async def _read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a request; an empty body counts as an empty object. Raises InvalidInput, BodyTooLarge."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge(f"body: expected at most {MAX_BODY_BYTES} bytes, got more")
    except ClientDisconnect:
        raise Cancelled("the caller has gone") from None
    return parse_object(body) if body else {}
