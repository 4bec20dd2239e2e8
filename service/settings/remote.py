"""The copy of a store that is a URL: its folder, and the mirror that makes it."""

import contextlib
import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from model_store.errors import RemoteAway
from model_store.remote.address import read_address
from model_store.remote.mirror import Mirror


def find_copy(url: str, cache: Path | None) -> tuple[str, Path]:
    """The address without a password, and the folder of its copy. Raises RemoteError."""
    address = str(read_address(url))
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "sluice"
    word = re.sub(r"[^A-Za-z0-9]+", "-", address)[:60]
    return address, folder / f"{word}-{hashlib.sha256(address.encode()).hexdigest()[:12]}" / "models"


def open_mirror(url: str, store: Path, models: Collection[str]) -> Mirror:
    """The mirror that copies some models of a remote store, or all, to the folder ``store``."""
    return Mirror(read_address(url), store, store.parent, only=models)


def bring_copy(url: str, store: Path) -> None:
    """Update the copy. If the remote store does not answer, an older copy is enough.

    Raises RemoteError if there is none; OSError.
    """
    mirror = open_mirror(url, store, ())
    mirror.check()
    with contextlib.suppress(RemoteAway):
        mirror.refresh()


def check_remote(url: str, store: Path, models: Collection[str]) -> None:
    """Make the folder of the copy. Raises RemoteError if there is no copy and the store does not answer; OSError."""
    mirror = open_mirror(url, store, models)
    store.mkdir(parents=True, exist_ok=True)
    store.parent.chmod(0o700)
    mirror.check()
