"""Stores on a web server that lists its folders as pages of links, as nginx and Apache do. Read only.

They need the extra ``remote``. The bytes come by fsspec; every answer is read piece by piece, up to what was asked for.
"""

import contextlib
import io
from collections.abc import Collection, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from model_store.errors import RemoteAway, RemoteError
from model_store.listing import NAME, NUMBER
from model_store.remote.address import Address
from model_store.remote.contents import MOST_FILES, RemoteFile
from model_store.remote.stores.remote_store import (
    CONNECT_S,
    MOST_SECONDS,
    NotThere,
    read_up_to,
    refuse_many,
    tell_fault,
)

_MOST_PAGE_BYTES = 16 << 20
_MOST_DEPTH = 4
_MOST_PAGES = 200_000
"""The most folders of a store. A server may list nested folders without end, even with no files in them."""
_MOST_REQUEST_S = 900.0
"""How long one page, or one part of a file, may take: a server may send only a byte now and then."""
_NOTHING_THERE = 416
"""The status of a range that begins at the end of the file."""


class WebStore:
    def __init__(self, address: Address) -> None:
        """Raises RemoteError if a package is missing."""
        try:
            import aiohttp
            from fsspec.implementations.http import HTTPFileSystem
        except ImportError as error:
            raise RemoteError(f"{address}: needs {error.name}: pip install 'sluice-serving[remote]'") from None
        self._address = address
        self._pages_left = 0  # for the listing that is running
        # Passwords come from ~/.netrc, proxies from the environment.
        timeout = aiohttp.ClientTimeout(total=_MOST_REQUEST_S, sock_connect=CONNECT_S, sock_read=MOST_SECONDS)
        redirects = aiohttp.TraceConfig()
        redirects.on_request_redirect.append(self._check_redirect)
        given = {"trust_env": True, "timeout": timeout, "trace_configs": [redirects]}
        self._files: Any = HTTPFileSystem(client_kwargs=given, encoded=True)

    async def _check_redirect(self, _: object, __: object, redirect: Any) -> None:
        """Raises RemoteError if the server redirects to plain text."""
        given = redirect.response.headers
        target = urljoin(str(redirect.url), given.get("Location") or given.get("URI", ""))
        if fault := self._address.find_fault(target):
            raise RemoteError(fault)

    def list_files(self, only: Collection[str]) -> Mapping[str, RemoteFile]:
        found: dict[str, RemoteFile] = {}
        self._pages_left = _MOST_PAGES
        models = list(only) or [name for name in self._list("") if name.endswith("/")]
        for model in models:
            name = model.rstrip("/")
            if NAME.fullmatch(name):
                self._walk(f"{name}/", found)
        return found

    def _walk(self, folder: str, found: dict[str, RemoteFile]) -> None:
        """Add the files below a folder: those of a model and of its versions."""
        if folder.count("/") > _MOST_DEPTH:
            return
        for name in self._list(folder):
            if not name.endswith("/"):
                found[folder + name] = RemoteFile(folder + name, None, "")
            elif folder.count("/") > 1 or NUMBER.fullmatch(name[:-1]):
                self._walk(folder + name, found)
            if len(found) > MOST_FILES:
                raise refuse_many(self._address, MOST_FILES)

    def _list(self, folder: str) -> list[str]:
        """The names directly below a page that it links to; those of folders end with a slash."""
        self._pages_left -= 1
        if self._pages_left < 0:
            raise refuse_many(self._address, _MOST_PAGES, "folders")
        page = self._get(folder, 0, _MOST_PAGE_BYTES)
        links = _Links()
        links.feed(page.decode(errors="replace"))
        base = self._url(folder)
        names: dict[str, None] = {}
        for link in links.targets:
            with contextlib.suppress(ValueError):  # it is no URL
                target = urlsplit(urljoin(base, link))._replace(query="", fragment="").geturl()
                name = unquote(target.removeprefix(base)) if target.startswith(base) else ""
                if name.rstrip("/") and "/" not in name[:-1] and not name.startswith("."):
                    names[name] = None
        return list(names)

    def read(self, where: str, start: int, count: int) -> bytes:
        return self._get(where, start, count)

    def _get(self, path: str, start: int, count: int) -> bytes:
        url = self._url(path)
        headers = {"Range": f"bytes={start}-{start + count - 1}"} if path and not path.endswith("/") else {}
        with self._translating_errors(path), self._open(url, headers) as file:
            if start and getattr(file, "r", None) is not None and file.r.status != 206:
                raise RemoteError(f"{url}: expected a server that gives parts of files (Range), this one does not")
            return read_up_to(file.read, count)

    def _open(self, url: str, headers: dict[str, str]) -> Any:
        try:
            return self._files.open(url, block_size=0, size=1, headers=headers)  # a size saves a HEAD request
        except Exception as error:
            if getattr(error, "status", 0) == _NOTHING_THERE:
                return contextlib.closing(io.BytesIO())
            raise

    def _url(self, path: str) -> str:
        return f"{self._address}/{quote(path)}"

    def publish(self, name: str, number: int, files: Mapping[str, Path], known: Collection[str]) -> None:
        raise RemoteError(f"{self._address}: a web server is read only: copy the versions to its folder")

    def write_beside(self, name: str, files: Mapping[str, bytes], known: Mapping[str, bytes]) -> None:
        raise RemoteError(f"{self._address}: a web server is read only: copy the files to its folder")

    @contextlib.contextmanager
    def _translating_errors(self, path: str) -> Iterator[None]:
        """Turn errors of the libraries into ours."""
        try:
            yield
        except RemoteError:
            raise
        except FileNotFoundError as error:
            kind = NotThere if not path or path.endswith("/") else RemoteError
            raise kind(f"{error}: it is not there (404)") from None
        except Exception as error:  # noqa: BLE001  # whatever aiohttp and fsspec raise
            raise RemoteAway(f"{self._address}: {tell_fault(error)}") from None


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for key, value in attrs if key == "href" and value]
