"""The folder of a mirror: adds and removes versions and files. One process at a time changes it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from model_store.files.integrity import digest_file
from model_store.files.staging import locked, staged, sweep
from model_store.files.writing import replace_synced, sync_folder
from model_store.listing import NAME, NUMBER
from model_store.manifest import MANIFEST_FILE
from model_store.remote.transfers.blobs import Blobs

_LEADER = "task"
_GONE = "gone-"


class Folder:
    """``root`` is the store. ``side``, in the same file system, holds everything else. Methods raise OSError."""

    def __init__(self, root: Path, side: Path) -> None:
        self.root = root
        self.side = side
        self.blobs = Blobs(side / "blobs")
        self._leader_lock: int | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from changing the folder while the block runs."""
        self.side.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.side):
            yield

    def become_leader(self) -> bool:
        """Become the one that keeps the folder up to date, unless another process is. Returns whether this one is.

        The leader holds a lock, which the system releases when its process ends in any way.
        """
        if self._leader_lock is None:
            lock = os.open(self.side / _LEADER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
            else:
                self._leader_lock = lock
        return self._leader_lock is not None

    def resign(self) -> None:
        if self._leader_lock is not None:
            os.close(self._leader_lock)
            self._leader_lock = None

    def list_versions(self) -> dict[str, set[int]]:
        """The numbers of the versions in the folder, by model."""
        found = {}
        for path in self.root.iterdir():
            if NAME.fullmatch(path.name) and path.is_dir():
                found[path.name] = {int(each.name) for each in path.iterdir() if NUMBER.fullmatch(each.name)}
        return found

    def digest(self, name: str, number: int, file: str) -> str:
        """The digest of a file of a version; "" if there is no such file."""
        try:
            return digest_file(self._path(name, number) / file)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ""

    def has(self, name: str, number: int, file: str, size: int | None) -> bool:
        """Whether a file of a version is in the folder with this size; None: any size."""
        try:
            return size in (None, (self._path(name, number) / file).stat().st_size)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def is_new(self, name: str) -> bool:
        return not (self.root / name).is_dir()

    def add_model(self, name: str, versions: Mapping[int, Mapping[str, str]], beside: Mapping[str, bytes]) -> None:
        """Let a model appear with its versions, given by the digests of their files, and the files beside them."""
        with staged(self.root) as temporary:
            for number, digests in versions.items():
                (temporary / str(number)).mkdir()
                self._fill(temporary / str(number), digests)
            for file, content in beside.items():
                replace_synced(temporary / file, content)
            temporary.chmod(0o755)
            sync_folder(temporary)
            os.rename(temporary, self.root / name)
            sync_folder(self.root)

    def add_version(self, name: str, number: int, digests: Mapping[str, str]) -> None:
        """Let a version appear. An old one with its number is removed first."""
        with staged(self.root / name) as temporary:
            self._fill(temporary, digests)
            if os.path.lexists(self._path(name, number)):
                self._remove(self._path(name, number))
            os.rename(temporary, self._path(name, number))
            sync_folder(self.root / name)

    def mend(self, name: str, number: int, digests: Mapping[str, str]) -> None:
        """Put files into a version of the folder, in place of those with the same names."""
        folder = self._path(name, number)
        for file, sha256 in digests.items():
            temporary = self.side / ".mending.new"
            temporary.unlink(missing_ok=True)
            if (folder / file).is_dir():  # it was a folder before
                self._remove(folder / file)
            for parent in (folder / file).parents:
                if parent.is_file():  # it was a file before
                    parent.unlink()
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            self.blobs.link(sha256, temporary)
            os.replace(temporary, folder / file)
            temporary.unlink(missing_ok=True)  # a rename does nothing if both are links to one file
        sync_folder(folder)

    def write_beside(self, name: str, file: str, content: bytes) -> bool:
        """Write a file that all versions share. Returns whether its content has changed."""
        path = self.root / name / file
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                return False
        replace_synced(path, content, self.side)
        return True

    def drop_beside(self, name: str, file: str) -> None:
        (self.root / name / file).unlink(missing_ok=True)

    def drop_version(self, name: str, number: int) -> None:
        self._remove(self._path(name, number))

    def drop_model(self, name: str) -> None:
        self._remove(self.root / name)

    def sweep(self) -> None:
        """Remove what a killed process left."""
        for path in self.side.glob(f"{_GONE}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.side.glob(".*.new"):
            path.unlink()
        with contextlib.suppress(OSError):
            for folder in (self.root, *filter(Path.is_dir, self.root.iterdir())):
                sweep(folder)

    def _remove(self, path: Path) -> None:
        """Remove it at once by a rename, then delete its files."""
        if os.path.lexists(path):
            gone = Path(tempfile.mkdtemp(prefix=_GONE, dir=self.side))
            os.rename(path, gone / "it")
            sync_folder(path.parent)
            shutil.rmtree(gone, ignore_errors=True)

    def _fill(self, folder: Path, digests: Mapping[str, str]) -> None:
        """Put files into a folder, the manifest last: without it, a version would count as plain."""
        for file, sha256 in sorted(digests.items(), key=lambda item: item[0] == MANIFEST_FILE):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            self.blobs.link(sha256, folder / file)
        folder.chmod(0o755)
        sync_folder(folder)

    def _path(self, name: str, number: int) -> Path:
        return self.root / name / str(number)
