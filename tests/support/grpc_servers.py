"""A real server for tests that answers over gRPC too, on a port of its own."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import tritonclient.grpc as triton

from model_store.datatypes import datatype_of
from service.metrics.exposition import expose
from service.models.registry import Model
from service.settings import Settings
from service.transport.grpc.server import GrpcServer
from service.transport.request import BodyBudget
from tests.support.servers import ASGI, ReadyWorker, ServerPath, Serving, turn_until

T = TypeVar("T")


class GrpcWorker(ReadyWorker):
    """Answers over gRPC at the port of the settings, else at one that the system chose."""

    async def start(self) -> None:
        await super().start()
        self.grpc_port = self.settings.grpc_port
        if self.grpc is None:
            self.grpc = GrpcServer(self.handler, self.information, self.metrics, self.settings, port=0)
            self.grpc_port = await self.grpc.start()


class GrpcServing(Serving):
    """``with GrpcServing(settings) as server``: ``server.grpc_url`` answers until the block ends."""

    worker: GrpcWorker

    def __init__(self, settings: Settings, server_path: ServerPath = ASGI) -> None:
        super().__init__(settings, server_path, GrpcWorker)

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.worker.grpc_port}"

    @property
    def grpc_server(self) -> GrpcServer:
        assert self.worker.grpc is not None
        return self.worker.grpc

    @property
    def body_budget(self) -> BodyBudget:
        return self.worker.handler.body_budget

    def run(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop of the server."""
        return asyncio.run_coroutine_threadsafe(do(), self.worker.tasks.loop).result(30)

    def call(self, do: Callable[..., T], *arguments: object) -> T:
        """Call a function on the loop of the server."""

        async def act() -> T:
            return do(*arguments)

        return self.run(act)

    @contextmanager
    def other_bodies(self, size: int) -> Iterator[None]:
        """Other bodies hold ``size`` bytes until the block ends."""
        self.call(self.body_budget.grow, size)
        try:
            yield
        finally:
            self.call(self.body_budget.release, size)

    def count(self, start: str) -> float:
        """The sum of the lines of the metrics that begin with ``start``."""
        lines = expose(self.worker.metrics, "")[0].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def grpc_client(self) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(self.grpc_url)

    def model(self, name: str) -> Model:
        return self.worker.registry.find(name)

    def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop of the server turn until something holds there, or the time limit of the test ends it."""
        turn_until(self.worker.tasks.loop, holds)


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
    return grpc.insecure_channel(server.grpc_url)


def settings_of(store: Path, **changes: object) -> Settings:
    return Settings(store=store, provider="cpu").replace(**changes)
