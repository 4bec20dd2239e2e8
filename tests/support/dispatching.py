"""A device with one model on a clock that jumps, for tests of the engine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from service.engine.batching.cost import CostModel
from service.engine.batching.policy import INLINE_S
from service.engine.batching.queue import Answer, BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.execution.runner import Runner
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import ServiceError
from tests.support.clocks import Decorator, virtual_with
from tests.support.models import graphs
from tests.support.signatures import signature_of

SLOW_S = 0.1
"""A cost that sends batches to a lane's thread instead of running them on the loop."""


class Counting:
    """A real session that notes the rows of each batch it runs."""

    def __init__(self, content: bytes) -> None:
        self.session = Session(content)
        self.batches: list[int] = []

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]:
        self.batches.append(len(next(iter(inputs.values()))))
        return self.session.run(inputs)


class Gated(Counting):
    """Holds every batch in its lane until the test opens the gate."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]:
        self.entered.release()
        assert self.gate.wait(30)
        return super().run(inputs)

    async def wait_until_entered(self) -> None:
        """Return when one more batch has entered. The loop goes on meanwhile."""
        await asyncio.to_thread(self.entered.acquire)


def cost_of(*runs: tuple[int, float]) -> CostModel:
    """A cost model that has seen these runs: (rows, seconds) each."""
    cost = CostModel()
    for rows, seconds in runs:
        cost.observe(rows, seconds)
    return cost


class Bench:
    """A device with one model and helpers to ask it."""

    def __init__(
        self,
        runner: Runner,
        content: bytes,
        *,
        lanes: int = 1,
        max_rows: int = 8,
        cost_s: float = 0.0,
        cost: CostModel | None = None,
        least_rows: int = 1,
        max_queue_rows: int = 1000,
        max_wait_s: float = 0.0,
        inline_s: float = INLINE_S,
        device: Device | None = None,
        **options: Any,
    ) -> None:
        """``options`` are those of the dispatcher."""
        loop = asyncio.get_running_loop()
        self.device = device or Device(lanes, loop, clock=loop.time, inline_s=inline_s)
        self.signature = signature_of(content)
        if cost is None:
            cost = cost_of((max_rows, cost_s))
        self.dispatcher = Dispatcher(
            runner,
            self.signature,
            self.device,
            BatchQueue(max_rows, max_queue_rows, max_wait_s),
            cost=cost,
            pad=lambda rows: max(rows, least_rows),
            **options,
        )

    def ask(
        self, inputs: Mapping[str, np.ndarray], **options: float
    ) -> tuple[Callable[[], None], asyncio.Future[Answer]]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(outcome: Answer | ServiceError) -> None:
            assert not future.done(), "exactly one answer"
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        return self.dispatcher.submit(self.signature.check(inputs), done, **options), future

    def ask_x(self, value: float, rows: int = 1, **options: float) -> asyncio.Future[Answer]:
        return self.ask({"x": np.full((rows, 3), value, np.float32)}, **options)[1]


def on_runner(make: Callable[[bytes], Runner], content: bytes = b"", **options: Any) -> Decorator:
    """Decorates a test of a bench and its runner. ``make`` makes the runner of a graph, by default one that doubles."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Bench, Runner]]:
        graph = content or graphs.double()
        runner = make(graph)
        bench = Bench(runner, graph, **options)
        try:
            yield bench, runner
        finally:
            if isinstance(runner, Gated):
                runner.gate.set()
            bench.device.close()

    return virtual_with(opened)


def on_counting(content: bytes = b"", **options: Any) -> Decorator:
    return on_runner(Counting, content, **options)


def on_gate(content: bytes = b"", **options: Any) -> Decorator:
    return on_runner(Gated, content, **{"cost_s": SLOW_S, **options})
