"""What a check of a version's files finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import BadManifest, IntegrityError, Store
from model_store.manifest import MANIFEST_FILE, File
from tests.support.models.manifests import describe


@settings(deadline=None, max_examples=20)
@given(at=st.integers(0, 9), by=st.integers(1, 255))
def test_one_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, by: int) -> None:
    """Any changed byte is found, and the file is named."""
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
    """A file beside the published ones fails verification, hidden or not."""
    version = filled.find("m", 1)
    (version.folder / name).write_bytes(b"")
    with pytest.raises(IntegrityError, match=f"{name} in m/1 is not in its manifest: remove it"):
        version.verify()


def test_manifest_of_another_model_is_refused(filled: Store) -> None:
    """A version folder under another model's name is refused."""
    (filled.root / "m").rename(filled.root / "n")
    with pytest.raises(IntegrityError, match="the manifest in n/2: expected name 'n', got 'm'"):
        filled.find("n").read_manifest()


def test_damaged_manifest_is_named(filled: Store) -> None:
    """The BadManifest names the model and the version."""
    version = filled.find("m", 2)
    (version.folder / MANIFEST_FILE).write_bytes(b"{")
    with pytest.raises(BadManifest, match=r"^m/2/manifest\.json: "):
        version.verify()


def test_file_that_the_manifest_does_not_list_is_not_read(filled: Store) -> None:
    """Only files with a digest are opened, so no name leads out of the version."""
    version = filled.find("m", 1)
    with pytest.raises(IntegrityError, match=r"\.\./2/main\.onnx is not listed in the manifest"):
        version.read(version.read_manifest(), "../2/main.onnx")


def test_file_describes_itself_by_digest_and_size(filled: Store) -> None:
    """The manifest holds the SHA-256 and the size of each file."""
    digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert filled.find("m", 1).read_manifest().files == {"main.onnx": File(sha256=digest, size_bytes=3)}
