"""A real server in a process of its own, so that its memory and its interpreter are not those of the test."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import psutil

from service.settings import Settings
from tests.support.servers import FAST, PATHS, ServerPath, Serving


class Process:
    """A server that answers on ``port`` of this machine."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process = psutil.Process(process.pid)
        self._pipe = pipe
        self.port: int = pipe.recv()
        self.url = f"http://127.0.0.1:{self.port}"

    def resident_bytes(self) -> int:
        device_tensor: int = self._process.memory_info().rss
        return device_tensor

    def stop(self) -> dict[str, int]:
        """What it still holds after all is answered, by what it is."""
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
        assert server.worker is not None
        models = [server.worker.registry.find(folder.name) for folder in settings.store.iterdir()]
        waiting_rows = sum(model.dispatcher.queue.waiting_rows for model in models)
        pipe.send({"bytes of bodies": server.worker.handler.body_budget.held_bytes, "waiting rows": waiting_rows})
