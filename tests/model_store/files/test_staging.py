"""Hidden folders of publishers: those of dead publishers are removed, those of living ones never."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.files.staging import staged, sweep

WRITE = """
import sys
from pathlib import Path
from model_store.files.staging import staged
with staged(Path(sys.argv[1])) as temporary:
    (temporary / "main.onnx").write_bytes(b"half of it")
    print(temporary, flush=True)
    sys.stdin.read()
    temporary.rename(temporary.parent / "1")
"""


class Publisher:
    """A process that is writing a version."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", WRITE, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.temporary = Path(self.process.stdout.readline().strip())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=60)

    def finish(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_publisher_left_is_swept_by_the_next(tmp_path: Path) -> None:
    """The folder is removed with its content; versions stay."""
    folder = tmp_path / "m"
    (folder / "7").mkdir(parents=True)
    publisher = Publisher(folder)
    publisher.kill()
    assert publisher.temporary.name in names(folder)
    with staged(folder) as temporary:
        assert names(folder) == sorted([temporary.name, "7"])
        temporary.rename(folder / "8")
    assert names(folder) == ["7", "8"]


def test_model_that_a_killed_publisher_left_without_a_version_is_swept_away(tmp_path: Path) -> None:
    """A model folder that holds nothing else is removed too."""
    publisher = Publisher(tmp_path / "m")
    publisher.kill()
    assert sweep(tmp_path / "m") == [publisher.temporary]
    assert names(tmp_path) == []


def test_what_a_living_publisher_writes_is_not_swept(tmp_path: Path) -> None:
    """Neither a publisher nor a sweep removes the folder of one that still writes."""
    publisher = Publisher(tmp_path / "m")
    with pytest.raises(KeyError), staged(tmp_path / "m"):
        raise KeyError
    assert sweep(tmp_path / "m") == []
    assert names(tmp_path / "m") == [publisher.temporary.name]
    assert publisher.finish() == 0
    assert names(tmp_path / "m") == ["1"]


def test_publisher_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """It removes the model's folder too, if it made it."""
    with pytest.raises(KeyError), staged(tmp_path / "store" / "m"):
        raise KeyError
    assert names(tmp_path / "store") == []


def test_what_may_not_be_changed_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only store a sweep does nothing and does not fail."""
    (tmp_path / "m" / ".publish-x").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("rmdir", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert sweep(tmp_path / "m") == []
    assert sweep(tmp_path / "none") == []
    assert names(tmp_path / "m") == [".publish-x"]
