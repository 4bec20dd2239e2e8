"""Commands between the workers of one server."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service import workers
from service.workers import Command, WorkerRank, Workers


def make(folder: Path | None, heard: list[Command], answer: str = "") -> Workers:
    async def obey(command: Command) -> str:
        heard.append(command)
        return answer

    return Workers(folder, obey)


def test_worker_that_died_without_a_word_is_passed_over(tmp_path: Path) -> None:
    """A socket that nobody listens on, as a killed worker leaves it, neither fails nor holds up a command."""

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "1-0.worker"))
        heard: list[Command] = []
        one, two = make(tmp_path, []), make(tmp_path, heard)
        await one.open()
        await two.open()
        assert await one.tell({"do": "x"}) == []
        assert heard == [{"do": "x"}]
        await one.close()
        await two.close()

    asyncio.run(main())


def test_worker_that_dies_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    """A connection that ends without an answer is that of a worker that has ended: nothing is left to complain of."""

    async def main() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.close()

        server = await asyncio.start_unix_server(hang_up, tmp_path / "1-0.worker")
        assert await make(tmp_path, []).tell({"do": "x"}) == []
        server.close()

    asyncio.run(main())


def test_silent_worker_is_complained_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a stopped process, whose socket takes the command all the same; the others have done it."""
    monkeypatch.setattr(workers, "SILENT_S", 0.05)

    async def main() -> None:
        over = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()

        server = await asyncio.start_unix_server(say_nothing, tmp_path / "17-0.worker")
        heard: list[Command] = []
        one, two = make(tmp_path, []), make(tmp_path, heard)
        await two.open()
        assert await one.tell({"do": "x"}) == ["worker 17: it has said nothing for 0.05 s"]
        assert heard == [{"do": "x"}]
        over.set()
        server.close()
        await two.close()

    asyncio.run(main())


def test_worker_says_that_it_works_on_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes, such as to load a model: then it is waited for."""
    monkeypatch.setattr(workers, "ALIVE_S", 0.01)

    async def main() -> None:
        loaded = asyncio.Event()

        async def load(command: Command) -> str:
            await loaded.wait()
            return "no room"

        async def say_it_thrice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b'\n\n\n"no room"\n')
            await writer.drain()
            writer.close()

        busy = Workers(tmp_path, load)
        await busy.open()
        [path] = await asyncio.to_thread(lambda: list(tmp_path.glob("*.worker")))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do": "load"}\n')
        assert [await reader.readline() for _ in range(3)] == [b"\n"] * 3
        loaded.set()
        while (line := await reader.readline()) == b"\n":
            pass
        assert b"no room" in line
        writer.close()
        await busy.close()
        server = await asyncio.start_unix_server(say_it_thrice, tmp_path / "17-0.worker")
        assert await make(tmp_path, []).tell({"do": "load"}) == ["no room"]
        server.close()

    asyncio.run(main())


def test_complaint_and_failure_come_back(tmp_path: Path) -> None:
    """Who could not do it says why; one whose code fails says so, and listens on."""

    async def main() -> None:
        async def explode(command: Command) -> str:
            raise RuntimeError("secret")

        one, two, three = make(tmp_path, []), make(tmp_path, [], "no room"), Workers(tmp_path, explode)
        for worker in (one, two, three):
            await worker.open()
        for _ in range(2):
            complaints = await one.tell({"do": "x"})
            who = f"worker {os.getpid()}"
            assert sorted(complaints) == [f"{who}: it failed unexpectedly: see the log", f"{who}: no room"]
        for worker in (one, two, three):
            await worker.close()

    asyncio.run(main())


def test_one_that_has_closed_is_not_asked(tmp_path: Path) -> None:
    """A worker that ends takes its socket with it; alone, or without a folder, a worker tells nobody."""

    async def main() -> None:
        heard: list[Command] = []
        one, two, alone = make(tmp_path, []), make(tmp_path, heard), make(None, [])
        await one.open()
        await two.open()
        await two.close()
        assert await one.tell({"do": "x"}) == []
        await one.close()
        await alone.open()
        assert await alone.tell({"do": "x"}) == []
        await alone.close()
        assert heard == []

    asyncio.run(main())
    assert not list(tmp_path.iterdir())


def test_workers_have_different_ranks(tmp_path: Path) -> None:
    """Each takes the least that is free; one more than there are gets none; what is given back is the next one's."""
    ranks = [WorkerRank(tmp_path, 2) for _ in range(3)]
    assert [rank.take() for rank in ranks] == [0, 1, None]
    ranks[0].give_back()
    assert ranks[2].take() == 0
    for rank in ranks:
        rank.give_back()


HOLDER = """
import sys
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
        assert holder.stdout is not None
        assert holder.stdout.readline() == "0\n"
        assert rank.take() is None
        holder.kill()
    assert rank.take() == 0
    rank.give_back()
