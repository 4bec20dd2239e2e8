"""The files of the pages, with headers that isolate them from other sites.

The files need no build step. They are read and compressed once. Browsers ask for them each time and get 304 if a file
has not changed, so that files of two releases are never mixed.
"""

import asyncio
import functools
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.errors import UnknownRoute
from service.protocol.compression import choose_coding

_FOLDER = Path(__file__).with_name("static")
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "font-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS: Mapping[str, str] = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=()",
    "cache-control": "no-cache",
}
"""The headers of all pages and files. Nothing is loaded from other origins, and the HTML has no scripts or styles."""
PAGES = {"/": "index.html", "/live": "live.html", "/docs": "docs.html"}
"""Path -> its file. Links are relative, because a proxy may add a prefix; so all pages are at the same depth."""


class StaticFile(NamedTuple):
    """The bytes of a file, plain and as gzip (None if that is not smaller)."""

    content: bytes
    compressed: bytes | None
    media_type: str
    etag: str


@functools.cache
def read_files() -> Mapping[str, StaticFile]:
    """All files, by their path below ``/web/``."""
    return {
        path.relative_to(_FOLDER).as_posix(): _read(path)
        for path in sorted(_FOLDER.rglob("*"))
        if path.is_file() and path.suffix in _MEDIA_TYPES
    }


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    compressed = gzip.compress(content, mtime=0)
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'  # weak: both codings have the same
    smaller = compressed if len(compressed) < len(content) else None
    return StaticFile(content, smaller, _MEDIA_TYPES[path.suffix], etag)


def wants_page(request: Request) -> bool:
    """Whether a browser asks. KServe's clients want JSON from ``/``."""
    return "text/html" in request.headers.get("accept", "")


async def answer_page(request: Request) -> Response:
    """One of ``PAGES``. Raises UnknownRoute.

    Relative links need the exact address, so ``/docs/`` is redirected to ``/docs``, and a prefix ``/api`` to ``/api/``.
    """
    path = request.scope["path"]
    asked = request.scope.get("sluice.path", path)
    if path == "/" and not asked.endswith("/"):
        return RedirectResponse(PurePosixPath(asked).name + "/", 307, HEADERS)
    slashes = len(asked) - len(asked.rstrip("/"))
    if path != "/" and slashes:
        return RedirectResponse("../" * slashes + path[1:], 307, HEADERS)
    return await _answer(request, PAGES[path])


async def answer_file(request: Request) -> Response:
    """A file below ``/web/``. Raises UnknownRoute, also for a name with a trailing slash."""
    slash = "/" if request.scope.get("sluice.path", "").endswith("/") else ""
    return await _answer(request, request.path_params["file"] + slash)


async def _answer(request: Request, name: str) -> Response:
    files = await asyncio.to_thread(read_files)  # the first call is too slow for the event loop
    file = files.get(name)
    if file is None:
        raise UnknownRoute(f"no file {name:.120} among the pages: / is the playground, /docs the documentation")
    headers = {**HEADERS, "etag": file.etag, "vary": "Accept, Accept-Encoding"}
    if _has(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.compressed is not None and choose_coding(request.headers.get("accept-encoding", "").encode()) == "gzip":
        content, headers["content-encoding"] = file.compressed, "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


def _has(if_none_match: str, etag: str) -> bool:
    """Whether a list of tags has this one, also as a strong tag, as proxies write it. RFC 9110, section 13.1.2."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags
