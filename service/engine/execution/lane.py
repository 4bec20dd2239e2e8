"""What the lanes of a device and those who use them say to each other."""

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from service.engine.batching.cost import CostModel
from service.engine.execution.write_coalescer import WriteCoalescer
from service.engine.tensors import Arrays, BatchBuffer
from service.metrics.times import Tally, Times


class Runner(Protocol):
    """Runs a graph on whole batches. Called from several lanes at once."""

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]: ...


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


class Run:
    """Something on its way through a lane, with its times on the device's clock.

    ``has_siblings`` says whether others of its kind could run beside it: then a thread pays sooner than on the event
    loop. ``in_lane`` says that it runs in a lane's thread, not on the event loop.
    """

    def __init__(self, dispatcher: "LaneUser", taken_at: float, estimate_s: float) -> None:
        self.dispatcher = dispatcher
        self.taken_at = taken_at
        self.estimate_s = estimate_s
        self.started_at = self.ended_at = 0.0
        self.error: BaseException | None = None
        self.has_siblings = False
        self.in_lane = False


class LaneUser(Protocol):
    """Who runs batches on a device: the dispatcher of a model version, or its loop.

    ``take``, ``deliver`` and the rest are called on the event loop, ``execute`` in a lane or on the event loop.
    """

    running: int
    cost: CostModel

    @property
    def has_work(self) -> bool:
        """Whether there is something to take, now or later."""

    def take(self, now: float, idle_lanes: int = 1) -> Any:
        """The next ``Run``; None if none is due."""

    def execute(self, run: Any, buffer: BatchBuffer, clock: Callable[[], float]) -> None:
        """Run it, and note what came of it; must not raise."""

    def on_batch_done(self, run: Any) -> None:
        """Take in what the next ``take`` must know of it; quick, for the lane waits."""

    def deliver(self, run: Any) -> Sequence[Any]:
        """Hand out what came of it, after ``on_batch_done``; returns what is to run again."""

    def abandon(self, run: Any) -> None:
        """``on_batch_done`` or ``deliver`` has raised, a fault of ours: end whoever still waits for this run."""

    def expire(self, now: float) -> None:
        """End whatever has passed its deadline."""

    def next_timer(self, now: float, lane_is_idle: bool) -> float:
        """When to look again even if nothing happens; infinity for never."""

    def settle(self) -> None:
        """Complete a drain if nothing is left."""


class Lanes(abc.ABC):
    """What those who use a device ask of it. Not a protocol: compiled, these are asked without a look-up by name."""

    lanes: int
    lanes_beside: int
    inline_s: float
    clock: Callable[[], float]
    writes: WriteCoalescer

    @property
    @abc.abstractmethod
    def lanes_run(self) -> bool: ...

    @property
    @abc.abstractmethod
    def has_finished(self) -> bool: ...

    @abc.abstractmethod
    def catch_up(self) -> None: ...

    @abc.abstractmethod
    def wake(self, dispatcher: LaneUser) -> None: ...

    @abc.abstractmethod
    def is_wanted(self, by: LaneUser) -> bool: ...

    @abc.abstractmethod
    def next_lane_s(self) -> float: ...


class Observer(Protocol):
    """Told what happens, for metrics. Must be cheap and must not raise.

    ``queued`` is told how long each request of a run waited for its first batch, ``answered`` of those that a run
    completed, ``traced`` of each of them while ``traces`` is true.
    ``failed`` is a request that got no answer: refused for want of time or room, failed by the model, late, given up.
    """

    @property
    def traces(self) -> bool: ...

    def queued(self, waits_s: Sequence[float]) -> None: ...
    def ran(self, rows: int, batch_s: float, compute_s: float, output_s: float = 0.0) -> None: ...
    def answered(self, tally: Tally) -> None: ...
    def failed(self, seconds: float = 0.0) -> None: ...
    def traced(self, times: Times) -> None: ...
    def depth(self, rows: int) -> None: ...


class NullObserver:
    """An observer that notes nothing."""

    traces = False

    def queued(self, waits_s: Sequence[float]) -> None: ...
    def ran(self, rows: int, batch_s: float, compute_s: float, output_s: float = 0.0) -> None: ...
    def answered(self, tally: Tally) -> None: ...
    def failed(self, seconds: float = 0.0) -> None: ...
    def traced(self, times: Times) -> None: ...
    def depth(self, rows: int) -> None: ...
