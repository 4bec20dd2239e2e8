"""Routes as a table: path, method, handler."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Template of a path -> method -> who answers. A path that is more special comes first."""


def make_routes(table: Routes) -> list[Route]:
    """Starlette's routes; who has GET has HEAD."""
    return [Route(path, _choose(path, methods), methods=list(methods)) for path, methods in table.items()]


def _choose(path: str, methods: Mapping[str, Handler]) -> Handler:
    """The handler of a path, leaving its template in the scope, where the ASGI path finds it for the metrics."""

    async def answer(request: Request) -> Response:
        request.scope["sluice.route"] = path
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
