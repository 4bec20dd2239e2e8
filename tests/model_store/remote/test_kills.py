"""A process that is killed while it fetches leaves a copy in which each version is whole or absent."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from model_store import Store
from model_store.files.aliases import ALIASES_FILE
from model_store.remote.mirror import Mirror
from model_store.remote.transfers.progress import NoProgress
from tests.model_store.remote.conftest import ADDRESS, list_versions
from tests.support.models.manifests import describe
from tests.support.remotes.folders import FolderStore

KILLS = 200
_EVENTS = ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "shutil.")


def _refresh(source: Path, cache: Path, kill_at: int) -> None:
    """Refresh once; the process is killed at operation ``kill_at`` on a file of the copy; 0: never."""
    left = kill_at

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.startswith(_EVENTS) and arguments and str(arguments[0]).startswith(str(cache)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    Mirror(ADDRESS, cache / "models", cache, progress=NoProgress(), remote=FolderStore(source)).refresh()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_kills_leave_whole_versions_only(source: Store, tmp_path: Path) -> None:
    """Versions come, go and are named by aliases meanwhile. What is left is made good by the next look."""
    random_numbers = random.Random(26)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    cache = tmp_path / "cache"
    kills = completed = 0
    while kills < KILLS:
        process = context.Process(target=_refresh, args=(source.root, cache, random_numbers.randint(1, 70)))
        process.start()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        _check(Store(cache / "models"))
        if process.exitcode == 0:
            completed += 1
            assert Store(cache / "models").aliases("m") == source.aliases("m")
            _change(source, random_numbers)
    assert completed > 10, "some looks must come to their end, else nothing changes"
    process = context.Process(target=_refresh, args=(source.root, cache, 0))
    process.start()
    process.join()
    assert process.exitcode == 0
    _check(Store(cache / "models"))
    assert list_versions(Store(cache / "models")) == list_versions(source)
    assert not list(cache.rglob(".*")), "nothing half written is left"
    assert not list((cache / "blobs").glob("*.*")), "nor are parts of contents"


def _check(copy: Store) -> None:
    """Every version is whole, and aliases name versions that are there."""
    if not (copy.root / "m").is_dir():
        return
    assert not copy.list_model("m").unusable
    for version in copy.versions("m"):
        version.verify()
    path = copy.root / "m" / ALIASES_FILE
    aliases = json.loads(path.read_text()) if path.exists() else {}
    assert set(aliases.values()) <= set(list_versions(copy))


def _change(source: Store, random_numbers: random.Random) -> None:
    """Publish a version, let an alias name it, and remove the oldest."""
    version = source.publish(describe(), {"main.onnx": random_numbers.randbytes(1000)})
    source.set_alias("m", "stable", version.version)
    shutil.rmtree(source.versions("m")[0].folder)
