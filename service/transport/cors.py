"""CORS: which pages of other origins may read our answers. WHATWG Fetch, section "CORS protocol".

It is off unless the settings name origins, and never allows credentials. Starlette's middleware is not used, because
the answers of the fast path are sent below ASGI.
"""

import re
from collections.abc import Mapping, Sequence

from service.errors import Forbidden
from service.transport.request import HeaderField, Reply, request_id_of
from service.transport.status import error_reply

_EXPOSED: HeaderField = (
    b"access-control-expose-headers",
    b"Inference-Header-Content-Length, X-Request-Id, Server-Timing, Traceresponse, Retry-After, RateLimit, "
    b"RateLimit-Policy, WWW-Authenticate",
)
_OF_PREFLIGHTS: tuple[HeaderField, ...] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-max-age", b"3600"),
    (b"vary", b"Access-Control-Request-Headers"),
)
_NAMES = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[-!#$%&'*+.^_`|~0-9A-Za-z]+)*")
_USUAL_PORTS = {"http": ":80", "https": ":443"}
"""Browsers leave these out of an origin."""


class Cors:
    """``origins`` are written like ``https://app.example:8443``; ``*`` allows all origins."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._for_all: tuple[HeaderField, ...] | None = None
        if "*" in origins:
            self._for_all = ((b"access-control-allow-origin", b"*"), _EXPOSED)
        self._allowed = {_normalise(origin) for origin in origins}

    def headers_for(self, request: Mapping[bytes, bytes]) -> Sequence[HeaderField]:
        """The CORS headers of an answer. ``request`` has the headers of the request, with lower-case names."""
        if self._for_all is not None:
            return self._for_all
        origin = request.get(b"origin")
        if origin is None or origin not in self._allowed:
            return ((b"vary", b"Origin"),)
        return ((b"vary", b"Origin"), (b"access-control-allow-origin", origin), _EXPOSED)

    def answer_preflight(self, method: str, request: Mapping[bytes, bytes]) -> Reply | None:
        """The answer to a preflight request; None for any other request."""
        origin = request.get(b"origin")
        if method != "OPTIONS" or origin is None or b"access-control-request-method" not in request:
            return None
        request_id = request_id_of(dict(request))
        headers = [*self.headers_for(request), (b"x-request-id", request_id.encode())]
        if self._for_all is None and origin not in self._allowed:
            named = f"origin {origin.decode('latin-1')!r:.120}"
            reply = error_reply(Forbidden(f"{named}: expected one that SLUICE_CORS_ORIGINS names"), request_id)
            return Reply(reply.status, reply.chunks, [*reply.headers, *headers])
        wanted = request.get(b"access-control-request-headers", b"")
        allowed: list[HeaderField] = [(b"access-control-allow-headers", wanted)] if _NAMES.fullmatch(wanted) else []
        return Reply(200, [], [*headers, *_OF_PREFLIGHTS, *allowed])


def _normalise(origin: str) -> bytes:
    """The origin as browsers write it: in lower case, without the usual port."""
    scheme, _, rest = origin.lower().partition("://")
    return f"{scheme}://{rest.removesuffix(_USUAL_PORTS.get(scheme, '/'))}".encode()
