"""What the server tells about itself: health, metadata of the protocol, model cards, metrics.

All of it is read from the registry and the metrics at the moment of the request. What can be changed while the server
runs is in `admin/admin.py`.
"""

import functools
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.admin.admin import Administration
from service.api.admin.control import Control
from service.api.info.configuration import configure
from service.api.info.kserve import KServeInfo
from service.api.info.metadata import describe_model, describe_server, describe_tensor, release
from service.api.info.statistics import tell_statistics
from service.api.openapi.document import make_document
from service.api.routes import Handler, Routes, make_routes
from service.errors import NotReady, ServiceError, UnknownRoute, WrongMethod
from service.metrics.exposition import expose
from service.metrics.meters import Metrics
from service.models.entry import Model, ModelEntry, State
from service.models.registry import Registry
from service.protocol.json import render_json
from service.transport.request import Reply
from service.transport.status import error_reply


class Information:
    """The routes that carry no tensors. ``lanes`` is how many batches run at once."""

    def __init__(self, registry: Registry, metrics: Metrics, control: Control, lanes: int) -> None:
        self._registry = registry
        self._metrics = metrics
        self._administration = Administration(registry, control)
        self._lanes = lanes
        self.base_path = registry.settings.base_path
        self.is_draining = False

    def application(self) -> Starlette:
        routes: Routes = {
            "/livez": {"GET": self.live},
            "/readyz": {"GET": self.ready},
            "/v2": {"GET": self.server},
            "/v2/health/live": {"GET": self.live},
            "/v2/health/ready": {"GET": self.ready},
            "/v2/models": {"GET": self.models},
            "/v2/models/stats": {"GET": self.all_statistics},
            **_of_model("", self.model),
            **_of_model("/ready", self.model_ready),
            **_of_model("/config", self.configuration),
            **_of_model("/stats", self.statistics),
            **self._administration.routes(),
            **KServeInfo(self._registry).routes(),
            "/models": {"GET": self.cards},
            "/metrics": {"GET": self.metrics},
            "/docs.json": {"GET": self.document},
        }
        application = Starlette(
            routes=make_routes(routes),
            exception_handlers={ServiceError: _refuse, HTTPException: _refuse_route},
        )
        application.router.redirect_slashes = False  # the ASGI path has taken those at the end away
        return application

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        if self.is_draining:
            raise NotReady("the server is stopping")
        if not self._registry.is_ready:
            raise NotReady("no model serves: /models tells why" if self._registry.loaded else "models are being loaded")
        return JSONResponse({"live": True, "ready": True})

    async def server(self, request: Request) -> Response:
        return JSONResponse(describe_server(self._registry.settings))

    async def models(self, request: Request) -> Response:
        return JSONResponse({"models": self._registry.names()})

    async def model(self, request: Request) -> Response:
        model = await self._find(request)
        model_entry = self._registry.model_entry(model.name)
        return JSONResponse(describe_model(model, model_entry, one="version" in request.path_params))

    async def model_ready(self, request: Request) -> Response:
        model = await self._find(request)
        return JSONResponse({"name": model.name, "ready": True})

    async def configuration(self, request: Request) -> Response:
        return JSONResponse(configure(await self._find(request), self._registry.settings, self._lanes))

    async def all_statistics(self, request: Request) -> Response:
        return JSONResponse(tell_statistics(self._metrics, self._registry.models()))

    async def statistics(self, request: Request) -> Response:
        """Of one version, or of all that serve of a model."""
        found = await self._find(request)
        one = "version" in request.path_params
        models = [found] if one else [m for m in self._registry.models() if m.name == found.name]
        return JSONResponse(tell_statistics(self._metrics, models))

    async def _find(self, request: Request) -> Model:
        """The version that the path names; it is loaded first where models are loaded when they are asked for."""
        return await self._registry.find_when_loaded(request.path_params["model"], request.path_params.get("version"))

    async def cards(self, request: Request) -> Response:
        return JSONResponse({"models": [_card(n, self._registry.model_entry(n)) for n in self._registry.names()]})

    async def metrics(self, request: Request) -> Response:
        body, content_type = expose(self._metrics, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def document(self, request: Request) -> Response:
        return Response(_document(), media_type="application/json")


def _of_model(what: str, answer: Handler) -> Routes:
    """The routes of something of a model, and of one of its versions."""
    paths = (f"/v2/models/{{model}}{what}", f"/v2/models/{{model}}/versions/{{version}}{what}")
    return {path: {"GET": answer} for path in paths}


@functools.cache
def _document() -> bytes:
    return render_json(make_document(release()))


def _respond(reply: Reply) -> Response:
    response = Response(b"".join(reply.chunks), reply.status)
    response.raw_headers.extend(reply.headers)
    return response


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101  # it is registered for these
    return _respond(error_reply(error, request.scope["sluice.request_id"]))


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for these
    path, method = request.scope.get("sluice.path", request.scope["path"]), request.method
    if error.status_code == 405:
        allowed = tuple((error.headers or {}).get("Allow", "GET").split(", "))
        return await _refuse(
            request, WrongMethod(f"{path:.120}: expected {' or '.join(allowed)}, got {method}", allowed)
        )
    return await _refuse(request, UnknownRoute(f"no route {path:.120}: /docs and the README list them"))


def _card(name: str, model_entry: ModelEntry) -> dict[str, Any]:
    serving = model_entry.serving
    card: dict[str, Any] = {
        "name": name,
        "ready": serving is not None,
        "serving": serving.version if serving else None,
        "aliases": model_entry.aliases,
        "versions": _versions(model_entry),
    }
    reason = model_entry.reason or "; ".join(each.reason for each in model_entry.unusable if not each.version)
    if reason:
        card["reason"] = reason
    if serving is not None:
        manifest, loaded = serving.manifest, serving.loaded
        card |= {
            "task": manifest.task,
            "description": manifest.description,
            "labels": manifest.labels,
            "inputs": [describe_tensor(t) for t in serving.signature.public_inputs.values()],
            "outputs": [describe_tensor(t) for t in serving.signature.public_outputs.values()],
            "quality": manifest.quality.model_dump() if manifest.quality else None,
            "parity": manifest.parity.model_dump() if manifest.parity else None,
            "licence": manifest.licence,
            "provider": loaded.session.provider,
            "golden_error": loaded.golden_error,
            "batching": {
                "batches": serving.signature.batches,
                "max_rows": loaded.max_rows,
                "max_wait_s": serving.dispatcher.queue.max_wait_s,
                "rows": loaded.rows.verdict,
                "reason": loaded.rows.reason,
                "bits": loaded.bits,
                "least_rows": loaded.least_rows,
                "threads_alone": loaded.all_cores.threads if loaded.all_cores else None,
            },
        }
    return card


def _versions(model_entry: ModelEntry) -> list[dict[str, Any]]:
    """Those that were asked to serve, and then those that cannot even be tried."""
    cards = []
    for number, entry in sorted(model_entry.entries.items()):
        cards.append({"version": str(number), "state": entry.state})
        if entry.reason:
            cards[-1]["reason"] = entry.reason
    for each in model_entry.unusable:
        if each.version and not any(card["version"] == each.version for card in cards):
            cards.append({"version": each.version, "state": State.UNAVAILABLE, "reason": each.reason})
    return cards
