"""Routes as a table: path, method, handler."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]
Methods = Mapping[str, Handler]
Routes = Mapping[str, Methods]
"""Template of a path -> method -> handler. A path that is more special comes first."""


def make_routes(table: Routes) -> list[Route]:
    """Starlette's routes. A path with GET has HEAD too."""
    return [Route(path, _choose(path, methods), methods=list(methods)) for path, methods in table.items()]


def _choose(path: str, methods: Methods) -> Handler:
    """The handler of a path. It leaves the template in the scope, where the ASGI path finds it for the metrics."""

    async def answer(request: Request) -> Response:
        request.scope["sluice.route"] = path
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
