"""What the mirror and ``push`` need of a remote store."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from model_store.errors import RemoteAway
from model_store.remote.contents import RemoteFile

MOST_SECONDS = 60.0
"""A read that gets nothing for so long is given up."""
CONNECT_S = 10.0


_SECRETS = re.compile(r"\?[^\s'\"<>)]+|(?<=//)[^\s'\"<>/@]+(?=@)")
"""What addresses may have of secrets: queries, such as the signature of one that a store leads to; and passwords."""


def tell_fault(error: BaseException) -> str:
    """What a library says, in one line without the secrets of addresses; or the name of its error."""
    line = str(error).strip().partition("\n")[0]
    return _SECRETS.sub("…", line)[:300] or type(error).__name__


class NotThere(RemoteAway):
    """The store answers, and has no such bucket or folder: there may be one later."""


class Place(Protocol):
    """A remote store. Every method may be called from any thread, and raises RemoteAway or RemoteError.

    None of them asks again by itself for longer than a few seconds: ``transfer.py`` does that.
    """

    def look(self, only: Collection[str]) -> Mapping[str, RemoteFile]:
        """All files by their path relative to the root, as the remote store names them. ``only``: the models that
        matter; empty: all."""

    def read(self, where: str, start: int, count: int) -> bytes:
        """The bytes of a file from ``start`` on: ``count``, or fewer where it ends; never more."""

    def publish(self, name: str, number: int, files: Mapping[str, Path], known: Collection[str]) -> None:
        """Write the files of a version, its manifest last. ``known``: those that are there already."""

    def write_beside(self, name: str, files: Mapping[str, bytes], known: Mapping[str, bytes]) -> None:
        """Let the files that all versions of a model share be these. ``known`` are those that are there."""
