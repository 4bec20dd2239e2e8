from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import Store
from model_store.remote.address import Address
from model_store.remote.mirror import Mirror
from model_store.remote.transfers.progress import NoProgress
from tests.support.models.manifests import publish_each
from tests.support.remotes.folders import FolderStore

ADDRESS = Address("s3", "bucket", "models")


def list_versions(store: Store) -> list[int]:
    """The numbers of the versions of ``m``."""
    return [version.version for version in store.versions("m")]


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store with the versions 1 and 2 of the model ``m``; it is what the remote store has."""
    return publish_each(tmp_path / "source", b"one", b"two")


@pytest.fixture
def remote(source: Store) -> FolderStore:
    return FolderStore(source.root)


@pytest.fixture
def copy(tmp_path: Path) -> Store:
    """The folder of the mirror."""
    return Store(tmp_path / "cache" / "models")


class Clock:
    """A clock that a test sets."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_mirror(remote: FolderStore, copy: Store, clock: Clock) -> Callable[[], Mirror]:
    """Makes the mirror of a process that has just started."""
    return lambda: Mirror(ADDRESS, copy.root, copy.root.parent, progress=NoProgress(), remote=remote, clock=clock)


@pytest.fixture
def mirror(open_mirror: Callable[[], Mirror]) -> Mirror:
    return open_mirror()
