"""A real ``sluice serve`` with its workers, whose processes can be killed and measured."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.chaos.caller import Caller, Gone

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0


class ChaosServer:
    """A server that may be in the middle of its start. ``log`` has what it said."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self._process = process
        self._psutil = psutil.Process(process.pid)

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def wait(self, seconds: float) -> int | None:
        """Its exit code; None if it has not ended after so many seconds."""
        try:
            return await asyncio.to_thread(self._process.wait, seconds)
        except subprocess.TimeoutExpired:
            return None

    def find_workers(self) -> list[psutil.Process]:
        """The processes that answer: those that listen, or hold what the first one listens on."""
        return [child for child in self._psutil.children() if child.is_running() and _is_worker(child)]

    def measure(self) -> tuple[int, int, int]:
        """Bytes, threads and open files of all its processes."""
        found = [self._psutil, *self._psutil.children(recursive=True)]
        return (
            sum(process.memory_info().rss for process in found),
            sum(process.num_threads() for process in found),
            sum(process.num_fds() for process in found),
        )

    async def until_ready(self) -> None:
        """Raises TimeoutError, or RuntimeError if the server has ended."""
        async with asyncio.timeout(READY_S), Caller(self.port) as caller:
            while True:
                if self._process.poll() is not None:
                    raise RuntimeError(f"the server ended with {self._process.returncode}:\n{self.log.read_text()}")
                with contextlib.suppress(Gone):
                    if (await caller.get("/readyz")).status == 200:
                        return
                await asyncio.sleep(0.05)  # a process tells of its readiness in no other way

    async def until_workers(self, count: int, seconds: float, without: psutil.Process) -> None:
        """Until there are so many workers besides one that was killed, but not for more than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len([one for one in self.find_workers() if one != without]) < count:  # noqa: ASYNC110  # the kernel tells only their parent
                    await asyncio.sleep(0.05)

    def end(self) -> None:
        for process in (*self._psutil.children(recursive=True), self._psutil) if self._psutil.is_running() else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.Error:
        return False


@contextlib.contextmanager
def serving(store: Path, settings: Mapping[str, str] | None = None, *, workers: int = 1) -> Iterator[ChaosServer]:
    """Serve ``store`` until the block ends; the server may not be ready yet."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sluice", "serve", "--store", str(store), "--port", str(port)]
    command += ["--workers", str(workers)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    environment = {**kept, **(settings or {}), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)
        server = ChaosServer(process, port, log)
        try:
            yield server
        finally:
            server.end()
