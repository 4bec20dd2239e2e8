"""Remote stores that try to keep a mirror from its work."""

from pathlib import Path

import pytest

from model_store import Store
from model_store.remote.contents import RemoteFile
from model_store.remote.mirror import Mirror
from tests.support.remotes.folders import FolderPlace


def list_versions(store: Store, name: str = "m") -> list[int]:
    return [version.version for version in store.versions(name)]


@pytest.mark.parametrize(
    "listed",
    [
        {"a/1/main.onnx": RemoteFile("", 10**30, "")},
        {"a/1/main.onnx": RemoteFile("", 3, ""), "a/1/main.onnx/other.onnx": RemoteFile("", 3, "")},
        {"m/1": RemoteFile("", 3, "")},
    ],
    ids=["larger than the disk", "file and folder at once", "file with the name of a version"],
)
def test_objects_that_no_folder_can_have_do_not_stop_the_others(
    mirror: Mirror, place: FolderPlace, copy: Store, monkeypatch: pytest.MonkeyPatch, listed: dict[str, RemoteFile]
) -> None:
    """Whoever may publish one model of a bucket cannot keep the other models from being followed."""
    look, read = place.look, place.read
    monkeypatch.setattr(place, "look", lambda only: {**listed, **look(only)})
    monkeypatch.setattr(place, "read", lambda where, *part: read(where, *part) if where else b"any")
    mirror.refresh()
    assert list_versions(copy) == [1, 2]


@pytest.mark.parametrize("first", ["note", "note/text"])
def test_file_that_becomes_a_folder_is_mended(
    mirror: Mirror, place: FolderPlace, source: Store, copy: Store, first: str
) -> None:
    """And the other way round: what no manifest lists may change, and does not stop the mirror."""
    folder = source.root / "m/1"

    def write(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"any")

    write(folder / first)
    mirror.refresh()
    (folder / first).unlink()
    if first == "note/text":
        (folder / "note").rmdir()
    second = "note" if first == "note/text" else "note/text"
    write(folder / second)
    mirror.refresh()
    assert (copy.root / "m/1" / second).read_bytes() == b"any"
