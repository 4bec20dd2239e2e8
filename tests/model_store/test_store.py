"""Publishing and finding versions in a folder of models."""

import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import BadManifest, BadName, GoldenSamples, NotInStore, Store
from model_store.manifest import MANIFEST_FILE, Golden
from model_store.store import PLAIN_FILE
from tests.support.models.graphs import write_plain
from tests.support.models.manifests import GRAPH, describe

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def limited_files(size_bytes: int) -> Iterator[None]:
    """A disk that takes no file larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Publishing


@pytest.mark.parametrize("files", [{}, {"other.onnx": b""}, {"main.onnx": b"", "more.bin": b""}])
def test_files_other_than_the_manifests_are_refused(store: Store, files: dict[str, bytes]) -> None:
    """A missing or an extra file is refused, and the store stays empty."""
    with pytest.raises(BadName, match=r"expected \['main\.onnx'\], got"):
        store.publish(describe(), files)
    assert not store.root.exists()


def test_files_include_golden_samples_and_external_data(store: Store) -> None:
    """Golden samples and external weights must come with the version."""
    graph = GRAPH.model_copy(update={"external_data": ("w.bin",)})
    manifest = describe(graphs={"main": graph}, golden=Golden(rows=1, atol=0.0, rtol=0.0))
    with pytest.raises(BadName, match=r"expected \['golden\.npz', 'main\.onnx', 'w\.bin'\]"):
        store.publish(manifest, {"main.onnx": b""})
    golden = GoldenSamples({"x": np.ones((1, 1), np.float32)}, {"y": np.full((1, 1), 2, np.float32)}).to_bytes()
    version = store.publish(manifest, {"main.onnx": b"", "w.bin": b"w", "golden.npz": golden})
    assert set(version.verify().files) == {"main.onnx", "w.bin", "golden.npz"}


def test_manifest_that_could_not_be_read_again_is_not_published(store: Store) -> None:
    """A manifest that bypassed validation is refused before anything is written."""
    with pytest.raises(BadManifest, match="the new manifest: task"):
        store.publish(describe().model_copy(update={"task": "nonsense"}), {"main.onnx": b""})
    assert not store.root.exists()


@pytest.mark.parametrize("versions_before", [0, 1])
def test_publish_that_fails_midway_leaves_nothing(store: Store, versions_before: int) -> None:
    """When the disk fills, the store stays as it was."""
    for _ in range(versions_before):
        store.publish(describe(), {"main.onnx": b"before"})
    before = sorted(store.root.rglob("*"))
    with limited_files(4096), pytest.raises(OSError, match="File too large"):
        store.publish(describe(), {"main.onnx": bytes(8192)})
    assert sorted(store.root.rglob("*")) == before
    assert store.publish(describe(), {"main.onnx": b"after"}).version == versions_before + 1


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path / "unfinished").mkdir(parents=True)])
def test_number_that_is_taken_by_something_else_is_passed_over(filled: Store, make: Callable[[Path], None]) -> None:
    """A file or folder with the next number keeps it, and the version gets a higher one."""
    make(filled.root / "m" / "3")
    assert filled.publish(describe(), {"main.onnx": b"three"}).version == 4


def test_graph_called_like_the_manifest_is_refused(store: Store) -> None:
    """A file of the version cannot take the manifest's name."""
    graph = GRAPH.model_copy(update={"file": MANIFEST_FILE})
    with pytest.raises((BadName, BadManifest)):
        store.publish(describe(graphs={"main": graph}), {MANIFEST_FILE: b"onnx"})


def test_threads_that_publish_at_once_get_different_versions(store: Store) -> None:
    """Eight threads with four versions each make the versions 1 to 32 with all their contents."""
    barrier = threading.Barrier(8)

    def publish(thread: int) -> list[int]:
        barrier.wait()
        return [store.publish(describe(), {"main.onnx": b"%d %d" % (thread, i)}).version for i in range(4)]

    with ThreadPoolExecutor(8) as pool:
        numbers = sorted(number for some in pool.map(publish, range(8)) for number in some)
    assert numbers == list(range(1, 33))
    check_contents(store, {b"%d %d" % (thread, i) for thread in range(8) for i in range(4)})


PUBLISHER = """
import sys
from pathlib import Path
from model_store import Manifest, Store
root, who = sys.argv[1:]
manifest = Manifest.model_validate_json(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
for i in range(6):
    print(Store(Path(root)).publish(manifest, {"main.onnx": f"{who} {i}".encode()}).version, flush=True)
"""


def test_processes_that_publish_at_once_get_different_versions(store: Store) -> None:
    """Three processes with six versions each make the versions 1 to 18 with all their contents."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(store.root), str(who)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(3)
    ]
    manifest = describe().model_dump_json() + "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(manifest)
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    numbers = [int(n) for output in start_together(processes) for n in output.split()]
    assert sorted(numbers) == list(range(1, 19))
    check_contents(store, {f"{who} {i}".encode() for who in range(3) for i in range(6)})


def start_together(processes: list["subprocess.Popen[str]"]) -> list[str]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def check_contents(store: Store, expected: set[bytes]) -> None:
    versions = store.versions("m")
    contents = [version.read(version.verify(), "main.onnx") for version in versions]
    assert len(contents) == len(expected)
    assert set(contents) == expected
    assert not list((store.root / "m").glob(".publish-*"))


@settings(deadline=None, max_examples=20)
@given(contents=st.lists(st.binary(max_size=64), min_size=1, max_size=3))
def test_published_version_verifies_and_reads_back(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    """A published version verifies and gives its files back byte for byte."""
    files = {f"{i}.bin": content for i, content in enumerate(contents)}
    graph = GRAPH.model_copy(update={"file": "0.bin", "external_data": tuple(files)[1:]})
    version = Store(tmp_path_factory.mktemp("store")).publish(describe(graphs={"main": graph}), files)
    manifest = version.verify()
    assert {name: version.read(manifest, name) for name in manifest.files} == files
    assert manifest.model_copy(update={"files": {}, "sluice": ""}) == describe(graphs={"main": graph})


def test_published_version_can_be_read_by_others(store: Store) -> None:
    """Another user's service can read what was published."""
    version = store.publish(describe(), {"main.onnx": b"x"})
    assert version.folder.stat().st_mode & 0o055 == 0o055
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in version.folder.iterdir())


# Finding


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "a/b", ".hidden", "-m", "m\n", "m ", "é", "x" * 101])
def test_name_that_the_layout_cannot_hold_is_refused(store: Store, name: str) -> None:
    """No model name leads out of the store or hides in it."""
    with pytest.raises(BadName, match="model name"):
        store.versions(name)


def test_unknown_model_names_those_that_exist(filled: Store) -> None:
    """The message names the models of the store."""
    with pytest.raises(NotInStore, match=r"no model 'n' in .*: it holds m"):
        filled.find("n")


@pytest.mark.parametrize(
    ("version", "complaint"),
    [(3, "no version 3 of 'm': expected one of 1, 2"), ("0", "no version 0"), ("beta", "no alias")],
)
def test_unknown_version_names_those_that_exist(filled: Store, version: int | str, complaint: str) -> None:
    """The message names the versions of the model."""
    with pytest.raises(NotInStore, match=complaint):
        filled.find("m", version)


def test_very_long_number_is_no_version(filled: Store) -> None:
    """A number of thousands of digits is not found."""
    with pytest.raises(NotInStore):
        filled.find("m", "9" * 5000)


@pytest.mark.parametrize(("version", "number"), [(None, 2), (1, 1), ("1", 1), ("stable", 1)])
def test_version_is_found_by_number_alias_or_age(filled: Store, version: int | str | None, number: int) -> None:
    """A number, its text and an alias find a version; None finds the newest."""
    filled.set_alias("m", "stable", 1)
    assert filled.find("m", version).version == number


def test_versions_are_ordered_as_numbers(store: Store) -> None:
    """Version 10 is newer than version 9."""
    for _ in range(10):
        store.publish(describe(), {"main.onnx": b""})
    assert [v.version for v in store.versions("m")] == list(range(1, 11))


def test_store_that_does_not_exist_is_empty_and_stays_absent(store: Store) -> None:
    """Reading a missing store finds nothing and creates nothing."""
    assert store.names() == []
    with pytest.raises(NotInStore, match="it holds no models"):
        store.find("m")
    assert not store.root.exists()


def test_only_whole_versions_are_listed(filled: Store) -> None:
    """Temporary and empty folders, texts, and numbers with a leading zero are no versions."""
    for folder in ("m/.publish-x", "m/03", "m/latest", ".cache/1", "n"):
        (filled.root / folder).mkdir(parents=True)
        (filled.root / folder / MANIFEST_FILE).touch()
    (filled.root / "m/4").mkdir()
    assert filled.names() == ["m"]
    assert [v.version for v in filled.versions("m")] == [1, 2]


def test_plain_repository_is_listed_without_a_manifest(tmp_path: Path) -> None:
    """A folder with only model.onnx is a version without a manifest."""
    version = Store(write_plain(tmp_path, "plain", b"onnx", 7)).find("plain")
    assert (version.version, version.is_plain, version.folder.name) == (7, True, "7")
    assert (version.folder / PLAIN_FILE).exists()
    with pytest.raises(NotInStore, match=r"plain version 7 has no manifest\.json"):
        version.read_manifest()
