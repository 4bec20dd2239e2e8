"""The thread that writes the access log: rotation, full disks, pipes, and the end."""

import asyncio
import contextlib
import errno
import os
import select
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.settings import SettingsError
from service.telemetry.access_log import MOST_WAITING_BYTES, AccessLog
from service.telemetry.lines import LineWriter
from service.telemetry.writer import LogWriter
from service.transport.observer import RequestEnd

pytestmark = pytest.mark.anyio


class NotedWriter(LogWriter):
    """``noted`` is set when the thread has reported lines that it has written or lost."""

    noted: asyncio.Event

    def _note(self, written_bytes: int, lost: int) -> None:
        super()._note(written_bytes, lost)
        self.noted.set()


class Log:
    """A log, its writer, and how many lines were lost."""

    def __init__(self, path: str) -> None:
        loop = asyncio.get_running_loop()
        self.lost = 0
        self.writer = NotedWriter(path, loop, self.lose)
        self.writer.noted = asyncio.Event()
        self.log = AccessLog(LineWriter(), self.writer, loop, self.lose)

    def lose(self, lines: int) -> None:
        self.lost += lines

    async def write(self, *lines: bytes) -> None:
        """Write, and wait until the thread has."""
        self.writer.write(b"".join(lines))
        await self.writer.noted.wait()
        self.writer.noted.clear()


@contextlib.asynccontextmanager
async def opened(path: Path | str) -> AsyncIterator[Log]:
    log = Log(str(path))
    try:
        yield log
    finally:
        log.log.flush()
        await log.writer.close()


async def test_lines_are_written_together_and_the_last_at_the_end(tmp_path: Path):
    """Lines wait for a flush; a stop writes what is left."""
    path = tmp_path / "log"
    async with opened(path) as log:
        for number in range(3):
            log.log.end(RequestEnd("GET", "/x", f"/{number}", 200, 0.0, "id", {}))
        assert path.read_bytes() == b""
    assert path.read_bytes().count(b"\n") == 3
    assert path.stat().st_mode & 0o777 == 0o640


async def test_file_that_was_moved_is_opened_anew(tmp_path: Path):
    """After logrotate has moved or removed the file, lines go to a new one of the name; none is lost."""
    path = tmp_path / "log"
    async with opened(path) as log:
        await log.write(b"1\n")
        path.rename(tmp_path / "log.1")
        await log.write(b"2\n")
        path.unlink()
        await log.write(b"3\n")
    assert ((tmp_path / "log.1").read_bytes(), path.read_bytes()) == (b"1\n", b"3\n")
    assert log.lost == 0


async def test_full_disk_loses_lines_and_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """When the disk is full, lines are counted as lost. Once there is room again, a half-written line is ended."""
    path, write = tmp_path / "log", os.write
    room = 3

    def write_some(descriptor: int, content: memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "no space left")
        part, room = content[:room], room - min(room, len(content))
        return write(descriptor, part)

    monkeypatch.setattr("service.telemetry.writer.os.write", write_some)
    async with opened(path) as log:
        await log.write(b"1\n", b"2\n", b"3\n")
        assert log.lost == 2
        room = 100
        await log.write(b"4\n")
    assert path.read_bytes() == b"1\n2\n4\n"


async def test_folder_that_is_gone_loses_lines_and_does_not_end_the_thread(tmp_path: Path):
    """While the file cannot be opened again, lines are lost. Later ones are written when it can."""
    folder = tmp_path / "logs"
    folder.mkdir()
    async with opened(folder / "log") as log:
        (folder / "log").unlink()
        folder.rmdir()
        await log.write(b"1\n", b"2\n")
        assert log.lost == 2
        folder.mkdir()
        await log.write(b"3\n")
    assert (folder / "log").read_bytes() == b"3\n"


async def test_writer_that_does_not_keep_up_loses_lines_and_no_memory(tmp_path: Path):
    """When more bytes wait than may, further lines are counted and thrown away."""
    async with opened(tmp_path / "log") as log:
        log.writer.unwritten_bytes += MOST_WAITING_BYTES + 1
        log.log.end(RequestEnd("GET", "/x", "/", 200, 0.0, "id", {}))
        assert log.lost == 1
        log.writer.unwritten_bytes -= MOST_WAITING_BYTES + 1


async def test_lines_to_a_pipe_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each write to a pipe has at most the bytes that it takes at once, and ends with a line."""
    path, sizes, write = tmp_path / "pipe", [], os.write
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    pieces = []

    def note(descriptor: int, content: memoryview) -> int:
        sizes.append(len(content))
        pieces.append(bytes(content))
        return write(descriptor, content)

    monkeypatch.setattr("service.telemetry.writer.os.write", note)
    async with opened(path) as log:
        await log.write(*[b"x" * 99 + b"\n"] * 200)
    os.close(reader)
    assert max(sizes) <= select.PIPE_BUF
    assert {piece[-1:] for piece in pieces} == {b"\n"}
    assert sum(sizes) == 20_000


async def test_path_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path):
    """The error names the variable and the path."""
    with pytest.raises(SettingsError, match=r"SLUICE_ACCESS_LOG=.*/nowhere/log .*expected a file that can be written"):
        Log(str(tmp_path / "nowhere" / "log"))
