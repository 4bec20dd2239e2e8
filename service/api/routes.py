"""Routes as a table: path, method, handler."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]
Methods = Mapping[str, Handler]
Routes = Mapping[str, Methods]
"""Path template -> method -> handler. A more specific path comes before a more general one."""


def make_routes(table: Routes) -> list[Route]:
    """Starlette's routes. A path with GET also answers HEAD."""
    return [Route(path, _choose(path, methods), methods=list(methods)) for path, methods in table.items()]


def _choose(path: str, methods: Methods) -> Handler:
    """The handler of a path. It stores the path template in the scope, for the metrics of the ASGI path."""

    async def answer(request: Request) -> Response:
        request.scope["sluice.route"] = path
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
