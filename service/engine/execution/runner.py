"""What runs batches: a graph, once more on all cores, or step by step."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from mypy_extensions import mypyc_attr

from service.engine.batching.cost import CostModel
from service.engine.tensors import Arrays


class Runner(Protocol):
    """Runs a graph on whole batches. Called from several lanes at once."""

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]: ...


class Stop:
    """Ends a run that is under way, from another thread; it takes effect at the next node of the graph.

    Whoever runs the graph says how, by ``attach``. What is attached after ``ask`` ends at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._end: Callable[[], None] | None = None

    def attach(self, end: Callable[[], None]) -> None:
        self._end = end
        if self.asked:
            end()

    def ask(self) -> None:
        self.asked = True
        if self._end is not None:
            self._end()


NEVER = Stop()
"""Of runs on the event loop, which nobody can end."""


@mypyc_attr(native_class=False)
class LaneThread(threading.local):
    """``stop`` ends the run that this thread makes; None where nothing does, on the event loop and at load."""

    stop: Stop | None = None


lane_thread = LaneThread()


class AllCores:
    """The same graph once more, each of its runs on all cores: for a batch that has them to itself.

    Where several batches run, one core each is more: nothing has to be handed from core to core within a run. ``cost``
    is that of these runs, each on ``threads`` threads.
    """

    def __init__(self, runner: Runner, cost: CostModel, threads: int) -> None:
        self.runner = runner
        self.cost = cost
        self.threads = threads


class StepRunner(Protocol):
    """Runs a graph step by step. What ``step`` leaves on a device, and what ``settle`` gives, reads like an array."""

    def step(self, inputs: Mapping[str, Any], stay: Collection[str]) -> Sequence[Any]: ...
    def settle(self, array: np.ndarray) -> Any: ...
