"""The interface of a remote store, and what its implementations share."""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from model_store.errors import RemoteAway, RemoteError
from model_store.remote.address import Address
from model_store.remote.contents import RemoteFile

MOST_SECONDS = 60.0
"""A read ends with an error if no bytes come for this time."""
CONNECT_S = 10.0


_SECRETS = re.compile(r"\?[^\s'\"<>)]+|(?<=//)[^\s'\"<>/@]+(?=@)")
"""The parts of URLs that may be secret: queries, such as the signature of a redirect, and passwords."""


def tell_fault(error: BaseException) -> str:
    """The first line of a library's error, without secrets of URLs; or the name of its type."""
    line = str(error).strip().partition("\n")[0]
    return _SECRETS.sub("…", line)[:300] or type(error).__name__


def refuse_many(address: Address, most: int, what: str = "files") -> RemoteError:
    return RemoteError(f"{address} lists more than {most} {what}: is it a store of models?")


def read_up_to(read: Callable[[int], bytes], count: int) -> bytes:
    """Up to ``count`` bytes. ``read`` gives the next ones, at most as many as it is told; none at the end."""
    pieces = []
    while count > 0 and (piece := read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


class NotThere(RemoteAway):
    """The store answers, but there is no such bucket or folder. There may be one later."""


class RemoteStore(Protocol):
    """A remote store. Every method may be called from any thread, and raises RemoteAway or RemoteError.

    No method retries for longer than a few seconds: ``transfer.py`` does that.
    """

    def list_files(self, only: Collection[str]) -> Mapping[str, RemoteFile]:
        """All files by their path relative to the root, as the remote store names them. ``only``: the models to list;
        empty: all."""

    def read(self, where: str, start: int, count: int) -> bytes:
        """The bytes of a file from ``start`` on: ``count``, or fewer if the file ends; never more."""

    def publish(self, name: str, number: int, files: Mapping[str, Path], known: Collection[str]) -> None:
        """Write the files of a version, the manifest last. ``known`` are those that the store has already."""

    def write_beside(self, name: str, files: Mapping[str, bytes], known: Mapping[str, bytes]) -> None:
        """Make ``files`` the files that all versions of a model share. ``known`` are those that the store has now."""
