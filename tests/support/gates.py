"""A gate before a model holds its batches until the test opens it."""

import concurrent.futures
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from service.engine.batching.cost import CostModel
from service.engine.execution.runner import Runner
from service.engine.tensors import Arrays
from service.models.registry import Model


class HeldThread(concurrent.futures.ThreadPoolExecutor):
    """One thread that does nothing until it is opened. It records what it is given to do."""

    def __init__(self) -> None:
        super().__init__(1)
        self.opened = threading.Event()
        self.given: queue.SimpleQueue[concurrent.futures.Future[Any]] = queue.SimpleQueue()
        super().submit(self.opened.wait, 60)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(fn, *args, **kwargs)
        self.given.put(future)
        return future


class Gate:
    """Holds the batches of a model's runner until the test opens it. ``held_rows`` counts the rows that have come."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.rows: list[int] = []
        self.held_rows = 0

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]:
        rows = len(inputs["x" if "x" in inputs else next(iter(inputs))])
        self.held_rows += rows
        self.entered.release()
        assert self.opened.wait(20)
        self.rows.append(rows)
        return self.runner.run(inputs)


class Slow(CostModel):
    """Does not learn. Every batch goes to a lane's thread, where a gate may hold it; none is queued for it ahead."""

    def __init__(self, run_s: float) -> None:
        super().__init__()
        self.run_s = run_s

    def predict(self, rows: int) -> float:
        return self.run_s


@contextmanager
def gated(model: Model, run_s: float = 0.002) -> Iterator[Gate]:
    """Hold the batches of a model, each expected to take ``run_s``, in their lanes."""
    dispatcher = model.dispatcher
    before, gate = (dispatcher.runner, dispatcher.cost, dispatcher._needs_lane), Gate(dispatcher.runner)
    # The cost of rows of a size that has been seen is not that of the dispatcher.
    dispatcher.runner, dispatcher.cost, dispatcher._needs_lane = gate, Slow(run_s), True
    try:
        yield gate
    finally:
        gate.opened.set()
        dispatcher.runner, dispatcher.cost, dispatcher._needs_lane = before
