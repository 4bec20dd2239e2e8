"""What a dispatcher passes around: a request with the one who waits for it, its answer, and a batch in a lane."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.engine.batching.queue import Batch, Request
from service.engine.execution.lane import AllCores, LaneUser, Run
from service.engine.tensors import Rows
from service.errors import ServiceError

logger = logging.getLogger("sluice.engine")


class Answer:
    """Outputs by name, with as many rows as the request had, and where its time went, in seconds."""

    def __init__(self, outputs: Mapping[str, np.ndarray], queue_s: float, batch_s: float, compute_s: float) -> None:
        self.outputs = outputs
        self.queue_s = queue_s
        self.batch_s = batch_s
        self.compute_s = compute_s


Done = Callable[[Answer | ServiceError], None]


class QueuedRequest(Request):
    """A request with the one who waits for it. ``done`` is called exactly once, unless the caller cancels first.

    ``rows_done`` are the rows so far of a request that is answered by several batches.
    """

    def __init__(self, rows: Rows, arrived: float, deadline: float, priority: int, done: Done) -> None:
        super().__init__(rows, arrived, deadline, priority)
        self.done = done
        self.finished = False
        self.rows_done = 0
        self._parts: list[tuple[int, Sequence[np.ndarray]]] | None = None
        self.queue_s = self.batch_s = self.compute_s = 0.0

    def rejoin(
        self, start: int, rows: int, outputs: Sequence[np.ndarray], axes: Sequence[int | None]
    ) -> Sequence[np.ndarray] | None:
        """Take in so many rows from ``start`` on; all of them in their order, once they are there.

        ``axes`` are the batch axes of the outputs, None for one that every row shares.
        """
        parts = self._parts = self._parts or []
        parts.append((start, outputs))
        self.rows_done += rows
        if self.rows_done < self.rows.number:
            return None
        ordered = [outputs for _, outputs in sorted(parts, key=lambda part: part[0])]
        columns = zip(axes, zip(*ordered, strict=True), strict=True)
        return [parts[0] if axis is None else np.concatenate(parts, axis) for axis, parts in columns]

    def finish(self, outcome: Answer | ServiceError) -> None:
        if self.finished:
            return
        self.finished = True
        try:
            self.done(outcome)
        except Exception:  # the others of the batch must get their answers whatever one of their callers does
            logger.exception("the receiver of an answer failed")


class BatchRun(Run):
    """A batch on its way through a lane, where it runs with so many ``rows``."""

    def __init__(
        self,
        dispatcher: LaneUser,
        taken_at: float,
        estimate_s: float,
        batch: Batch[QueuedRequest],
        all_cores: AllCores | None = None,
    ) -> None:
        super().__init__(dispatcher, taken_at, estimate_s)
        self.batch = batch
        self.all_cores = all_cores
        self.rows = batch.count
        self.whole = False
        """Whether it is one request that is neither cut nor joined to others."""
        self.outputs: Sequence[np.ndarray] = ()
