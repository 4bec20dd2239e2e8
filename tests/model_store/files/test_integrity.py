"""Digests of files."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import IntegrityError
from model_store.files.integrity import describe_bytes, read_checked


def test_missing_file_is_an_integrity_error_that_says_what_to_do(tmp_path: Path) -> None:
    """A file that is gone is named, with the advice to restore or publish it."""
    with pytest.raises(IntegrityError, match=r"main\.onnx is missing: restore it or publish"):
        read_checked(tmp_path / "main.onnx", describe_bytes(b"x"))


@pytest.mark.parametrize("found", [b"", b"abc", b"abd\n", b"abcd "])
def test_other_content_is_refused_with_both_digests(tmp_path: Path, found: bytes) -> None:
    """Content of another length, or of the same length with another byte, is refused; both digests are told."""
    (tmp_path / "w.bin").write_bytes(found)
    with pytest.raises(IntegrityError, match=r"w\.bin is not the file that was published") as caught:
        read_checked(tmp_path / "w.bin", describe_bytes(b"abcd"))
    assert hashlib.sha256(found).hexdigest()[:12] in str(caught.value)
    assert hashlib.sha256(b"abcd").hexdigest()[:12] in str(caught.value)
    assert f"of {len(found)} bytes" in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=200))
def test_checked_file_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A file with the digest that was expected is returned byte for byte."""
    path = tmp_path_factory.mktemp("files") / "x"
    path.write_bytes(content)
    assert read_checked(path, describe_bytes(content)) == content
