"""Commands between the workers of one server.

A request that concerns the whole server, such as to load a model, reaches one worker, which sends it to the others as a
command. Each worker listens on a Unix socket in a shared folder. A command is one line of JSON, and so is its answer.
Empty lines before the answer say that the work goes on. A worker that has died is skipped; a silent one has failed.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger("sluice.workers")

Command = Mapping[str, Any]
ApplyCommand = Callable[[Command], Awaitable[str]]
"""Carries out a command. Returns why it could not, or ""."""

ALIVE_S = 1.0
"""How often a worker sends an empty line while it works on a command."""
SILENT_S = 10.0
"""After so long a silence, a worker is given up."""
_numbers = itertools.count()


def is_own_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end of a Unix socket is a process of this user or of root.

    Only Linux can tell. Elsewhere the permissions of the socket's file must protect it.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = struct.Struct("3i")  # struct ucred: process, user, group
    found = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return credentials.unpack(found)[1] in (os.getuid(), 0)


class Workers:
    """Sends commands to the other workers, and receives theirs. ``folder`` None: there are no other workers."""

    def __init__(self, folder: Path | None, apply: ApplyCommand) -> None:
        self._folder = folder
        self._apply = apply
        self._path = (folder or Path()) / f"{os.getpid()}-{next(_numbers)}.worker"
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen for commands of the others."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # left by an earlier process with the same id
        try:
            self._server = await asyncio.start_unix_server(self._listen, self._path)
        except OSError as error:  # such as a path that is too long for a socket
            logger.error("the other workers cannot reach this one by %s: %s", self._path, error)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None

    async def tell(self, command: Command) -> list[str]:
        """Send a command to all other workers and wait for their answers. Returns the reasons of those that failed."""
        if self._folder is None:
            return []
        others = [path for path in self._folder.glob("*.worker") if path != self._path]
        answers = await asyncio.gather(*(self._ask(path, command) for path in others))
        return [answer for answer in answers if answer]

    async def tell_first(self, command: Command) -> bool:
        """Send a command to the first living worker by name, which is the same for all workers.

        Returns False if it is this worker, or if it could not carry out the command.
        """
        for path in sorted([*self._folder.glob("*.worker"), self._path]) if self._folder is not None else ():
            if path == self._path:
                break
            answer = await self._ask(path, command)
            if answer is not None:
                if answer:
                    logger.error("%s", answer)
                return not answer
        return False

    @staticmethod
    async def _ask(path: Path, command: Command) -> str | None:
        """Why a worker could not carry out a command, or ""; None if the worker has ended."""
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        with contextlib.closing(writer):
            try:
                writer.write(json.dumps(command).encode() + b"\n")
                answer = b"\n"
                while answer == b"\n":
                    answer = await asyncio.wait_for(reader.readline(), SILENT_S)
            except ConnectionError:
                return None
            except TimeoutError:
                return f"worker {path.name.partition('-')[0]}: it has said nothing for {SILENT_S:g} s"
        return str(json.loads(answer)) if answer else None

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            if not is_own_user(writer):
                logger.error("a process of another user has connected to %s and was refused", self._path)
                return
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
        except Exception:  # the other worker must get an answer
            logger.exception("a command of another worker failed")
            return "it failed unexpectedly: see the log"


class WorkerRank:
    """The number of this worker, from 0. No other worker has the same number while this one lives.

    The number is a lock on a file, which the kernel releases when the process ends. ``index`` is the only number that
    the worker may have; None: any number.
    """

    def __init__(self, folder: Path, workers: int, index: int | None = None) -> None:
        self.number: int | None = None
        self._folder = folder
        self._numbers = range(workers) if index is None else range(index, index + 1)
        self._file = -1

    def take(self) -> int | None:
        """Take the lowest free number; None if there is none."""
        for number in self._numbers:
            file = self._open(number)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                self.number, self._file = number, file
                break
        return self.number

    async def wait(self) -> int:
        """Take the number ``index`` when the worker that has it ends. It waits in a daemon thread."""
        [number] = self._numbers
        file, loop = self._open(number), asyncio.get_running_loop()
        taken: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not taken.done():
                taken.set_result(None)

        def lock() -> None:
            with contextlib.suppress(OSError, RuntimeError):  # the loop has closed meanwhile
                fcntl.flock(file, fcntl.LOCK_EX)
                loop.call_soon_threadsafe(tell)

        threading.Thread(target=lock, name="rank", daemon=True).start()
        try:
            await taken
        except asyncio.CancelledError:
            os.close(file)
            raise
        self.number, self._file = number, file
        return number

    def _open(self, number: int) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.open(self._folder / f"{number}.rank", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def give_back(self) -> None:
        if self.number is not None:
            os.close(self._file)
            self.number = None
