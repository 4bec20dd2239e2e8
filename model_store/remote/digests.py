"""Digests of files that may be larger than memory."""

import hashlib
from pathlib import Path


def digest_file(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
