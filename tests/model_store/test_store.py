"""Publishing, finding and checking versions in a folder of models."""

import os
import resource
import signal
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

from model_store import BadManifest, BadName, GoldenSamples, IntegrityError, Manifest, NotInStore, Store
from model_store.graph import Graph, Tensor
from model_store.manifest import MANIFEST_FILE, File, Golden
from model_store.store import ALIASES_FILE, PLAIN_FILE
from tests.support.models.graphs import write_plain

REPOSITORY = Path(__file__).resolve().parents[2]
X = Tensor(name="x", datatype="FP32", shape=("batch", 1), batch_axis=0)
GRAPH = Graph(file="main.onnx", inputs=(X,), outputs=(X.model_copy(update={"name": "y"}),))


def describe(name: str = "m", **fields: object) -> Manifest:
    return Manifest.model_validate({"name": name, "task": "tensors", "graphs": {"main": GRAPH}} | fields)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def filled(store: Store) -> Store:
    """Versions 1 and 2 of the model ``m``."""
    for content in (b"one", b"two"):
        store.publish(describe(), {"main.onnx": content})
    return store


@contextmanager
def limited_cpu(seconds: float) -> Iterator[None]:
    """Raises in the body once it has used so much CPU time; a loop that never ends becomes a failure."""

    def stop(signum: int, frame: object) -> None:
        raise RuntimeError(f"still running after {seconds} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def limited_files(size_bytes: int) -> Iterator[None]:
    """A disk that takes no file larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rows_of(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1)


# Publishing


@pytest.mark.parametrize("files", [{}, {"other.onnx": b""}, {"main.onnx": b"", "more.bin": b""}])
def test_files_other_than_the_manifests_are_refused(store: Store, files: dict[str, bytes]) -> None:
    """A version with a file too few or too many is not published, and the store stays empty."""
    with pytest.raises(BadName, match=r"expected \['main\.onnx'\], got"):
        store.publish(describe(), files)
    assert not store.root.exists()


def test_files_include_golden_samples_and_external_data(store: Store) -> None:
    """Golden samples and external weights are files of the version too, and must come with it."""
    graph = GRAPH.model_copy(update={"external_data": ("w.bin",)})
    manifest = describe(graphs={"main": graph}, golden=Golden(rows=1, atol=0.0, rtol=0.0))
    with pytest.raises(BadName, match=r"expected \['golden\.npz', 'main\.onnx', 'w\.bin'\]"):
        store.publish(manifest, {"main.onnx": b""})
    golden = GoldenSamples({"x": rows_of(1)}, {"y": rows_of(2)}).to_bytes()
    version = store.publish(manifest, {"main.onnx": b"", "w.bin": b"w", "golden.npz": golden})
    assert set(version.verify().files) == {"main.onnx", "w.bin", "golden.npz"}


def test_manifest_that_could_not_be_read_again_is_not_published(store: Store) -> None:
    """What bypassed validation on the way in is caught before anything is written."""
    with pytest.raises(BadManifest, match="the new manifest: task"):
        store.publish(describe().model_copy(update={"task": "nonsense"}), {"main.onnx": b""})
    assert not store.root.exists()


@pytest.mark.parametrize("versions_before", [0, 1])
def test_publish_that_fails_midway_leaves_nothing(store: Store, versions_before: int) -> None:
    """When the disk fills while a version is written, the store is as it was: no version, no temporary folder."""
    for _ in range(versions_before):
        store.publish(describe(), {"main.onnx": b"before"})
    before = sorted(store.root.rglob("*"))
    with limited_files(4096), pytest.raises(OSError, match="File too large"):
        store.publish(describe(), {"main.onnx": bytes(8192)})
    assert sorted(store.root.rglob("*")) == before
    assert store.publish(describe(), {"main.onnx": b"after"}).version == versions_before + 1


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path / "unfinished").mkdir(parents=True)])
def test_number_that_is_taken_by_something_else_is_passed_over(filled: Store, make: Callable[[Path], None]) -> None:
    """A file or folder that has the next number, but is no version, keeps it; publishing ends, with a higher one."""
    make(filled.root / "m" / "3")
    with limited_cpu(0.5):
        assert filled.publish(describe(), {"main.onnx": b"three"}).version == 4


def test_graph_called_like_the_manifest_is_refused(store: Store) -> None:
    """A file of the version cannot take the manifest's name."""
    graph = GRAPH.model_copy(update={"file": MANIFEST_FILE})
    with pytest.raises((BadName, BadManifest)):
        store.publish(describe(graphs={"main": graph}), {MANIFEST_FILE: b"onnx"})


def test_threads_that_publish_at_once_get_different_versions(store: Store) -> None:
    """Eight threads with four versions each make the versions 1 to 32, and every content is in one of them."""
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
    """Three processes with six versions each make the versions 1 to 18, and every content is in one of them."""
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
    """Whatever the files hold, a published version passes verification and gives them back byte for byte."""
    files = {f"{i}.bin": content for i, content in enumerate(contents)}
    graph = GRAPH.model_copy(update={"file": "0.bin", "external_data": tuple(files)[1:]})
    version = Store(tmp_path_factory.mktemp("store")).publish(describe(graphs={"main": graph}), files)
    manifest = version.verify()
    assert {name: version.read(manifest, name) for name in manifest.files} == files
    assert manifest.model_copy(update={"files": {}}) == describe(graphs={"main": graph})


def test_published_version_can_be_read_by_others(store: Store) -> None:
    """A service that runs as another user can open what was published."""
    version = store.publish(describe(), {"main.onnx": b"x"})
    assert version.folder.stat().st_mode & 0o055 == 0o055
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in version.folder.iterdir())


# Verifying


@settings(deadline=None, max_examples=20)
@given(at=st.integers(0, 9), by=st.integers(1, 255))
def test_one_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, by: int) -> None:
    """Any single byte of a file that changes is found, and the file is named."""
    version = Store(tmp_path_factory.mktemp("store")).publish(describe(), {"main.onnx": b"0123456789"})
    changed = bytearray(b"0123456789")
    changed[at] ^= by
    (version.folder / "main.onnx").write_bytes(changed)
    with pytest.raises(IntegrityError, match=r"main\.onnx is not the file that was published"):
        version.verify()


def test_missing_file_is_found(filled: Store) -> None:
    """A version without one of its files fails verification."""
    version = filled.find("m", 1)
    (version.folder / "main.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"main\.onnx is missing"):
        version.verify()


@pytest.mark.parametrize("name", ["extra.bin", ".hidden", "main.onnx.bak"])
def test_added_file_is_found(filled: Store, name: str) -> None:
    """A file that was put beside the published ones fails verification, hidden or not."""
    version = filled.find("m", 1)
    (version.folder / name).write_bytes(b"")
    with pytest.raises(IntegrityError, match=f"{name} in m/1 was not published with it: remove it"):
        version.verify()


def test_manifest_of_another_model_is_refused(filled: Store) -> None:
    """A version folder that was copied under another model's name does not pass for it."""
    (filled.root / "m").rename(filled.root / "n")
    with pytest.raises(IntegrityError, match="the manifest in n/2 is of 'm'"):
        filled.find("n").read_manifest()


def test_damaged_manifest_is_named(filled: Store) -> None:
    """A manifest that is not JSON is a BadManifest with model and version."""
    version = filled.find("m", 2)
    (version.folder / MANIFEST_FILE).write_bytes(b"{")
    with pytest.raises(BadManifest, match=r"^m/2/manifest\.json: "):
        version.verify()


def test_file_that_the_manifest_does_not_list_is_not_read(filled: Store) -> None:
    """Only files with a digest are opened, so that no name leads out of the version."""
    version = filled.find("m", 1)
    with pytest.raises(IntegrityError, match=r"\.\./2/main\.onnx is not among the files"):
        version.read(version.read_manifest(), "../2/main.onnx")


# Golden samples


def test_tampered_golden_samples_are_refused(store: Store) -> None:
    """Golden samples are checked against their digest before they are opened."""
    golden = GoldenSamples({"x": rows_of(1)}, {"y": rows_of(2)})
    manifest = describe(golden=Golden(rows=1, atol=0.0, rtol=0.0))
    version = store.publish(manifest, {"main.onnx": b"", "golden.npz": golden.to_bytes()})
    other = GoldenSamples({"x": rows_of(1)}, {"y": rows_of(3)})
    (version.folder / "golden.npz").write_bytes(other.to_bytes())
    with pytest.raises(IntegrityError, match=r"golden\.npz is not the file"):
        version.read_golden(version.read_manifest())


def test_version_without_golden_samples_has_none(filled: Store) -> None:
    """A manifest without golden samples gives None, not an error."""
    version = filled.find("m")
    assert version.read_golden(version.read_manifest()) is None


def test_golden_samples_survive_writing_and_reading() -> None:
    """Names, dtypes, shapes and values come back, also where an input and an output share a name."""
    inputs = {"x": rows_of(1, np.nan), "ids": np.array([[1 << 62]], np.int64)}
    outputs = {"x": np.array([[True]]), "in.y": np.zeros((0, 3), np.float16)}
    again = GoldenSamples.from_bytes(GoldenSamples(inputs, outputs).to_bytes())
    for before, after in ((inputs, again.inputs), (outputs, again.outputs)):
        assert set(after) == set(before)
        for name, array in before.items():
            assert after[name].dtype == array.dtype
            np.testing.assert_array_equal(after[name], array)


# Finding


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "a/b", ".hidden", "-m", "m\n", "m ", "é", "x" * 101])
def test_name_that_the_layout_cannot_hold_is_refused(store: Store, name: str) -> None:
    """No name of a model leads out of the store or hides in it."""
    with pytest.raises(BadName, match="model name"):
        store.versions(name)


def test_unknown_model_names_those_that_exist(filled: Store) -> None:
    """Who asks for a model that is not there is told which ones are."""
    with pytest.raises(NotInStore, match=r"no model 'n' in .*: it holds m"):
        filled.find("n")


@pytest.mark.parametrize(
    ("version", "complaint"), [(3, "no version 3 of 'm': there are 1, 2"), ("0", "no version 0"), ("beta", "no alias")]
)
def test_unknown_version_names_those_that_exist(filled: Store, version: int | str, complaint: str) -> None:
    """Who asks for a version or alias that is not there is told which ones are."""
    with pytest.raises(NotInStore, match=complaint):
        filled.find("m", version)


def test_very_long_number_is_no_version(filled: Store) -> None:
    """A version of thousands of digits is not in the store, whatever Python thinks of such numbers."""
    with pytest.raises(NotInStore):
        filled.find("m", "9" * 5000)


@pytest.mark.parametrize(("version", "number"), [(None, 2), (1, 1), ("1", 1), ("stable", 1)])
def test_version_is_found_by_number_alias_or_age(filled: Store, version: int | str | None, number: int) -> None:
    """A number, the same as text and an alias find a version; nothing finds the newest."""
    filled.set_alias("m", "stable", 1)
    assert filled.find("m", version).version == number


def test_versions_are_ordered_as_numbers(store: Store) -> None:
    """Version 10 is newer than version 9."""
    for _ in range(10):
        store.publish(describe(), {"main.onnx": b""})
    assert [v.version for v in store.versions("m")] == list(range(1, 11))


def test_store_that_does_not_exist_is_empty_and_stays_absent(store: Store) -> None:
    """Reading never writes: a store that is not there holds nothing and is not made."""
    assert store.names() == []
    with pytest.raises(NotInStore, match="it holds no models"):
        store.find("m")
    assert not store.root.exists()


def test_only_whole_versions_are_listed(filled: Store) -> None:
    """Temporary folders, empty ones, text and numbers with a leading zero are no versions, and make no model."""
    for folder in ("m/.publish-x", "m/03", "m/latest", ".cache/1", "n"):
        (filled.root / folder).mkdir(parents=True)
        (filled.root / folder / MANIFEST_FILE).touch()
    (filled.root / "m/4").mkdir()
    assert filled.names() == ["m"]
    assert [v.version for v in filled.versions("m")] == [1, 2]


def test_plain_repository_is_listed_without_a_manifest(tmp_path: Path) -> None:
    """A folder with nothing but model.onnx is a version that says it has no manifest."""
    version = Store(write_plain(tmp_path, "plain", b"onnx", 7)).find("plain")
    assert (version.version, version.is_plain, version.folder.name) == (7, True, "7")
    assert (version.folder / PLAIN_FILE).exists()
    with pytest.raises(NotInStore, match=r"plain version 7 has no manifest\.json"):
        version.read_manifest()


# Aliases


@pytest.mark.parametrize("alias", ["", "1", "1st", ".x", "a/b", "a\n", "x" * 101])
def test_alias_that_could_be_a_number_or_a_path_is_refused(filled: Store, alias: str) -> None:
    """An alias begins with a letter, so that it is never mistaken for a version, and names no path."""
    with pytest.raises(BadName, match="alias"):
        filled.set_alias("m", alias, 1)
    assert filled.aliases("m") == {}


def test_alias_of_a_version_that_is_not_there_is_refused(filled: Store) -> None:
    """An alias cannot be made to point at nothing; the ones before stay."""
    filled.set_alias("m", "stable", 1)
    with pytest.raises(NotInStore, match="no version 3"):
        filled.set_alias("m", "stable", 3)
    assert filled.aliases("m") == {"stable": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff", b'{"a": true}', b'{"a": "1"}', b'{"1": 1}'])
def test_damaged_alias_file_is_refused_and_named(filled: Store, content: bytes) -> None:
    """An alias file that is not an object of numbers is an error that names it, not a silent absence of aliases."""
    (filled.root / "m" / ALIASES_FILE).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"aliases\.json: expected a JSON object"):
        filled.aliases("m")


def test_aliases_are_replaced_and_never_rewritten(filled: Store) -> None:
    """Who has opened the alias file reads the old one to its end while a new one takes its place; no other is left."""
    filled.set_alias("m", "stable", 1)
    before = set((filled.root / "m").iterdir())
    with (filled.root / "m" / ALIASES_FILE).open("rb") as reader:
        filled.set_alias("m", "stable", 2)
        assert reader.read() == b'{"stable": 1}'
    assert filled.aliases("m") == {"stable": 2}
    assert set((filled.root / "m").iterdir()) == before


def test_reader_meets_whole_aliases_only(filled: Store) -> None:
    """A reader beside a writer sees one state or the other at every moment, never none and never half a file."""
    filled.set_alias("m", "stable", 1)
    done = threading.Event()

    def read() -> set[int]:
        seen = {filled.aliases("m")["stable"]}
        while not done.is_set():
            seen.add(filled.aliases("m")["stable"])
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for i in range(40):
            filled.set_alias("m", "stable", 1 + i % 2)
        done.set()
        assert reading.result() <= {1, 2}


def test_aliases_that_are_set_at_once_are_all_kept(filled: Store) -> None:
    """Eight threads that each set aliases of their own lose none of the others'."""
    barrier = threading.Barrier(8)

    def point(thread: int) -> None:
        barrier.wait()
        for i in range(5):
            filled.set_alias("m", f"a{thread}-{i}", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(point, range(8)))
    assert len(filled.aliases("m")) == 40


def test_aliases_can_be_read_by_others(filled: Store) -> None:
    """A service that runs as another user can read the aliases, as it can read the versions."""
    filled.set_alias("m", "stable", 1)
    mode = os.stat(filled.root / "m" / ALIASES_FILE).st_mode
    assert mode & 0o044 == 0o044


def test_file_describes_itself_by_digest_and_size(filled: Store) -> None:
    """The manifest of a published version holds the SHA-256 and the size of each file."""
    digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert filled.find("m", 1).read_manifest().files == {"main.onnx": File(sha256=digest, size_bytes=3)}
