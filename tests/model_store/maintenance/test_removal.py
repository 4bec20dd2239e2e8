"""Removal of versions: what is refused, what readers see, and what is left of a killed remover."""

import fcntl
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_store import IntegrityError, Manifest, ModelVersion, NotInStore, Store, StoreError
from model_store import store as store_module
from model_store.errors import BadLayout, StillUsed
from model_store.files import staging
from model_store.files.aliases import History, read_history, write_aliases
from model_store.maintenance.moves import promote
from model_store.maintenance.removal import collect, remove
from model_store.rollout import ROLLOUT_FILE, Rollout, read_rollout, write_rollout
from tests.support.models.graphs import write_plain
from tests.support.models.manifests import describe, describe_pipeline


@pytest.fixture
def six(filled: Store) -> Store:
    """Versions 1 to 6 of the model ``m``."""
    for number in range(3, 7):
        filled.publish(describe(), {"main.onnx": b"%d" % number})
    return filled


def numbers(store: Store, name: str = "m") -> list[int]:
    return [version.version for version in store.versions(name)]


def try_out(store: Store, **roles: int) -> Path:
    """Put versions on trial, as canary and shadow. Returns the file."""
    begun = {"percent": 5.0, "begun": "2026-01-02T03:04:05Z"}
    trials = {role: {"version": number, **begun} for role, number in roles.items()}
    write_rollout(store.root / "m", Rollout.model_validate(trials))
    return store.root / "m" / ROLLOUT_FILE


def test_version_that_something_names_is_refused_and_nothing_is_removed(six: Store) -> None:
    """Aliases, canary, shadow and pipelines are named; versions that were given beside it stay too."""
    promote(six, "m", 2)
    try_out(six, canary=3, shadow=4)
    six.publish(describe_pipeline("p", ("m", "5")), {})
    for number, user in ((2, "the alias stable"), (3, "its canary"), (4, "its shadow"), (5, "the pipeline p 1")):
        with pytest.raises(StillUsed, match=f"version {number} of 'm' is named by {user}: .*--force"):
            remove(six, "m", ["1", str(number)])
    assert numbers(six) == [1, 2, 3, 4, 5, 6]


def test_forced_removal_takes_the_names_along(six: Store) -> None:
    """No alias, canary or shadow names a version that is not there; others stay."""
    promote(six, "m", 2)
    six.set_alias("m", "beta", 6)
    rollout = try_out(six, canary=3, shadow=6)
    removed = remove(six, "m", ["stable", "3"], force=True)
    assert [(each.version, each.named_by) for each in removed] == [(2, ("the alias stable",)), (3, ("its canary",))]
    assert six.aliases("m") == {"beta": 6}
    assert read_rollout(six.root / "m").versions == {6}
    remove(six, "m", ["6"], force=True)
    assert not rollout.exists()


@pytest.mark.parametrize("file", ["aliases.json", "rollout.json"])
def test_nothing_is_removed_while_it_cannot_be_told_what_is_named(six: Store, file: str) -> None:
    """A damaged file could have named any version."""
    (six.root / "m" / file).write_bytes(b"{")
    for force in (False, True):
        with pytest.raises(IntegrityError, match=file):
            remove(six, "m", ["1"], force=force)
    with pytest.raises(IntegrityError, match=file):
        collect(six, ["m"], 1)
    assert numbers(six) == [1, 2, 3, 4, 5, 6]


def test_last_version_of_a_pipelines_model_is_refused(six: Store) -> None:
    """A step that names no version needs any."""
    six.publish(describe_pipeline("p", ("m", None)), {})
    remove(six, "m", ["1", "2", "3", "4", "5"])
    with pytest.raises(StillUsed, match="'m' would have no version left, and is a step of p 1"):
        remove(six, "m", ["6"])
    assert numbers(six) == [6]


def test_number_of_a_removed_version_is_not_used_again(six: Store) -> None:
    """Whoever has seen version 6 never meets another one under that number, even if all were removed."""
    remove(six, "m", ["6"])
    assert six.publish(describe(), {"main.onnx": b""}).version == 7
    remove(six, "m", None)
    assert six.names() == []
    assert six.list_all() == {}
    with pytest.raises(NotInStore, match=r"no model 'm' in .*: it holds no models"):
        six.versions("m")
    assert six.publish(describe(), {"main.onnx": b""}).version == 8


def test_number_is_taken_under_the_lock(six: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the numbers and the claim, nobody else publishes and removes the same one."""
    looks = []

    def look(folder: Path) -> History:
        with pytest.raises(BlockingIOError):
            lock_at_once(folder)
        looks.append(folder)
        return read_history(folder)

    monkeypatch.setattr(store_module, "read_history", look)
    assert six.publish(describe(), {"main.onnx": b""}).version == 7
    assert looks == [six.root / "m"]


def lock_at_once(folder: Path) -> None:
    """Raises BlockingIOError if another one holds the lock of the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_nobody_waits_while_files_are_read_or_deleted(six: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback need not wait until gc has checked large files, or deleted them."""
    promote(six, "m", 6)
    verify, rmtree = ModelVersion.verify, shutil.rmtree
    seen = []

    def check(version: ModelVersion) -> Manifest:
        lock_at_once(six.root / "m")
        seen.append("read")
        return verify(version)

    def delete(path: Path, *args: object, **kwargs: object) -> None:
        lock_at_once(six.root / "m")
        seen.append("deleted")
        rmtree(path)

    monkeypatch.setattr(ModelVersion, "verify", check)
    monkeypatch.setattr(staging.shutil, "rmtree", delete)
    collect(six, ["m"], 2)
    assert seen == ["read", "read", *["deleted"] * 4]


def test_damaged_version_can_be_removed(six: Store) -> None:
    """One without a manifest, and one that is a file, go as any other."""
    (six.root / "m" / "5" / "manifest.json").unlink()
    shutil.rmtree(six.root / "m" / "4")
    (six.root / "m" / "4").touch()
    assert [each.version for each in remove(six, "m", ["4", "5"])] == [4, 5]
    assert sorted(p.name for p in (six.root / "m").iterdir()) == ["1", "2", "3", "6", "history.json"]


def test_version_without_a_folder_of_its_own_is_left_to_its_owner(store: Store) -> None:
    """Of ``m/model.onnx`` the folder is not removed, because it holds what others put there."""
    write_plain(store.root, "flat", b"onnx")
    (store.root / "flat" / "1" / "model.onnx").rename(store.root / "flat" / "model.onnx")
    (store.root / "flat" / "1").rmdir()
    with pytest.raises(BadLayout, match="version 1 of 'flat' has no folder of its own"):
        remove(store, "flat", ["1"])
    assert numbers(store, "flat") == [1]


def test_link_is_removed_and_what_it_leads_to_stays(six: Store) -> None:
    """A version may be a link to a folder of the store."""
    (six.root / "m" / "6").rename(six.root / "m" / "kept")
    (six.root / "m" / "6").symlink_to("kept")
    remove(six, "m", ["6"])
    assert not os.path.lexists(six.root / "m" / "6")
    assert (six.root / "m" / "kept" / "main.onnx").exists()


def test_rehearsal_changes_nothing(six: Store) -> None:
    """It tells what would go, with its size."""
    before = {path: path.stat().st_mtime_ns for path in six.root.rglob("*")}
    assert [each.version for each in remove(six, "m", ["1", "2"], dry_run=True)] == [1, 2]
    gone, _ = collect(six, ["m"], 2, dry_run=True)
    assert [each.version for each in gone] == [1, 2, 3, 4]
    assert gone[0].size_bytes == sum(file.stat().st_size for file in (six.root / "m" / "1").iterdir())
    assert {path: path.stat().st_mtime_ns for path in six.root.rglob("*")} == before


def test_what_a_killed_remover_left_is_hidden_and_swept(six: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is gone at once; the next publisher deletes its files."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(staging.shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            remove(six, "m", ["2"])
    assert numbers(six) == [1, 3, 4, 5, 6]
    assert [path.name[:11] for path in (six.root / "m").glob(".*")] == [".removed-2-"]
    six.publish(describe(), {"main.onnx": b""})
    assert list((six.root / "m").glob(".*")) == []


def test_reader_beside_a_remover_sees_a_version_whole_or_is_told(store: Store) -> None:
    """A server that reads a version while it is removed gets all that was published, or an error; never a part."""
    files = {"main.onnx": b"m" * 4000, "w.bin": b"w" * 4000}
    graph = describe().graphs["main"].model_copy(update={"external_data": ("w.bin",)})
    for _ in range(40):
        store.publish(describe(graphs={"main": graph}), files)
    done = threading.Event()

    def read() -> int:
        whole = 0
        while not done.is_set():
            for version in store.versions("m"):
                try:
                    _, contents = version.read_all()
                except (StoreError, OSError):
                    continue
                assert contents == files
                whole += 1
        return whole

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        for number in range(1, 40):
            remove(store, "m", [str(number)])
        done.set()
        assert all(each.result() for each in reading)
    assert numbers(store) == [40]


def test_alias_is_never_set_on_a_version_that_is_being_removed(six: Store) -> None:
    """Whichever comes first, the other is refused: no alias names a version that is not there."""
    barrier = threading.Barrier(2)

    def attempt(action: str) -> bool:
        barrier.wait()
        try:
            remove(six, "m", ["3"]) if action == "remove" else six.set_alias("m", "beta", 3)
        except (NotInStore, StillUsed):
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        removed, named = pool.map(attempt, ["remove", "name"])
    assert removed != named
    assert (3 in numbers(six)) == (six.aliases("m") == {"beta": 3}) == named


def test_old_versions_that_something_needs_are_kept(six: Store) -> None:
    """Kept are the newest, the named ones, and the one to which a rollback would go; each with its reason."""
    six.set_alias("m", "old", 1)
    promote(six, "m", 2)
    promote(six, "m", 6)
    removed, kept = collect(six, ["m"], 1)
    assert [each.version for each in removed] == [3, 4, 5]
    assert [(each.version, each.reason) for each in kept] == [
        (1, "the alias old names it"),
        (2, "a rollback would go to it"),
    ]
    assert numbers(six) == [1, 2, 6]


def test_damaged_new_versions_do_not_push_out_the_last_good_ones(six: Store) -> None:
    """What cannot serve is not counted among the newest, and is left to its owner."""
    (six.root / "m" / "6" / "main.onnx").write_bytes(b"7")
    (six.root / "m" / "5" / "manifest.json").write_bytes(b"{")
    removed, kept = collect(six, ["m"], 2)
    assert [each.version for each in removed] == [1, 2]
    assert {each.version: each.reason.partition(":")[0] for each in kept} == dict.fromkeys((5, 6), "it is damaged")
    assert numbers(six) == [3, 4, 5, 6]


def test_alias_without_its_version_hinders_no_removal(six: Store) -> None:
    """Someone may have deleted the folder by hand."""
    write_aliases(six.root / "m", {"stable": 9})
    assert [each.version for each in collect(six, ["m"], 5)[0]] == [1]
