"""Copies of answered requests: another version runs the same rows, and its outputs are compared.

Nobody waits for a copy. It runs in the background (``engine/execution/background.py``), and is dropped before it costs
anything: if too many wait or hold too much memory, if the server is short of memory, if a lane is needed, and if the
version goes out of service.
"""

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.engine.batching.queue import Answer
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.errors import InvalidInput, ModelFailure, ServiceError
from service.models.entry import Model, Served
from service.models.rollout.comparison import GraphRun, Tolerance, agree, count_bytes

logger = logging.getLogger("sluice.rollout")

MOST_WAITING: Final = 256
MOST_BYTES: Final = 64 << 20
"""The limit for the inputs and outputs of all copies that wait or run."""
_MOST_S: Final = 30.0
"""A copy that has not run after this time is dropped."""
_LARGE_BYTES: Final = 256 << 10
"""Larger outputs are compared in a thread."""


class Outcome(enum.StrEnum):
    SAME = "same"
    DIFFERS = "differs"
    FAILED = "failed"
    """The other version failed on the rows, or does not accept them."""
    DROPPED = "dropped"


@dataclass(eq=False, slots=True)
class _Copy:
    """A request whose answer is compared. ``left`` counts the runs that have not ended."""

    model: Model
    runs: Sequence[GraphRun]
    tolerances: Mapping[str, Tolerance]
    size_bytes: int
    done: Callable[[Outcome], None]
    left: int
    outcome: Outcome = Outcome.SAME
    cancels: list[Callable[[], None]] = field(default_factory=list)


class Copies:
    """Used on the event loop only. ``is_short`` tells whether the server is short of memory."""

    def __init__(self, device: Device, loop: asyncio.AbstractEventLoop, is_short: Callable[[], bool]) -> None:
        self._device = device
        self._loop = loop
        self._is_short = is_short
        self._dispatchers: dict[Model, dict[str, Dispatcher]] = {}
        self._new: deque[_Copy] = deque()
        self._open: set[_Copy] = set()
        self._held_bytes = 0

    def offer(
        self,
        model: Model,
        runs: Sequence[GraphRun],
        tolerances: Mapping[str, Tolerance],
        done: Callable[[Outcome], None],
    ) -> None:
        """Have ``model`` repeat these runs later. ``done`` is called once, with the outcome."""
        size_bytes = count_bytes(runs)
        is_full = len(self._open) >= MOST_WAITING or self._held_bytes + size_bytes > MOST_BYTES
        if is_full or self._is_short():
            done(Outcome.DROPPED)
            return
        copy = _Copy(model, runs, tolerances, size_bytes, done, len(runs))
        self._open.add(copy)
        self._held_bytes += size_bytes
        if not self._new:
            self._loop.call_soon(self._submit_new)  # after the other answers of the batch have been sent
        self._new.append(copy)

    def _submit_new(self) -> None:
        while self._new:
            copy = self._new.popleft()
            for run in copy.runs:
                if copy in self._open:
                    self._submit(copy, run)

    def _submit(self, copy: _Copy, run: GraphRun) -> None:
        def took(outcome: Answer | ServiceError) -> None:
            if copy not in self._open:
                return
            if isinstance(outcome, ServiceError):
                self._end(copy, Outcome.FAILED if isinstance(outcome, InvalidInput | ModelFailure) else Outcome.DROPPED)
            else:
                self._compare(copy, run, outcome)

        try:
            dispatcher = self._find(copy.model, run.graph)
            rows = dispatcher.signature.check(run.inputs)
            copy.cancels.append(dispatcher.submit(rows, took, timeout_s=_MOST_S))
        except ServiceError as error:
            took(error)
        except Exception:
            logger.exception("a copy for %s version %s could not be made", copy.model.name, copy.model.version)
            self._end(copy, Outcome.DROPPED)

    def _find(self, model: Model, graph: str) -> Dispatcher:
        """The dispatcher for copies of a graph. Raises InvalidInput."""
        if graph not in model.graphs:
            raise InvalidInput(f"version {model.version} of {model.name!r} has no graph {graph!r}")
        opened = self._dispatchers.setdefault(model, {})
        if graph not in opened:
            opened[graph] = model.open_in_background(graph)
        return opened[graph]

    def _compare(self, copy: _Copy, run: GraphRun, answer: Answer) -> None:
        def work() -> bool:
            return agree(run.outputs, answer.outputs, copy.tolerances.get(run.graph, Tolerance.usual()))

        def done(future: "asyncio.Future[bool]") -> None:
            if not future.cancelled() and copy in self._open:
                self._note(copy, future.exception() is None and future.result())

        if count_bytes([run]) > _LARGE_BYTES:
            self._loop.run_in_executor(None, work).add_done_callback(done)
        else:
            self._note(copy, work())

    def _note(self, copy: _Copy, is_same: bool) -> None:
        if not is_same:
            copy.outcome = Outcome.DIFFERS
        copy.left -= 1
        if not copy.left:
            self._end(copy, copy.outcome)

    def _end(self, copy: _Copy, outcome: Outcome) -> None:
        self._open.discard(copy)
        self._held_bytes -= copy.size_bytes
        cancels, copy.cancels = copy.cancels, []
        if outcome in (Outcome.FAILED, Outcome.DROPPED):
            for cancel in cancels:
                cancel()
        copy.done(outcome)

    async def release(self, model: Served) -> None:
        """Drop the copies for a version that goes out of service."""
        for copy in [each for each in self._open if each.model is model]:
            self._end(copy, Outcome.DROPPED)
        if isinstance(model, Model):
            for dispatcher in self._dispatchers.pop(model, {}).values():
                await dispatcher.drain()
                self._device.forget(dispatcher)
                dispatcher.queue.next_deadline()  # drops the requests, which would keep the model in memory

    @property
    def held_bytes(self) -> int:
        return self._held_bytes
