"""What KServe's clients ask without tensors."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.routes import Routes
from service.models.registry import Registry


class KServeInfo:
    """The routes of KServe's first protocol and of its forecasts that tell which models there are."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> Routes:
        return {
            "/": {"GET": self.alive},
            "/v1/models": {"GET": self.models},
            "/v1/models/{model}": {"GET": self.model},
            "/v1/timeseries/models": {"GET": self.forecasters},
        }

    async def alive(self, request: Request) -> Response:
        """Liveness in the first protocol. Browsers get a page here."""
        return JSONResponse({"status": "alive"})

    async def models(self, request: Request) -> Response:
        return JSONResponse({"models": self._registry.names()})

    async def model(self, request: Request) -> Response:
        model = await self._registry.find_when_loaded(request.path_params["model"])
        return JSONResponse({"name": model.name, "ready": True})

    async def forecasters(self, request: Request) -> Response:
        return JSONResponse(sorted({model.name for model in self._registry.models() if model.manifest.forecast}))
