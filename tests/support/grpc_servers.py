"""A real gRPC server for tests: the runtime of one worker on an event loop in a thread, on a port of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import numpy as np
import tritonclient.grpc as triton
import uvloop

from model_store.datatypes import datatype_of
from service.models.registry import Model
from service.settings import Settings
from service.transport.grpc.server import GrpcServer
from tests.support.servers import ReadyWorker, turn_until

T = TypeVar("T")


class GrpcServing:
    """``with GrpcServing(settings) as server``: ``server.url`` answers until the block ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run)
        self.worker: ReadyWorker
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"

    def stop(self) -> None:
        """What SIGTERM does. Returns at once."""
        with contextlib.suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self._stopping.set)

    def run(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something on the loop of the server."""
        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(30)

    def client(self) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(self.url)

    def model(self, name: str) -> Model:
        return self.worker.registry.find(name)

    def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop of the server turn until something holds there; the test's own limit ends it otherwise."""
        turn_until(self._loop, holds)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            worker = self.worker = ReadyWorker(self._settings)
            await worker.start()
            port = self._settings.grpc_port
            if worker.grpc is None:
                information = worker.information
                worker.grpc = GrpcServer(worker.handler, information, worker.metrics, self._settings, port=0)
                port = await worker.grpc.start()
            self.url = f"127.0.0.1:{port}"
        except Exception as error:  # noqa: BLE001  # the test is to see it
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        await self._stopping.wait()
        await worker.stop()


def tensor(name: str, array: np.ndarray) -> triton.InferInput:
    """An input of tritonclient with raw contents."""
    found = triton.InferInput(name, list(array.shape), datatype_of(array).name)
    found.set_data_from_numpy(array)
    return found


def ones(rows: int = 1) -> list[triton.InferInput]:
    """The input of the model ``double``."""
    return [tensor("x", np.ones((rows, 3), np.float32))]


def waiting_rows(model: Model) -> int:
    return model.dispatcher.queue.waiting_rows


def channel(server: GrpcServing) -> grpc.Channel:
    return grpc.insecure_channel(server.url)


def settings_of(store: Path, **changes: object) -> Settings:
    return Settings(store=store, provider="cpu").replace(**changes)
