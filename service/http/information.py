"""What the server tells about itself: health, metadata of the protocol, model cards, metrics."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model_store.manifest import Tensor
from service.errors import NotReady, ServiceError, UnknownRoute, WrongMethod
from service.http.calls import Reply
from service.http.openapi import make_document
from service.http.status import error_reply
from service.metrics import Metrics
from service.protocol.text import render_json
from service.registry import Entry, Registry, Shelf

EXTENSIONS = ("binary_tensor_data", "schedule_policy", "parameters")
"""What works, and nothing else."""

Handler = Callable[[Request], Awaitable[Response]]


class Information:
    """The GET routes. All of it is read from the registry and the metrics at the moment of the request."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self.is_draining = False

    def application(self) -> Starlette:
        routes: Mapping[str, Handler] = {
            "/livez": self.live,
            "/readyz": self.ready,
            "/v2": self.server,
            "/v2/health/live": self.live,
            "/v2/health/ready": self.ready,
            "/v2/models/{model}": self.model,
            "/v2/models/{model}/ready": self.model_ready,
            "/v2/models/{model}/versions/{version}": self.model,
            "/v2/models/{model}/versions/{version}/ready": self.model_ready,
            "/models": self.cards,
            "/metrics": self.metrics,
            "/docs.json": self.document,
        }
        return Starlette(
            routes=[Route(path, _named(path, handler), methods=["GET"]) for path, handler in routes.items()],
            exception_handlers={ServiceError: _refuse, HTTPException: _refuse_route},
        )

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        if self.is_draining:
            raise NotReady("the server is stopping")
        if not self._registry.is_ready:
            raise NotReady("no model serves: /models tells why" if self._registry.loaded else "models are being loaded")
        return JSONResponse({"live": True, "ready": True})

    async def server(self, request: Request) -> Response:
        return JSONResponse({"name": "sluice", "version": _release(), "extensions": EXTENSIONS})

    async def model(self, request: Request) -> Response:
        model = await self._registry.find_when_loaded(request.path_params["model"], request.path_params.get("version"))
        shelf = self._registry.shelf(model.name)
        one = "version" in request.path_params
        ready = [str(n) for n, entry in sorted(shelf.entries.items()) if entry.model]
        return JSONResponse(
            {
                "name": model.name,
                "versions": [model.version] if one else ready,
                "platform": "onnxruntime_onnx",
                "inputs": [_tensor(t) for t in model.signature.inputs.values()],
                "outputs": [_tensor(t) for t in model.signature.outputs.values()],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        model = await self._registry.find_when_loaded(request.path_params["model"], request.path_params.get("version"))
        return JSONResponse({"name": model.name, "ready": True})

    async def cards(self, request: Request) -> Response:
        return JSONResponse({"models": [_card(n, self._registry.shelf(n)) for n in self._registry.names()]})

    async def metrics(self, request: Request) -> Response:
        body, content_type = self._metrics.expose(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def document(self, request: Request) -> Response:
        return Response(_document(), media_type="application/json")


def _release() -> str:
    try:
        return version("sluice-serving")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"


@functools.cache
def _document() -> bytes:
    return render_json(make_document(_release()))


def _named(path: str, handler: Handler) -> Handler:
    """The handler, leaving the template of its path in the scope, where the door finds it for the metrics."""

    async def named(request: Request) -> Response:
        request.scope["sluice.route"] = path
        return await handler(request)

    return named


def _respond(reply: Reply) -> Response:
    response = Response(b"".join(reply.chunks), reply.status)
    response.raw_headers.extend(reply.headers)
    return response


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101  # it is registered for these
    return _respond(error_reply(error, request.scope["sluice.request_id"]))


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for these
    path, method = request.scope["path"], request.method
    if error.status_code == 405:
        allowed = tuple((error.headers or {}).get("Allow", "GET").split(", "))
        return await _refuse(request, WrongMethod(f"{path}: expected {' or '.join(allowed)}, got {method}", allowed))
    return await _refuse(request, UnknownRoute(f"no route {path}: /docs and the README list them"))


def _tensor(tensor: Tensor) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}


def _card(name: str, shelf: Shelf) -> dict[str, Any]:
    serving = shelf.serving
    card: dict[str, Any] = {
        "name": name,
        "ready": serving is not None,
        "serving": serving.version if serving else None,
        "aliases": shelf.aliases,
        "versions": [_version(n, entry) for n, entry in sorted(shelf.entries.items())],
    }
    if shelf.reason:
        card["reason"] = shelf.reason
    if serving is not None:
        manifest, loaded = serving.manifest, serving.loaded
        card |= {
            "task": manifest.task,
            "description": manifest.description,
            "labels": manifest.labels,
            "inputs": [_tensor(t) for t in serving.signature.inputs.values()],
            "outputs": [_tensor(t) for t in serving.signature.outputs.values()],
            "quality": manifest.quality.model_dump() if manifest.quality else None,
            "parity": manifest.parity.model_dump() if manifest.parity else None,
            "licence": manifest.licence,
            "provider": loaded.session.provider,
            "golden_error": loaded.golden_error,
            "batching": {
                "batches": serving.signature.batches,
                "max_rows": loaded.max_rows,
                "max_wait_s": serving.dispatcher.queue.max_wait_s,
                "batch_invariant": loaded.batch_invariant,
                "least_rows": loaded.least_rows,
            },
        }
    return card


def _version(number: int, entry: Entry) -> dict[str, Any]:
    card: dict[str, Any] = {"version": str(number), "state": entry.state}
    if entry.reason:
        card["reason"] = entry.reason
    return card
