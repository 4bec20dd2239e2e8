"""The contents of files by digest: what was fetched, and the parts of what is being fetched.

A file is fetched in parts, several at once, into ``<key>.part``. The numbers of the parts that have arrived are lines
of ``<key>.done``, so that after a crash only the others are fetched. When all have arrived, the digest is checked, and
becomes the name of the file. Versions have hard links to these files. So a content that several versions share is on
the disk once, and one without links is no longer needed.
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from model_store.files.integrity import digest_file
from model_store.files.writing import sync_folder

PART_BYTES = 8 << 20


class Blobs:
    """A folder that one process at a time writes to. Its methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, sha256: str) -> bool:
        return (self.folder / sha256).is_file()

    def add(self, content: bytes) -> str:
        """Keep a small content. Returns its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not (self.has(sha256) and self.verify(sha256)):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f"{sha256}.part"
            part.write_bytes(content)
            self._keep(part, sha256)
        return sha256

    def begin(self, key: str, size: int) -> list[int]:
        """Make the file for a content. Returns the numbers of the parts that have not arrived yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._part(key)
        with part.open("ab") as file:
            if file.tell() != size:
                self._done(key).unlink(missing_ok=True)
                file.truncate(size)
        done = self._read_done(key)
        return [number for number in range(-(-size // PART_BYTES)) if number not in done]

    def write_part(self, key: str, number: int, content: bytes) -> None:
        """Keep a part. Any thread may call it."""
        with self._part(key).open("r+b") as file:
            file.seek(number * PART_BYTES)
            file.write(content)
        with self._done(key).open("ab", buffering=0) as file:
            file.write(f"{number}\n".encode())

    def finish(self, key: str, sha256: str) -> str:
        """Keep a content whose parts have all arrived, if it has this digest; "": any. Returns the digest that it has.

        If the digest is another one, the parts are dropped.
        """
        part = self._part(key)
        found = digest_file(part)
        if sha256 in ("", found):
            self._keep(part, found)
        else:
            part.unlink()
        self._done(key).unlink(missing_ok=True)
        return found

    def verify(self, sha256: str) -> bool:
        """Whether a content of this folder is undamaged."""
        return digest_file(self.folder / sha256) == sha256

    def link(self, sha256: str, path: Path) -> None:
        """Put a content into the folder of a version. If the file system has no hard links, it is copied."""
        try:
            os.link(self.folder / sha256, path)
        except OSError:
            shutil.copyfile(self.folder / sha256, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def drop(self, sha256: str) -> None:
        (self.folder / sha256).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove contents that no version has, and parts."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if "." in entry.name or entry.stat().st_nlink == 1:
                    os.unlink(entry.path)

    def _keep(self, part: Path, sha256: str) -> None:
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.chmod(0o444)  # a write to it would change all versions that link to it
        os.replace(part, self.folder / sha256)
        sync_folder(self.folder)

    def _part(self, key: str) -> Path:
        return self.folder / f"{key}.part"

    def _done(self, key: str) -> Path:
        return self.folder / f"{key}.done"

    def _read_done(self, key: str) -> set[int]:
        with contextlib.suppress(FileNotFoundError):
            return {int(line) for line in self._done(key).read_bytes().split(b"\n") if line.isdigit()}
        return set()
