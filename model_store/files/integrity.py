"""Digests: a file is read once, and what was read is what is checked and what is used."""

import hashlib
from pathlib import Path

from model_store.errors import IntegrityError
from model_store.manifest import File


def describe_bytes(content: bytes) -> File:
    return File(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def read_checked(path: Path, expected: File) -> bytes:
    """The content of ``path``; raises IntegrityError unless its size and SHA-256 are those of ``expected``.

    The caller uses the returned bytes and does not open the file again, so that nothing can be put in its place between
    the check and the use.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(f"{path.name} is missing: restore it or publish the version again") from None
    found = describe_bytes(content)
    if found != expected:
        raise IntegrityError(
            f"{path.name} is not the file that was published: expected sha256 {expected.sha256[:12]}… of "
            f"{expected.size_bytes} bytes, got {found.sha256[:12]}… of {found.size_bytes} bytes; "
            "restore it or publish a new version"
        )
    return content
