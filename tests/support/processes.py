"""Real servers in processes of their own: of one worker, whose memory is not that of the test, and `sluice serve`."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from service.settings import Settings
from tests.support.servers import FAST, PATHS, ServerPath, Serving

REPOSITORY = Path(__file__).resolve().parents[2]


class Process:
    """A server that answers on ``port`` of this machine."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process = psutil.Process(process.pid)
        self._pipe = pipe
        self.port: int = pipe.recv()
        self.url = f"http://127.0.0.1:{self.port}"

    def resident_bytes(self) -> int:
        resident: int = self._process.memory_info().rss
        return resident

    def stop(self) -> dict[str, int]:
        """End it. Returns what it still holds after all requests were answered, by kind."""
        self._pipe.send("stop")
        left: dict[str, int] = self._pipe.recv()
        return left


@contextlib.contextmanager
def served(settings: Settings, server_path: ServerPath = FAST) -> Iterator[Process]:
    """Serve until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(settings, server_path.name, theirs))
    process.start()
    theirs.close()  # so that we notice when the server ends
    try:
        yield Process(process, ours)
    finally:
        ours.close()  # which ends the server too
        process.join(30)
        process.kill()


def _serve(settings: Settings, path: str, pipe: Connection) -> None:
    [found] = [d for d in PATHS if d.name == path]
    with Serving(settings, found) as server, contextlib.suppress(EOFError):
        pipe.send(server.port)
        pipe.recv()
        models = [server.worker.registry.find(folder.name) for folder in settings.store.iterdir()]
        waiting_rows = sum(model.dispatcher.queue.waiting_rows for model in models)
        pipe.send({"bytes of bodies": server.worker.handler.body_budget.held_bytes, "waiting rows": waiting_rows})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Served:
    """A `sluice serve` process, which is killed with its workers when the block ends.

    It is ready when each of its workers has said which models serve.
    """

    def __init__(
        self, *arguments: str, workers: int, environment: dict[str, str] | None = None, port: int | None = None
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            self.command(*arguments, workers=workers),
            **self.options(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log: list[str] = []
        try:
            self.read_until("models serve", workers)
        except BaseException:
            self.kill()
            raise

    def command(self, *arguments: str, workers: int) -> list[str]:
        command = [sys.executable, "-m", "sluice", "serve", "--port", str(self.port), "--workers", str(workers)]
        return [*command, *arguments]

    def options(self, environment: dict[str, str] | None) -> dict[str, Any]:
        """Folder and variables."""
        return {"cwd": REPOSITORY, "env": {**os.environ, **(environment or {})}}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def read_until(self, text: str, times: int) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            times -= text in line
            if times == 0:
                return
        raise AssertionError(f"the server ended before it said {text!r}:\n" + "".join(self.log))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Over a connection of its own, which any worker may get."""
        return httpx.get(self.url + path, timeout=60, verify=False, **options)  # noqa: S501  # plain HTTP

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60, verify=False, **options)  # noqa: S501  # plain HTTP

    def infer(self, name: str = "double", **headers: str) -> int:
        """The status of a request to a model of rows of three numbers."""
        x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        return self.post(f"/v2/models/{name}/infer", {"inputs": [x]}, headers=headers).status_code

    def worker_pids(self) -> list[int]:
        return [process.pid for process in psutil.Process(self.process.pid).children()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end. Returns the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end. Returns the exit code."""
        output, _ = self.process.communicate(timeout=30)
        self.log.append(output)
        return self.process.returncode

    def kill(self) -> None:
        """End it and its workers, which have process groups of their own."""
        if self.process.poll() is None:
            parent = psutil.Process(self.process.pid)
            for process in (*parent.children(recursive=True), parent):
                process.kill()
        self.process.communicate()
