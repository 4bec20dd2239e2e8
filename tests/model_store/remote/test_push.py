"""Versions that are sent to a remote store."""

from pathlib import Path

import pytest

from model_store import Store
from model_store.errors import RemoteAway
from model_store.remote.push import push
from model_store.remote.transfers.progress import NoProgress
from tests.support.models.manifests import describe
from tests.support.remotes.folders import FolderStore


@pytest.fixture
def target(tmp_path: Path) -> FolderStore:
    """An empty remote store."""
    (tmp_path / "target").mkdir()
    return FolderStore(tmp_path / "target")


def test_version_that_cannot_be_sent_does_not_stop_the_others(source: Store, target: FolderStore) -> None:
    """Each has its reason: one with a damaged manifest, and one that has no folder of its own."""
    source.publish(describe(name="damaged"), {"main.onnx": b"any"})
    (source.root / "damaged/1/manifest.json").write_bytes(b"{")
    (source.root / "flat").mkdir()
    (source.root / "flat/model.onnx").write_bytes(b"any")
    pushed = push(target, source, {name: source.versions(name) for name in source.names()}, NoProgress())
    assert pushed.sent == {"m": [1, 2]}
    assert pushed.problems.keys() == {("damaged", 1), ("flat", 1)}
    assert "manifest.json" in pushed.problems["damaged", 1]
    assert "move its files to flat/1" in pushed.problems["flat", 1]


def test_store_that_goes_away_ends_the_push(
    source: Store, target: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not a fault of the version that was looked at just then."""
    monkeypatch.setattr("model_store.remote.transfers.retries.FIRST_WAIT_S", 0.0)
    push(target, source, {"m": source.versions("m")}, NoProgress())

    def go_away(*_: object) -> None:
        raise RemoteAway("nobody answers")

    target.before_read = go_away
    with pytest.raises(RemoteAway, match="nobody answers"):
        push(target, source, {"m": source.versions("m")}, NoProgress())
