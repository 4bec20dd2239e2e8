"""Commands between the workers of one server."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service import workers
from service.workers import Command, WorkerRank, Workers


def make(folder: Path | None, heard: list[Command], answer: str = "") -> Workers:
    async def obey(command: Command) -> str:
        heard.append(command)
        return answer

    return Workers(folder, obey)


@contextlib.asynccontextmanager
async def opened(*workers: Workers) -> AsyncIterator[None]:
    for worker in workers:
        await worker.open()
    yield
    for worker in workers:
        await worker.close()


@pytest.mark.anyio
async def test_worker_that_died_is_passed_over(tmp_path: Path) -> None:
    """A socket that nobody listens on, or a connection without an answer, neither fails nor holds up a command."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "1-0.worker"))
    server = await asyncio.start_unix_server(hang_up, tmp_path / "2-0.worker")
    heard: list[Command] = []
    one, two = make(tmp_path, []), make(tmp_path, heard)
    async with opened(one, two):
        assert await one.tell({"do": "x"}) == []
        assert heard == [{"do": "x"}]
    server.close()


@pytest.mark.anyio
async def test_first_worker_that_lives_is_told_by_all_but_itself(tmp_path: Path) -> None:
    """What a killed worker left comes first by name and is passed over. A worker that cannot obey has not been told."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "1-0.worker"))
    heard: list[Command] = []
    first, *others = sorted((make(tmp_path, heard, "no") for _ in range(3)), key=lambda worker: worker._path)
    async with opened(first, *others):
        assert [await worker.tell_first({"do": "x"}) for worker in others] == [False, False]  # it said no
        assert heard == [{"do": "x"}] * 2
        assert not await first.tell_first({"do": "y"})
        assert heard[2:] == []
    willing = make(tmp_path, heard)
    later = make(tmp_path, [])
    early, late = sorted((willing, later), key=lambda worker: worker._path)
    async with opened(early, late):
        assert await late.tell_first({"do": "z"})
    assert not await make(None, []).tell_first({"do": "x"})


@pytest.mark.anyio
async def test_silent_worker_is_complained_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket of a stopped process takes the command without an answer; the other workers have obeyed."""
    monkeypatch.setattr(workers, "SILENT_S", 0.05)
    over = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_unix_server(say_nothing, tmp_path / "17-0.worker")
    heard: list[Command] = []
    async with opened(make(tmp_path, heard)):
        assert "worker 17: it has said nothing for 0.05 s" in await make(tmp_path, []).tell({"do": "x"})
        assert heard == [{"do": "x"}]
    over.set()
    server.close()


@pytest.mark.anyio
async def test_worker_says_that_it_works_on_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is busy, such as with a load, says so again and again, and is waited for."""
    monkeypatch.setattr(workers, "ALIVE_S", 0.01)
    loaded = asyncio.Event()

    async def load(command: Command) -> str:
        await loaded.wait()
        return "no room"

    async def say_it_thrice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'\n\n\n"no room"\n')
        await writer.drain()
        writer.close()

    async with opened(Workers(tmp_path, load)):
        [path] = await asyncio.to_thread(lambda: list(tmp_path.glob("*.worker")))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do": "load"}\n')
        assert [await reader.readline() for _ in range(3)] == [b"\n"] * 3
        loaded.set()
        while (line := await reader.readline()) == b"\n":
            pass
        assert b"no room" in line
        writer.close()
    server = await asyncio.start_unix_server(say_it_thrice, tmp_path / "17-0.worker")
    assert await make(tmp_path, []).tell({"do": "load"}) == ["no room"]
    server.close()


@pytest.mark.anyio
async def test_complaint_and_failure_come_back(tmp_path: Path) -> None:
    """A worker that could not obey says why. One whose code fails says so, and goes on listening."""

    async def explode(command: Command) -> str:
        raise RuntimeError("secret")

    one, two, three = make(tmp_path, []), make(tmp_path, [], "no room"), Workers(tmp_path, explode)
    who = f"worker {os.getpid()}"
    async with opened(one, two, three):
        for _ in range(2):
            complaints = await one.tell({"do": "x"})
            assert sorted(complaints) == [f"{who}: it failed unexpectedly: see the log", f"{who}: no room"]


@pytest.mark.anyio
async def test_one_that_has_closed_is_not_asked(tmp_path: Path) -> None:
    """A worker that ends takes its socket with it; alone, or without a folder, a worker tells nobody."""
    heard: list[Command] = []
    one, two, alone = make(tmp_path, []), make(tmp_path, heard), make(None, [])
    async with opened(one):
        async with opened(two):
            pass
        assert await one.tell({"do": "x"}) == []
    async with opened(alone):
        assert await alone.tell({"do": "x"}) == []
    assert heard == []
    assert os.listdir(tmp_path) == []


def test_workers_have_different_ranks(tmp_path: Path) -> None:
    """Each takes the least rank that is free, one worker too many gets none, and a rank that is given back is free."""
    ranks = [WorkerRank(tmp_path, 2) for _ in range(3)]
    assert [rank.take() for rank in ranks] == [0, 1, None]
    ranks[0].give_back()
    assert ranks[2].take() == 0
    for rank in ranks:
        rank.give_back()


@pytest.mark.anyio
async def test_rank_of_a_place_is_waited_for(tmp_path: Path) -> None:
    """A worker of a place gets no other rank, though one is free; it has its own as soon as that is given back."""
    old, new = WorkerRank(tmp_path, 2, index=1), WorkerRank(tmp_path, 2, index=1)
    assert (old.take(), new.take()) == (1, None)
    waiting = asyncio.ensure_future(new.wait())
    given_up = asyncio.ensure_future(WorkerRank(tmp_path, 2, index=1).wait())
    assert not (await asyncio.wait([waiting, given_up], timeout=0))[0]
    given_up.cancel()
    old.give_back()
    assert await waiting == new.number == 1
    new.give_back()


HOLDER = """
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from service.workers import WorkerRank
rank = WorkerRank(Path(sys.argv[1]), 1)
print(rank.take(), flush=True)
sys.stdin.read()
"""


def test_rank_of_a_killed_worker_is_free(tmp_path: Path) -> None:
    """While a process lives nobody else has its rank; when it is killed the next one takes it."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    rank = WorkerRank(tmp_path, 1)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "0\n"
        assert rank.take() is None
        holder.kill()
    assert rank.take() == 0
    rank.give_back()
