"""A remote store that is a folder, with faults."""

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from model_store.errors import RemoteAway, RemoteError
from model_store.remote.contents import RemoteFile


class FolderStore:
    """A remote store that is a folder of this machine. ``before_read`` may fail, or change what is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.is_away = False
        self.before_read: Callable[[str, int, int], bytes | None] = lambda where, start, count: None
        self.reads: list[tuple[str, int, int]] = []
        self.has_sizes = True

    def list_files(self, only: Collection[str]) -> Mapping[str, RemoteFile]:
        self._check()
        found = {}
        for path in self.root.rglob("*"):
            if path.is_file():
                facts = path.stat()
                where = path.relative_to(self.root).as_posix()
                size = facts.st_size if self.has_sizes else None
                found[where] = RemoteFile(where, size, str(facts.st_mtime_ns) if self.has_sizes else "")
        return found

    def read(self, where: str, start: int, count: int) -> bytes:
        self._check()
        self.reads.append((where, start, count))
        given = self.before_read(where, start, count)
        if given is not None:
            return given
        try:
            with (self.root / where).open("rb") as file:
                file.seek(start)
                return file.read(count)
        except FileNotFoundError:
            raise RemoteError(f"{where} is not there") from None

    def publish(self, name: str, number: int, files: Mapping[str, Path], known: Collection[str]) -> None:
        for file, path in files.items():
            (self.root / name / str(number) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.root / name / str(number) / file)

    def write_beside(self, name: str, files: Mapping[str, bytes], known: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            (self.root / name / file).write_bytes(content)

    def _check(self) -> None:
        if self.is_away:
            raise RemoteAway("nobody answers")
