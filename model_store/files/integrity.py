"""Digests of files. A file is read once, and the bytes that were checked are the bytes that are used."""

import hashlib
from pathlib import Path

from model_store.errors import IntegrityError
from model_store.files.links import tell_why
from model_store.files.reading import read_regular
from model_store.manifest import File

_MOST_MORE_BYTES = 1 << 20
"""A file that is larger than the published one by more than this is refused without reading it."""


def describe_bytes(content: bytes) -> File:
    return File(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def digest_file(path: Path) -> str:
    """The SHA-256 of a file, which may be larger than memory. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checked(path: Path, expected: File) -> bytes:
    """The content of ``path``. Raises IntegrityError unless size and SHA-256 are those of ``expected``.

    The caller uses the returned bytes and does not open the file again, so it cannot be replaced after the check.
    """
    try:
        content = read_regular(path, expected.size_bytes + _MOST_MORE_BYTES)
    except FileNotFoundError:
        raise IntegrityError(f"{path.name} is missing: restore it or publish the version again") from None
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be read: {tell_why(error)}") from None
    found = describe_bytes(content)
    if found != expected:
        raise IntegrityError(
            f"{path.name} is not the file that was published: expected sha256 {expected.sha256[:12]}… of "
            f"{expected.size_bytes} bytes, got {found.sha256[:12]}… of {found.size_bytes} bytes; "
            "restore it or publish a new version"
        )
    return content
