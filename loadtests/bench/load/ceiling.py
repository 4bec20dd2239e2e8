"""The ceiling: the rate of ONNX Runtime in process at its best batch size.

No server can exceed it. Its distance shows what HTTP and batching cost; the server also shares the cores with the load
generator, the ceiling does not. Waiting clients have at most one row each under way, so the ceiling depends on their
number. A sweep finds the best batch sizes. These are measured again in every round, because the machine's speed varies
more than the servers differ.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from time import perf_counter

import numpy as np

from loadtests.bench.models.model import INPUT, BenchModel, open_session

CANDIDATES = 3


@dataclass(frozen=True)
class Point:
    """Rows per second with batches of ``batch_rows``, ``lanes`` at once, each on ``threads`` threads."""

    batch_rows: int
    threads: int
    lanes: int
    rows_per_s: float

    @property
    def rows_under_way(self) -> int:
        return self.batch_rows * self.lanes


@dataclass(frozen=True)
class Ceiling:
    model: str
    points: tuple[Point, ...]

    @property
    def best(self) -> Point:
        return max(self.points, key=lambda point: point.rows_per_s)


def batch_sizes(max_rows: int) -> Iterator[int]:
    """1, 2, 4 … up to ``max_rows``."""
    rows = 1
    while rows <= max_rows:
        yield rows
        rows *= 2


def measure_ceiling(model: BenchModel, cores: int, duration_s: float) -> Ceiling:
    """Sweep batch sizes with one lane and ``cores`` lanes of one thread, and with one lane of ``cores`` threads."""
    content = model.build()
    points = []
    for threads, lanes in sorted({(1, 1), (1, cores), (cores, 1)}):
        session = open_session(content, threads)
        for batch_rows in batch_sizes(model.max_rows):
            rate = _measure_rate(session, model.make_rows(batch_rows), lanes, duration_s)
            points.append(Point(batch_rows, threads, lanes, rate))
    return Ceiling(model.name, tuple(points))


class BestPoints:
    """The best few points of a ceiling for a number of clients, measured again in each round."""

    def __init__(self, model: BenchModel, ceiling: Ceiling, clients: int) -> None:
        content = model.build()
        able = [point for point in ceiling.points if point.rows_under_way <= clients]
        points = sorted(able, key=lambda point: -point.rows_per_s)[:CANDIDATES]
        self._trials = [
            (open_session(content, point.threads), model.make_rows(point.batch_rows), point.lanes) for point in points
        ]

    def measure(self, duration_s: float) -> float:
        """Rows per second of the best of them now. All together take ``duration_s``."""
        share_s = duration_s / len(self._trials)
        return max(_measure_rate(session, rows, lanes, share_s) for session, rows, lanes in self._trials)


def _measure_rate(session, rows: np.ndarray, lanes: int, duration_s: float) -> float:  # type: ignore[no-untyped-def]
    session.run(None, {INPUT: rows})
    start = Barrier(lanes)

    def run_lane(_: int) -> float:
        start.wait()
        began = perf_counter()
        runs = 0
        while (elapsed := perf_counter() - began) < duration_s:
            session.run(None, {INPUT: rows})
            runs += 1
        return runs * len(rows) / elapsed

    with ThreadPoolExecutor(lanes) as pool:
        return sum(pool.map(run_lane, range(lanes)))
