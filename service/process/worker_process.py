"""The supervisor's view of a worker process."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from signal import SIGKILL
from typing import Self

from service.process.channel import LISTEN, PAUSE, render_line
from service.process.restarts import WorkerState
from service.settings import Settings

WORKER_MODULE = "service.process.worker"
KILL_AFTER_S = 1.4
"""A worker is killed this long after its drain should have ended. Only one with a blocked event loop takes so long."""


@dataclass(eq=False, kw_only=True)
class WorkerProcess(WorkerState):
    """A worker process and our end of its channel. ``ended`` gets the exit code, from the supervisor."""

    process: asyncio.subprocess.Process
    connection: socket.socket
    settings: Settings
    refusal: str = ""
    ended: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    has_loaded: asyncio.Event = field(default_factory=asyncio.Event)
    """Every load has ended, or the process has."""
    has_listened: asyncio.Event = field(default_factory=asyncio.Event)
    """It is ready and accepts connections, or it has ended."""

    @classmethod
    async def start(
        cls,
        number: int,
        listeners: Sequence[socket.socket],
        settings: Settings,
        environ: Mapping[str, str],
        *,
        is_first: bool,
        replaces: bool,
    ) -> Self:
        """``replaces``: it does not listen before it is told to serve. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, contextlib.ExitStack() as failing:
            failing.callback(ours.close)
            descriptors = (theirs.fileno(), *(listener.fileno() for listener in listeners))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # PYTHONPATH leads to our code
                "-m",
                WORKER_MODULE,
                *map(str, (number, int(replaces), *descriptors)),
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,  # so that Ctrl-C in a terminal reaches this process only
            )
            failing.pop_all()
        return cls(is_first, process=process, connection=ours, settings=settings)

    def listen(self, listens: bool) -> None:
        self.listens = listens
        self.tell(LISTEN if listens else PAUSE)

    def tell(self, word: str) -> None:
        with contextlib.suppress(OSError):  # the process has just ended
            self.connection.sendall(render_line(word))

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    @property
    def stop_limit_s(self) -> float:
        """How long the process may take to stop after SIGTERM."""
        return self.settings.lame_duck_s + self.settings.drain_s + KILL_AFTER_S

    async def wait(self, limit_s: float) -> bool:
        """Wait for its end, and kill it after ``limit_s`` seconds. Returns whether it ended by itself."""
        await asyncio.wait([self.ended], timeout=limit_s)
        ended_itself = self.ended.done()
        if not ended_itself:
            self.send_signal(SIGKILL)
        await asyncio.wait([self.ended])
        return ended_itself
