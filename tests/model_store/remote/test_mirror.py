"""A folder is kept equal to a remote store, whatever that does."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from model_store import Store
from model_store.errors import RemoteAway, RemoteError
from model_store.remote.contents import RemoteFile
from model_store.remote.mirror import Mirror
from model_store.remote.state import Status, read_status
from model_store.remote.transfers.blobs import PART_BYTES
from model_store.remote.transfers.retries import MOST_TRIES
from tests.model_store.remote.conftest import Clock, list_versions
from tests.support.models.manifests import describe
from tests.support.remotes.folders import FolderStore

LARGE = bytes(range(256)) * (PART_BYTES // 128) + b"end"
"""Of three parts."""


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_store.remote.transfers.retries.FIRST_WAIT_S", 0.0)


def status_of(store: Store) -> Status:
    return read_status(store.root.parent)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def test_copy_has_what_the_remote_store_has(mirror: Mirror, source: Store, copy: Store) -> None:
    """Every file, with its digest; a second look changes and reads nothing more."""
    source.set_alias("m", "stable", 1)
    assert mirror.refresh() == {"m"}
    assert [version.verify().name for version in copy.versions("m")] == ["m", "m"]
    assert copy.aliases("m") == {"stable": 1}
    assert mirror.refresh() == frozenset()


def test_model_appears_with_its_aliases_and_all_its_versions(
    mirror: Mirror, remote: FolderStore, source: Store, copy: Store
) -> None:
    """Nobody sees a new model before it is as it should be."""
    source.set_alias("m", "stable", 1)
    seen = []
    remote.before_read = lambda *_: seen.append((copy.root / "m").exists())
    mirror.refresh()
    assert seen
    assert not any(seen)
    assert list_versions(copy) == [1, 2]


def test_alias_moves_after_its_version_has_come(
    mirror: Mirror, remote: FolderStore, source: Store, copy: Store
) -> None:
    """Until then it means the version that it meant before."""
    source.set_alias("m", "stable", 1)
    mirror.refresh()
    source.publish(describe(), {"main.onnx": b"three"})
    source.set_alias("m", "stable", 3)
    flip(source.root / "m/3/main.onnx", 5)
    mirror.refresh()
    assert (copy.aliases("m"), list_versions(copy)) == ({"stable": 1}, [1, 2])
    flip(source.root / "m/3/main.onnx", 5)
    mirror.refresh()
    assert (copy.aliases("m"), list_versions(copy)) == ({"stable": 3}, [1, 2, 3])


def test_flipped_bit_in_any_file_keeps_the_version_away(
    open_mirror: Callable[[], Mirror], source: Store, copy: Store
) -> None:
    """Its other versions come, and the status says why. Of a manifest: in a digest, and where it is no JSON then.

    Elsewhere in a manifest only a signature, or a registry, tells.
    """
    manifest = source.root / "m/2/manifest.json"
    places = [(manifest, 0), (manifest, 8 * (manifest.read_bytes().index(b'"sha256"') + 12))]
    places += [(path, bit) for path in (source.root / "m/2").iterdir() if path != manifest for bit in (0, 13, 23)]
    for path, bit in places:
        flip(path, bit)
        open_mirror().refresh()
        assert list_versions(copy) == [1]
        assert status_of(copy).problems["m"][2].startswith("m/2")
        flip(path, bit)
        shutil.rmtree(copy.root.parent)


@pytest.mark.parametrize("file", ["main.onnx", "manifest.json"])
def test_flipped_bit_in_the_copy_is_mended_by_a_new_look_at_it(
    mirror: Mirror, open_mirror: Callable[[], Mirror], source: Store, copy: Store, file: str
) -> None:
    """A version whose state is not known any more is compared with its digests; here a file of another size."""
    mirror.refresh()
    path = copy.root / "m/2" / file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    state = copy.root.parent / "state.json"
    found = json.loads(state.read_text())
    found["versions"]["m"]["2"]["marks"] = {}
    state.write_text(json.dumps(found))
    open_mirror().refresh()
    copy.find("m", 2).verify()


def test_only_parts_that_are_missing_are_fetched_again(
    open_mirror: Callable[[], Mirror], remote: FolderStore, source: Store, copy: Store
) -> None:
    """A transfer that was cut off goes on where it was, also in another process."""
    source.publish(describe(), {"main.onnx": LARGE})
    digest = source.find("m", 3).read_manifest().files["main.onnx"].sha256

    def fail(where: str, start: int, count: int) -> None:
        if where == "m/3/main.onnx" and start == PART_BYTES:
            raise RemoteAway("it is gone")

    remote.before_read = fail
    with pytest.raises(RemoteAway):
        open_mirror().refresh()
    before = {start for where, start, _ in remote.reads if where == "m/3/main.onnx"}
    kept = {int(line) for line in (copy.root.parent / f"blobs/{digest}.done").read_text().split()}
    assert kept <= {start // PART_BYTES for start in before}
    remote.before_read, remote.reads = lambda *_: None, []
    open_mirror().refresh()
    fetched = {start // PART_BYTES for where, start, _ in remote.reads if where == "m/3/main.onnx"}
    assert fetched == {0, 1, 2} - kept
    copy.find("m", 3).verify()


def test_damaged_part_of_an_earlier_transfer_is_fetched_again(
    open_mirror: Callable[[], Mirror], remote: FolderStore, source: Store, copy: Store
) -> None:
    """Such as one that a machine had not yet written when its power failed."""
    source.publish(describe(), {"main.onnx": LARGE})
    digest = source.find("m", 3).read_manifest().files["main.onnx"].sha256
    blobs = copy.root.parent / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.part").write_bytes(bytes(len(LARGE)))
    (blobs / f"{digest}.done").write_text("0\n1\n2\n")
    open_mirror().refresh()
    copy.find("m", 3).verify()
    assert not list(blobs.glob("*.part"))


def test_tries_end_after_a_few_and_what_is_lost_once_is_no_fault(
    mirror: Mirror, remote: FolderStore, copy: Store
) -> None:
    failures = iter([True, False] * MOST_TRIES)

    def fail_now_and_then(*_: object) -> None:
        if next(failures, False):
            raise RemoteAway("reset by peer")

    remote.before_read = fail_now_and_then
    mirror.refresh()
    assert list_versions(copy) == [1, 2]


def test_store_that_is_away_leaves_the_copy_and_says_so(
    mirror: Mirror, remote: FolderStore, source: Store, copy: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of the log when it goes, and one when it is back; the card tells it all the time."""
    caplog.set_level("INFO", logger="sluice.store")
    mirror.refresh()
    remote.is_away = True
    caplog.clear()
    for _ in range(3):
        with pytest.raises(RemoteAway, match="nobody answers"):
            mirror.refresh()
        clock.now_s += 10
    assert list_versions(copy) == [1, 2]
    assert "cannot be followed, and its copy serves: nobody answers" in status_of(copy).tell("m")
    assert status_of(copy).away_since_s == clock.now_s - 30
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    remote.is_away = False
    source.publish(describe(), {"main.onnx": b"three"})
    assert mirror.refresh() == {"m"}
    assert status_of(copy).tell("m") == ""
    assert "is back" in caplog.text


def test_store_that_is_empty_all_at_once_removes_nothing(mirror: Mirror, source: Store, copy: Store) -> None:
    """A bucket that was made anew, or the wrong one."""
    mirror.refresh()
    shutil.rmtree(source.root / "m")
    with pytest.raises(RemoteAway, match="lists no models"):
        mirror.refresh()
    assert list_versions(copy) == [1, 2]


def test_what_is_removed_there_is_removed_here(mirror: Mirror, source: Store, copy: Store) -> None:
    source.set_alias("m", "stable", 2)
    source.publish(describe(name="other"), {"main.onnx": b"other"})
    mirror.refresh()
    shutil.rmtree(source.root / "m/1")
    shutil.rmtree(source.root / "other")
    (source.root / "m/aliases.json").unlink()
    assert mirror.refresh() == {"m", "other"}
    assert (copy.names(), list_versions(copy), copy.aliases("m")) == (["m"], [2], {})
    blobs = copy.root.parent / "blobs"
    assert len(list(blobs.iterdir())) == 2, "what no version has is removed"


def test_version_that_changes_there_is_refused(mirror: Mirror, source: Store, copy: Store, clock: Clock) -> None:
    """A version never changes: what has come first stays, and the status says what to do."""
    mirror.refresh()
    before = (copy.root / "m/2/main.onnx").read_bytes()
    shutil.rmtree(source.root / "m/2")
    source.publish(describe(), {"main.onnx": b"another"})
    mirror.refresh()
    assert (copy.root / "m/2/main.onnx").read_bytes() == before
    assert "versions never change" in status_of(copy).problems["m"][2]


def test_file_that_is_added_to_a_version_comes(mirror: Mirror, source: Store, copy: Store) -> None:
    """Such as a signature. The files that are here stay the same files."""
    mirror.refresh()
    inode = (copy.root / "m/2/main.onnx").stat().st_ino
    (source.root / "m/2/model.sig").write_bytes(b"signed")
    assert mirror.refresh() == {"m"}
    assert (copy.root / "m/2/model.sig").read_bytes() == b"signed"
    assert (copy.root / "m/2/main.onnx").stat().st_ino == inode


def test_plain_versions_come_and_may_change(mirror: Mirror, source: Store, copy: Store) -> None:
    """A Triton repository: its configuration is there before a version is."""
    folder = source.root / "plain"
    (folder / "1" / "model.onnx").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("name: 'plain'")
    (folder / "1/model.onnx/model.onnx").write_bytes(b"old")
    (folder / "1/model.onnx/weights").write_bytes(b"")
    mirror.refresh()
    assert (copy.root / "plain/1/model.onnx/model.onnx").read_bytes() == b"old"
    assert (copy.root / "plain/config.pbtxt").read_text() == "name: 'plain'"
    (folder / "1/model.onnx/model.onnx").write_bytes(b"newer")
    assert mirror.refresh() == {"plain"}
    assert (copy.root / "plain/1/model.onnx/model.onnx").read_bytes() == b"newer"


def test_version_that_is_being_uploaded_waits(mirror: Mirror, source: Store, copy: Store, clock: Clock) -> None:
    """It comes when it is whole."""
    source.publish(describe(), {"main.onnx": b"three"})
    held = (source.root / "m/3/main.onnx").rename(source.root / "held")
    mirror.refresh()
    assert list_versions(copy) == [1, 2]
    assert "is not whole: main.onnx is not there" in status_of(copy).problems["m"][3]
    held.rename(source.root / "m/3/main.onnx")
    mirror.refresh()
    assert list_versions(copy) == [1, 2, 3]


def write_manifest(source: Store, content: bytes) -> None:
    (source.root / "m/2/manifest.json").write_bytes(content)


@pytest.mark.parametrize(
    "files",
    [
        {"../../escaped": {"sha256": "0" * 64, "size_bytes": 1}},
        {"/escaped": {"sha256": "0" * 64, "size_bytes": 1}},
        {"manifest.json": {"sha256": "0" * 64, "size_bytes": 1}},
        {"main.onnx": {"sha256": "0" * 64, "size_bytes": 1 << 62}},
        {"main.onnx": {"sha256": "0" * 64, "size_bytes": -1}},
        {"main.onnx": {"sha256": "../../x", "size_bytes": 3}},
        [],
    ],
)
def test_hostile_manifest_keeps_its_version_away(
    mirror: Mirror, source: Store, copy: Store, files: object, tmp_path: Path
) -> None:
    """Nothing is written elsewhere, and the other versions come."""
    write_manifest(source, json.dumps({"name": "m", "files": files}).encode())
    before = set(tmp_path.parent.iterdir())
    mirror.refresh()
    assert list_versions(copy) == [1]
    assert 2 in status_of(copy).problems["m"]
    assert not Path("/escaped").exists()
    assert set(tmp_path.parent.iterdir()) == before


def test_manifest_of_unlimited_size_is_not_read(
    mirror: Mirror, source: Store, remote: FolderStore, copy: Store
) -> None:
    remote.has_sizes = False
    os.truncate(source.root / "m/2/manifest.json", 1 << 40)
    mirror.refresh()
    assert list_versions(copy) == [1]
    assert "more than" in status_of(copy).problems["m"][2]
    assert max(count for _, _, count in remote.reads) < 32 << 20


def test_more_bytes_than_promised_are_not_written(
    mirror: Mirror, remote: FolderStore, source: Store, copy: Store
) -> None:
    """A store that gives more than was asked for has a fault; its version does not come."""
    remote.before_read = lambda where, start, count: b"x" * (count + 1) if where == "m/2/main.onnx" else None
    mirror.refresh()
    assert list_versions(copy) == [1]


def test_symbolic_links_there_are_none_here(mirror: Mirror, source: Store, copy: Store) -> None:
    """Only bytes come over, so no link leads anywhere."""
    mirror.refresh()
    assert not any(path.is_symlink() for path in copy.root.rglob("*"))


def test_too_little_space_is_told_before_anything_is_fetched(
    mirror: Mirror, remote: FolderStore, copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1

    monkeypatch.setattr("model_store.remote.synchronizer.shutil.disk_usage", lambda _: Usage)
    mirror.refresh()
    assert status_of(copy).tell("m", 2) == "version 2: m/2: 3 B are to be fetched, 1 B are free: make room"
    assert not any(where.endswith("main.onnx") for where, *_ in remote.reads)


def test_version_that_cannot_be_had_does_not_stop_the_others(
    mirror: Mirror, remote: FolderStore, source: Store, copy: Store
) -> None:
    """A file that only the list knows is a fault of its version; the store is not away."""

    def refuse(where: str, start: int, count: int) -> None:
        if where == "m/2/main.onnx":
            raise RemoteError("denied")

    remote.before_read = refuse
    mirror.refresh()
    assert list_versions(copy) == [1]
    assert status_of(copy).tell("m", 2) == "version 2: denied"


def test_one_process_looks_until_it_ends(
    open_mirror: Callable[[], Mirror], remote: FolderStore, source: Store, copy: Store
) -> None:
    """Another one that starts meanwhile waits for its first look, and takes over when it has ended."""
    looks, held, goes_on = [], threading.Event(), threading.Event()
    list_files = remote.list_files

    def hold(only: Collection[str]) -> Mapping[str, RemoteFile]:
        looks.append(only)
        held.set()
        goes_on.wait(60)
        return list_files(only)

    remote.list_files = hold  # type: ignore[method-assign]  # a double
    first, second = open_mirror(), open_mirror()
    found = {}
    begun = threading.Thread(target=lambda: found.update(first=first.refresh_first()))
    begun.start()
    held.wait(60)
    waiting = threading.Thread(target=lambda: found.update(second=second.refresh_first(), seen=list_versions(copy)))
    waiting.start()
    goes_on.set()
    begun.join()
    waiting.join()
    assert found == {"first": {"m"}, "second": frozenset(), "seen": [1, 2]}
    source.publish(describe(), {"main.onnx": b"three"})
    assert second.refresh_if_leader() == frozenset()
    assert len(looks) == 1
    first.close()
    assert second.refresh_if_leader() == {"m"}
    assert list_versions(copy) == [1, 2, 3]


def test_start_without_a_copy_needs_the_store(open_mirror: Callable[[], Mirror], remote: FolderStore) -> None:
    """With a copy it does not even ask."""
    remote.is_away = True
    with pytest.raises(RemoteAway):
        open_mirror().check()
    remote.is_away = False
    open_mirror().refresh()
    remote.is_away = True
    open_mirror().check()


def test_another_address_shares_no_state(mirror: Mirror, copy: Store, remote: FolderStore, clock: Clock) -> None:
    """What an earlier address had is not taken for what this one has."""
    from model_store.remote.address import Address

    mirror.refresh()
    other = Mirror(Address("s3", "other", ""), copy.root, copy.root.parent, remote=remote, clock=clock)
    assert other.refresh() == frozenset()
    assert list_versions(copy) == [1, 2]
