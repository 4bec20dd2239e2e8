"""The workers of one server, and how what one of them was told reaches the others.

They share a port, so a request reaches one worker that cannot choose which. Each listens on a socket in a folder that
they have in common: one line of JSON is a command, one line the answer, and empty lines before it say that it is worked
on. Nothing polls; a worker that has died refuses the connection, or breaks it, and is passed over. One that is silent,
such as a stopped process, is complained of.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger("sluice.workers")

Command = Mapping[str, Any]
ApplyCommand = Callable[[Command], Awaitable[str]]
"""Does what a command says; returns why it could not, or nothing."""

ALIVE_S = 1.0
"""How often a worker says that it works on a command."""
SILENT_S = 10.0
"""After so long nobody waits for a worker that says nothing."""
_numbers = itertools.count()


class Workers:
    """``folder`` None: there are no others."""

    def __init__(self, folder: Path | None, apply: ApplyCommand) -> None:
        self._folder = folder
        self._apply = apply
        self._path = folder / f"{os.getpid()}-{next(_numbers)}.worker" if folder else None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen for the others."""
        if self._folder is None or self._path is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # of a process that had this id before
        try:
            self._server = await asyncio.start_unix_server(self._listen, self._path)
        except OSError as error:  # such as a path that is too long for a socket
            logger.error("the other workers cannot reach this one by %s: %s", self._path, error)

    async def close(self) -> None:
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None

    async def tell(self, command: Command) -> list[str]:
        """Give a command to every other worker; returns what those say who could not do it, when all have answered."""
        if self._folder is None:
            return []
        others = [path for path in self._folder.glob("*.worker") if path != self._path]
        answers = await asyncio.gather(*(self._ask(path, command) for path in others))
        return [answer for answer in answers if answer]

    @staticmethod
    async def _ask(path: Path, command: Command) -> str:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except (ConnectionRefusedError, FileNotFoundError):  # it has died, or just ended
            return ""
        with contextlib.closing(writer):
            try:
                writer.write(json.dumps(command).encode() + b"\n")
                answer = b"\n"
                while answer == b"\n":
                    answer = await asyncio.wait_for(reader.readline(), SILENT_S)
            except ConnectionError:
                return ""
            except TimeoutError:
                return f"worker {path.name.partition('-')[0]}: it has said nothing for {SILENT_S:g} s"
        return str(json.loads(answer)) if answer else ""

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            line = await reader.readline()
            if not line:
                return
            work = asyncio.ensure_future(self._do(line))
            while not (await asyncio.wait({work}, timeout=ALIVE_S))[0]:
                writer.write(b"\n")
            answer = work.result()
            writer.write(json.dumps(f"worker {os.getpid()}: {answer}" if answer else "").encode() + b"\n")
            await writer.drain()

    async def _do(self, line: bytes) -> str:
        try:
            return await self._apply(json.loads(line))
        except Exception:  # the one who asks must hear that it was not done
            logger.exception("a command of another worker failed")
            return "it failed unexpectedly: see the log"


class WorkerRank:
    """Which of so many workers this one is: a number from 0 that no other has while this one lives.

    It is a lock on a file, which the kernel lets go of when a process ends, however, so that the next worker gets it.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.number: int | None = None
        self._folder = folder
        self._workers = workers
        self._file = -1

    def take(self) -> int | None:
        """The least that is free, None where none is."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(self._workers):
            file = os.open(self._folder / f"{number}.rank", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                self.number, self._file = number, file
                break
        return self.number

    def give_back(self) -> None:
        if self.number is not None:
            os.close(self._file)
            self.number = None
