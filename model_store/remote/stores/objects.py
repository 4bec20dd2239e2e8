"""Stores in object storage: S3 by pyarrow, others by the file systems of fsspec. They need the extra ``remote``."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model_store.errors import RemoteAway, RemoteError
from model_store.manifest import MANIFEST_FILE
from model_store.remote.address import Address
from model_store.remote.contents import LAST_FILES, MOST_FILES, RemoteFile
from model_store.remote.stores.remote_store import NotThere, read_up_to, refuse_many, tell_fault

_PACKAGES = {"gs": "gcsfs", "az": "adlfs"}
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "mtime_ns", "created")
_COPIED_BYTES = 8 << 20

Listing = Callable[[], Iterator[tuple[str, RemoteFile]]]


class ObjectStore:
    """A folder in a file system of fsspec. ``listing`` gives its files by their whole path."""

    def __init__(self, address: Address, filesystem: Any, listing: Listing) -> None:
        self._address = address
        self._files = filesystem
        self._root = address.root
        self._listing = listing

    def list_files(self, only: Collection[str]) -> Mapping[str, RemoteFile]:
        found: dict[str, RemoteFile] = {}
        with self._translating_errors():
            for path, file in self._listing():
                found[path.removeprefix(self._root).lstrip("/")] = file
                if len(found) > MOST_FILES:
                    raise refuse_many(self._address, MOST_FILES)
        return found

    def read(self, where: str, start: int, count: int) -> bytes:
        with self._translating_errors(is_listed=True), self._files.open(where, "rb", cache_type="none") as file:
            file.seek(start)
            return read_up_to(file.read, count)

    def publish(self, name: str, number: int, files: Mapping[str, Path], known: Collection[str]) -> None:
        for file in sorted(files.keys() - set(known), key=lambda each: (each == MANIFEST_FILE, each)):
            path = f"{name}/{number}/{file}"
            with files[file].open("rb") as source, self._translating_errors(), self._open_to_write(path) as to:
                while piece := source.read(_COPIED_BYTES):
                    to.write(piece)

    def write_beside(self, name: str, files: Mapping[str, bytes], known: Mapping[str, bytes]) -> None:
        for file, content in sorted(files.items(), key=lambda item: item[0] in LAST_FILES):
            if known.get(file) != content:
                with self._translating_errors(), self._open_to_write(f"{name}/{file}") as to:
                    to.write(content)
        for file in known.keys() - files.keys():
            with self._translating_errors():
                self._files.rm_file(f"{self._root}/{name}/{file}")

    def _open_to_write(self, path: str) -> Any:
        return self._files.open(f"{self._root}/{path}", "wb")

    @contextlib.contextmanager
    def _translating_errors(self, *, is_listed: bool = False) -> Iterator[None]:
        """Turn errors of the libraries into ours. ``is_listed``: the file was just listed, so the store answers."""
        try:
            yield
        except RemoteError:
            raise
        except FileNotFoundError as error:
            kind = RemoteError if is_listed else NotThere
            raise kind(f"{self._address}: it is not there: {tell_fault(error)}") from None
        except Exception as error:  # noqa: BLE001  # whatever the library of the file system raises
            raise RemoteAway(f"{self._address}: {tell_fault(error)}") from None


def open_object_store(address: Address) -> ObjectStore:
    """A store in object storage. Raises RemoteError if a package is missing."""
    try:
        import fsspec  # noqa: F401  # the wrapper of pyarrow needs it
    except ImportError:
        raise _tell_missing(address, "fsspec") from None
    return _open_s3(address) if address.scheme == "s3" else _open_fsspec(address)


def _open_s3(address: Address) -> ObjectStore:
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import fs
    except ImportError:
        raise _tell_missing(address, "pyarrow") from None
    given: dict[str, Any] = {"connect_timeout": 10.0, "request_timeout": 30.0}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:  # a store that is not Amazon's
        parts = urlsplit(endpoint)
        given |= {"endpoint_override": parts.netloc + parts.path.rstrip("/"), "scheme": parts.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        given["region"] = region
    try:
        filesystem = fs.S3FileSystem(**given)
    except Exception as error:  # noqa: BLE001  # a build of pyarrow without S3, or settings of AWS that it refuses
        raise RemoteError(f"{address}: s3:// cannot be used: {tell_fault(error)}") from None

    def listing() -> Iterator[tuple[str, RemoteFile]]:
        for info in filesystem.get_file_info(fs.FileSelector(address.root, recursive=True)):
            if info.type == fs.FileType.File:
                yield info.path, RemoteFile(info.path, info.size, str(info.mtime_ns or ""))

    return ObjectStore(address, ArrowFSWrapper(filesystem), listing)


def _open_fsspec(address: Address) -> ObjectStore:
    import fsspec

    try:
        filesystem = fsspec.filesystem(address.scheme, use_listings_cache=False)
    except ImportError:
        raise _tell_missing(address, _PACKAGES[address.scheme]) from None
    except Exception as error:  # noqa: BLE001  # such as an account that is not given
        raise RemoteError(f"{address}: {tell_fault(error)}") from None

    def listing() -> Iterator[tuple[str, RemoteFile]]:
        filesystem.invalidate_cache()
        for path, info in filesystem.find(address.root, detail=True).items():
            stamp = next((str(info[key]) for key in _STAMPS if info.get(key) is not None), "")
            yield path, RemoteFile(path, info.get("size"), stamp)

    return ObjectStore(address, filesystem, listing)


def _tell_missing(address: Address, package: str) -> RemoteError:
    how = "'sluice-serving[remote]'" if package not in _PACKAGES.values() else package
    return RemoteError(f"{address}: {address.scheme}:// needs {package}: pip install {how}")
