"""Stores in an OCI registry, by the package ``oras`` (extra ``oci``), which finds credentials as docker does.

``oci://REGISTRY/PREFIX`` has a repository ``PREFIX/NAME`` for each model; ``modelpack.py`` has its layout.
"""

import contextlib
import json
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from model_store.errors import BadManifest, RemoteAway, RemoteError
from model_store.files.aliases import ALIAS, ALIASES_FILE
from model_store.files.integrity import digest_file
from model_store.listing import NUMBER
from model_store.manifest import MANIFEST_FILE
from model_store.remote.address import Address
from model_store.remote.contents import MOST_FILES, RemoteFile
from model_store.remote.stores import modelpack
from model_store.remote.stores.remote_store import CONNECT_S, MOST_SECONDS, read_up_to, refuse_many, tell_fault

_AT_ONCE = 8
_MOST_PAGES = 1000
_MOST_PAGE_BYTES = 16 << 20
_MOST_TAGS = 10_000


class RegistryStore:
    def __init__(self, address: Address) -> None:
        """Raises RemoteError if a package is missing."""
        try:
            import oras.provider
        except ImportError as error:
            raise RemoteError(f"{address}: needs {error.name}: pip install 'sluice-serving[oci]'") from None
        self._address = address
        self._prefix = f"{address.path}/" if address.path else ""
        self._make_registry = oras.provider.Registry
        self._registries: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._manifests: dict[str, dict[str, RemoteFile]] = {}
        """The files of the manifests that the last listing has read, by repository and digest."""

    def list_files(self, only: Collection[str]) -> Mapping[str, RemoteFile]:
        names = list(only) or self._list_models()
        found: dict[str, RemoteFile] = {}
        manifests: dict[str, dict[str, RemoteFile]] = {}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="registry") as pool:
            for files, read in pool.map(self._look_at, names):
                found |= files
                manifests |= read
                if len(found) > MOST_FILES:
                    pool.shutdown(cancel_futures=True)
                    raise refuse_many(self._address, MOST_FILES)
        self._manifests = manifests
        return found

    def _list_models(self) -> list[str]:
        names = []
        for page in self._pages("", f"{self._base}/_catalog?n=1000"):
            repositories = page.get("repositories")
            if not isinstance(repositories, list):
                raise RemoteError(
                    f"{self._address}: this registry does not list its repositories: name the models: SLUICE_MODELS"
                )
            names += [str(name).removeprefix(self._prefix) for name in repositories if self._is_model(str(name))]
            if len(names) > MOST_FILES:
                raise refuse_many(self._address, MOST_FILES)
        return names

    def _is_model(self, repository: str) -> bool:
        return repository.startswith(self._prefix) and "/" not in repository.removeprefix(self._prefix)

    def _look_at(self, name: str) -> tuple[dict[str, RemoteFile], dict[str, dict[str, RemoteFile]]]:
        """The files of a model by path, and those of each of its manifests."""
        digests: dict[str, str] = {}
        contents: dict[str, dict[str, RemoteFile]] = {}
        manifests: dict[str, dict[str, RemoteFile]] = {}
        count = 0
        for tag in self._list_tags(name):
            digest, content = self._find_manifest(name, tag)
            if not digest:  # the tag was removed just now
                continue
            digests[tag] = digest
            if ALIAS.fullmatch(tag):
                continue
            known = self._manifests.get(f"{name}@{digest}")
            if known is None:
                content = content or self._get(name, f"{self._url(name)}/manifests/{digest}")
                if modelpack.digest_of(content) != digest:
                    raise RemoteError(f"{self._address}/{name}:{tag}: the registry gave another manifest than {digest}")
                with contextlib.suppress(BadManifest):  # an artifact of another kind
                    known = modelpack.read_layers(content, name, f"{self._address}/{name}:{tag}")
            contents[tag] = manifests[f"{name}@{digest}"] = known or {}
            count += len(contents[tag])
            if count > MOST_FILES:
                raise refuse_many(self._address, MOST_FILES)
        return modelpack.make_files(name, digests, contents), manifests

    def _list_tags(self, name: str) -> list[str]:
        """The tags of a model that name versions, aliases or shared files."""
        found: list[str] = []
        for page in self._pages(name, f"{self._url(name)}/tags/list"):
            tags = page.get("tags") or []
            if not isinstance(tags, list):
                raise RemoteAway(f"{self._address}/{name}: the registry answered something else than a list of tags")
            texts = [tag for tag in tags if isinstance(tag, str)]
            found += [
                tag for tag in texts if tag == modelpack.FILES_TAG or NUMBER.fullmatch(tag) or ALIAS.fullmatch(tag)
            ]
            if len(found) >= _MOST_TAGS:
                break
        return found[:_MOST_TAGS]

    def _find_manifest(self, name: str, tag: str) -> tuple[str, bytes]:
        """The digest of a tag, "" if there is no such tag; and the manifest if it had to be read."""
        url = f"{self._url(name)}/manifests/{tag}"
        with self._request(name, "HEAD", url, headers={"Accept": modelpack.MANIFEST_TYPE}, missing_ok=True) as reply:
            if reply is None:
                return "", b""
            digest = reply.headers.get("Docker-Content-Digest", "")
        if digest:
            return digest, b""
        content = self._get(name, url)
        return modelpack.digest_of(content), content

    def read(self, where: str, start: int, count: int) -> bytes:
        name, _, digest = where.partition("@")
        headers = {"Range": f"bytes={start}-{start + count - 1}"}
        with self._request(name, "GET", f"{self._url(name)}/blobs/{digest}", headers=headers) as reply:
            if start and reply.status_code != 206:
                raise RemoteError(f"{self._address}: expected a registry that gives parts of files (Range)")
            return _read(reply, count)

    def publish(self, name: str, number: int, files: Mapping[str, Path], known: Collection[str]) -> None:
        modelpack.check_repository(name)
        layers = []
        for path, file in sorted(files.items()):
            size, digest = file.stat().st_size, "sha256:" + digest_file(file)
            layers.append(modelpack.describe_layer(path, digest, size))
            with file.open("rb") as content:
                self._put_blob(name, digest, size, content)
        manifest = files[MANIFEST_FILE].read_bytes() if MANIFEST_FILE in files else None
        aliases = self._find_aliases(name, number) if known else []
        self._put_manifest(name, str(number), layers, manifest)
        for alias in aliases:
            self._point(name, alias, number)

    def write_beside(self, name: str, files: Mapping[str, bytes], known: Mapping[str, bytes]) -> None:
        modelpack.check_repository(name)
        others = {file: content for file, content in files.items() if file != ALIASES_FILE}
        if others != {file: content for file, content in known.items() if file != ALIASES_FILE}:
            layers = []
            for file, content in sorted(others.items()):
                layers.append(modelpack.describe_layer(file, modelpack.digest_of(content), len(content)))
                self._put_blob(name, layers[-1]["digest"], len(content), content)
            self._put_manifest(name, modelpack.FILES_TAG, layers, None)
        old, new = (json.loads(each.get(ALIASES_FILE, b"{}")) for each in (known, files))
        for alias in sorted(old.keys() | new.keys()):
            if old.get(alias) != new.get(alias):
                self._point(name, alias, new.get(alias))

    def _find_aliases(self, name: str, number: int) -> list[str]:
        """The aliases of a version of the registry."""
        digest, _ = self._find_manifest(name, str(number))
        return [
            tag for tag in self._list_tags(name) if ALIAS.fullmatch(tag) and self._find_manifest(name, tag)[0] == digest
        ]

    def _point(self, name: str, alias: str, number: int | None) -> None:
        """Point an alias at a version; None: remove it."""
        if number is None:
            url = f"{self._url(name)}/manifests/{alias}"
            with self._request(name, "DELETE", url, missing_ok=True, any_status=True) as reply:
                if reply is not None and reply.status_code >= 400:
                    raise RemoteError(f"{self._address}/{name}: this registry removes no tags: {alias} stays")
            return
        content = self._get(name, f"{self._url(name)}/manifests/{number}")
        self._put(name, f"{self._url(name)}/manifests/{alias}", content, modelpack.MANIFEST_TYPE)

    def _put_manifest(self, name: str, tag: str, layers: list[dict[str, Any]], manifest: bytes | None) -> None:
        config = modelpack.make_config(name, tag, [layer["digest"] for layer in layers], manifest)
        self._put_blob(name, modelpack.digest_of(config), len(config), config)
        content = json.dumps(modelpack.make_manifest(config, layers)).encode()
        self._put(name, f"{self._url(name)}/manifests/{tag}", content, modelpack.MANIFEST_TYPE)

    def _put_blob(self, name: str, digest: str, size: int, content: Any) -> None:
        with self._request(name, "HEAD", f"{self._url(name)}/blobs/{digest}", missing_ok=True) as reply:
            if reply is not None:
                return
        with self._request(name, "POST", f"{self._url(name)}/blobs/uploads/") as reply:
            target = urljoin(f"{self._url(name)}/", reply.headers.get("Location", ""))
        target += ("&" if "?" in target else "?") + f"digest={digest}"
        self._put(name, target, content if size else b"", "application/octet-stream")

    def _put(self, name: str, url: str, content: Any, kind: str) -> None:
        with self._request(name, "PUT", url, headers={"Content-Type": kind}, data=content):
            pass

    @property
    def _base(self) -> str:
        return f"{'http' if self._address.is_local else 'https'}://{self._address.host}/v2"

    def _url(self, name: str) -> str:
        return f"{self._base}/{self._prefix}{name}"

    def _pages(self, name: str, url: str) -> Iterator[dict[str, Any]]:
        """The pages of a list, each of which links to the next."""
        for _ in range(_MOST_PAGES):
            with self._request(name, "GET", url, missing_ok=True) as reply:
                if reply is None:
                    return
                try:
                    page = json.loads(_read(reply, _MOST_PAGE_BYTES))
                except (ValueError, RecursionError):
                    raise RemoteAway(f"{self._address}: the registry answered no JSON to {url}") from None
                if not isinstance(page, dict):
                    raise RemoteAway(f"{self._address}: the registry answered something else than a list to {url}")
                link = reply.links.get("next", {}).get("url")
            yield page
            if not link:
                return
            with contextlib.suppress(ValueError):  # it is no URL
                link = urljoin(url, link)
            url = link
            if not url.startswith(f"{self._base}/"):
                raise RemoteError(f"{self._address}: the registry leads to {url[:200]}: expected a page of its own")

    def _get(self, name: str, url: str) -> bytes:
        with self._request(name, "GET", url, headers={"Accept": modelpack.MANIFEST_TYPE}) as reply:
            return _read(reply, modelpack.MOST_MANIFEST_BYTES)

    def _registry(self, name: str) -> Any:
        """The client for a repository: each needs its own, because tokens are for one repository."""
        with self._lock:
            registry = self._registries.get(name)
            if registry is None:
                local = self._address.is_local
                registry = self._make_registry(hostname=self._address.host, insecure=local)
                registry.auth.load_configs(
                    registry.get_container(f"{self._address.host}/{self._prefix}{name or 'any'}")
                )
                _limit(registry.session, self._address)
                self._registries[name] = registry
            return registry

    @contextlib.contextmanager
    def _request(
        self,
        name: str,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        data: Any = None,
        missing_ok: bool = False,
        any_status: bool = False,
    ) -> Iterator[Any]:
        """The reply to a request; None for a 404 if ``missing_ok``. Without ``any_status``, errors are raised."""
        import requests
        import urllib3

        faults = (OSError, requests.RequestException, urllib3.exceptions.HTTPError)
        registry = self._registry(name)
        try:
            # __wrapped__ is without the retries of the package, which take minutes.
            ask = type(registry).do_request.__wrapped__
            reply = ask(registry, url, method, data=data, headers=dict(headers or {}), stream=True)
        except (*faults, ValueError) as error:
            raise RemoteAway(f"{self._address}: {tell_fault(error)}") from None
        with contextlib.closing(reply):
            if reply.status_code == 404 and missing_ok:
                yield None
                return
            if reply.status_code >= 400 and not any_status:
                kind = RemoteError if reply.status_code == 404 else RemoteAway
                raise kind(f"{self._address}: {method} of {name or 'the list'} answered {reply.status_code}")
            try:
                yield reply
            except faults as error:
                raise RemoteAway(f"{self._address}: {tell_fault(error)}") from None


def _limit(session: Any, address: Address) -> None:
    """Give every request of a session a time limit, and refuse plain text, also for redirects and tokens."""
    from requests import RequestException
    from requests.adapters import HTTPAdapter

    class Limited(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            if fault := address.find_fault(args[0].url):
                raise RequestException(fault)
            kwargs["timeout"] = kwargs.get("timeout") or (CONNECT_S, MOST_SECONDS)
            return super().send(*args, **kwargs)

    for scheme in ("http://", "https://"):
        session.mount(scheme, Limited(pool_maxsize=_AT_ONCE * 2))


def _read(reply: Any, count: int) -> bytes:
    """Up to ``count`` bytes of the body, as they were sent."""
    return read_up_to(lambda most: bytes(reply.raw.read(most, decode_content=False)), count)
