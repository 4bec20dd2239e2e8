"""What the server says about itself: health, metadata of the protocol, model cards, metrics.

Everything is read from the registry and the metrics at the time of the request. Routes that change something are in
`admin/admin.py`.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from model_store import Store, StoreError
from service.api.admin.admin import Administration
from service.api.info.cards import describe_card
from service.api.info.configuration import configure
from service.api.info.examples import make_examples
from service.api.info.metadata import describe_model, describe_server, release
from service.api.info.rollout import describe_rollout
from service.api.info.statistics import describe_statistics
from service.api.live.messages import describe_stream
from service.api.openapi.document import make_document
from service.api.routes import Methods, Routes, make_routes
from service.api.steps import check_ready, find_steps
from service.errors import NotReady, ServiceError, StillLoading, UnknownModel, UnknownRoute, WrongMethod
from service.metrics.exposition import expose
from service.metrics.meters import Metrics
from service.models.entry import Served
from service.models.pipeline import Pipeline
from service.models.registry import Registry
from service.protocol.compression import (
    COMPRESS_FROM_BYTES,
    DEFLATE_IN_THREAD_FROM_BYTES,
    choose_coding,
    deflate,
)
from service.protocol.json import render_json
from service.transport.status import error_reply
from service.web.pages import PAGES, answer_file, answer_page, wants_page

_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"


class Information:
    """The routes that carry no tensors. ``lanes`` is the number of batches that run at once."""

    def __init__(
        self, registry: Registry, store: Store, metrics: Metrics, administration: Administration, lanes: int
    ) -> None:
        self._registry = registry
        self._store = store
        self._metrics = metrics
        self._administration = administration
        self._lanes = lanes
        self.is_draining = False

    def application(self) -> Starlette:
        registry = self._registry
        live = _answer(lambda: {"live": True})
        ready = _answer(self._ready)
        routes: Routes = {
            "/livez": live,
            "/readyz": ready,
            "/v2": _answer(lambda: describe_server(registry.settings)),
            "/v2/health/live": live,
            "/v2/health/ready": ready,
            "/v2/models": _answer(lambda: {"models": list(registry.entries)}),
            "/v2/models/stats": _answer(lambda: describe_statistics(self._metrics, registry.models())),
            **self._of_model("", self._describe),
            **{f"{path}/ready": {"GET": self._tell_ready} for path in (_MODEL, _VERSION)},
            **self._of_model("/config", self._configure),
            **self._of_model("/stats", self._count),
            **self._of_model("/stream", self._describe_stream),
            f"{_MODEL}/rollout": {"GET": self._show_rollout},
            **{f"{path}/example": {"GET": self._show_examples} for path in (_MODEL, _VERSION)},
            **self._administration.routes(),
            "/": {"GET": _answer_root},
            **{path: {"GET": answer_page} for path in PAGES if path != "/"},
            "/web/{file:path}": {"GET": answer_file},
            "/v1/models": _answer(lambda: {"models": list(registry.entries)}),
            "/v1/models/{model}": {"GET": self._tell_ready},
            "/v1/timeseries/models": _answer(
                lambda: sorted({model.name for model in registry.models() if model.manifest.forecast})
            ),
            "/models": {"GET": self._list_cards},
            "/metrics": {"GET": self._expose},
            "/docs.json": {"GET": _show_document},
        }
        application = Starlette(
            routes=make_routes(routes),
            exception_handlers={ServiceError: self._refuse, HTTPException: self._refuse_route},
        )
        application.router.redirect_slashes = False  # the ASGI path has already removed trailing slashes
        return application

    def _of_model(self, what: str, describe: Callable[[Served, bool], Any]) -> Routes:
        """The same route for a model and for a version of it.

        ``describe`` gets the model, which is loaded if necessary, and whether the path names a version.
        """

        async def answer(request: Request) -> Response:
            return JSONResponse(describe(await self._find(request), "version" in request.path_params))

        return {path + what: {"GET": answer} for path in (_MODEL, _VERSION)}

    async def _find(self, request: Request) -> Served:
        """The model of a path, which is loaded if necessary. Raises UnknownModel, NotReady."""
        return await self._registry.find_when_loaded(request.path_params["model"], request.path_params.get("version"))

    def _ready(self) -> dict[str, Any]:
        """Models that load slowly do not hold up readiness; they are named. Raises NotReady."""
        if self.is_draining:
            raise NotReady("the server is stopping")
        if not self._registry.is_ready:
            raise NotReady("no model serves: /models tells why" if self._registry.loaded else "models are being loaded")
        if self._registry.settings.asks_for_keys:  # this route is open to all, so it names no models
            return {"live": True, "ready": True}
        loading = [name for name, model_entry in self._registry.entries.items() if model_entry.is_loading]
        return {"live": True, "ready": True, "loading": loading}

    async def _tell_ready(self, request: Request) -> Response:
        """A pipeline is ready if the models of its steps are. Raises UnknownModel, NotReady.

        A model that was unloaded to make room is ready, and this does not load it. Otherwise a client that asks about
        all models would make them evict one another.
        """
        name = request.path_params["model"]
        try:
            model = self._registry.look_up(name, request.path_params.get("version"))
        except StillLoading:
            model = await self._find(request)
        if isinstance(model, Pipeline):
            check_ready(self._registry, model)
        return JSONResponse({"name": name, "ready": True})

    def _configure(self, model: Served, one: bool) -> dict[str, Any]:
        if isinstance(model, Pipeline):
            raise UnknownModel(f"model {model.name!r} is a pipeline, which has no configuration: /models has its card")
        return configure(model, self._registry.settings, self._lanes)

    def _describe_stream(self, model: Served, one: bool) -> dict[str, Any]:
        if isinstance(model, Pipeline):
            raise UnknownModel(f"model {model.name!r} is a pipeline, which has no streams: use /pipeline")
        return describe_stream(model)

    def _describe(self, model: Served, one: bool) -> dict[str, Any]:
        return describe_model(model, self._registry.model_entry(model.name), one)

    def _count(self, found: Served, one: bool) -> dict[str, Any]:
        """Statistics of one version, of all versions of a model in service, or of the models of a pipeline's steps."""
        if isinstance(found, Pipeline):
            models = [*find_steps(self._registry, found).values()]
        else:
            models = [found] if one else [m for m in self._registry.models() if m.name == found.name]
        return describe_statistics(self._metrics, models)

    async def _show_examples(self, request: Request) -> Response:
        model = await self._find(request)
        stored = self._store.find(model.name, int(model.version))

        def make() -> dict[str, Any]:
            try:
                return {"examples": make_examples(model, None if stored.is_plain else stored)}
            except StoreError as error:
                raise NotReady(f"the golden samples cannot be read: {error}") from None

        return JSONResponse(await asyncio.to_thread(make))

    async def _show_rollout(self, request: Request) -> Response:
        name = request.path_params["model"]
        model_entry = self._registry.model_entry(name)  # raises UnknownModel, NotReady
        return JSONResponse(await asyncio.to_thread(describe_rollout, self._metrics, name, model_entry))

    async def _list_cards(self, request: Request) -> Response:
        entries = self._registry.entries
        cards = [describe_card(self._registry, name, entry) for name, entry in entries.items()]
        return await _encode(request, render_json({"models": cards}), "application/json")

    async def _expose(self, request: Request) -> Response:
        self._metrics.write_levels()
        accept = request.headers.get("accept", "")
        return await _encode(request, *await asyncio.to_thread(expose, self._metrics, accept))

    async def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)  # noqa: S101  # it is registered for these
        self._metrics.rejected("", error.reason)
        request.scope["sluice.reason"] = error.reason
        reply = error_reply(error, request.scope["sluice.request_id"])
        response = Response(b"".join(reply.chunks), reply.status)
        response.raw_headers.extend(reply.headers)
        return response

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for these
        path = f"{request.scope.get('sluice.path', request.scope['path']):.120}"
        if error.status_code != 405:
            return await self._refuse(request, UnknownRoute(f"no route {path}: /docs lists them"))
        allowed = tuple((error.headers or {}).get("Allow", "GET").split(", "))
        expected = " or ".join(allowed)
        return await self._refuse(request, WrongMethod(f"{path}: expected {expected}, got {request.method}", allowed))


def _answer(describe: Callable[[], Any]) -> Methods:
    async def answer(request: Request) -> Response:
        return JSONResponse(describe())

    return {"GET": answer}


async def _answer_root(request: Request) -> Response:
    """The playground for browsers. Other clients get the answer of KServe's protocol v1."""
    if wants_page(request):
        return await answer_page(request)
    return JSONResponse({"status": "alive"}, headers={"vary": "Accept"})


async def _show_document(request: Request) -> Response:
    document = await asyncio.to_thread(_document)  # the first call is too slow for the event loop
    return await _encode(request, document, "application/json")


@functools.cache
def _document() -> bytes:
    return render_json(make_document(release()))


async def _encode(request: Request, body: bytes, content_type: str) -> Response:
    """An answer, compressed as its caller accepts it. A large one is compressed in a thread."""
    headers = {"content-type": content_type, "vary": "Accept-Encoding"}
    coding = choose_coding(request.headers.get("accept-encoding", "").encode("latin-1"))
    if coding is None or len(body) < COMPRESS_FROM_BYTES:
        return Response(body, headers=headers)
    headers["content-encoding"] = coding
    if len(body) < DEFLATE_IN_THREAD_FROM_BYTES:
        return Response(deflate([body], coding), headers=headers)
    return Response(await asyncio.to_thread(deflate, [body], coding), headers=headers)
