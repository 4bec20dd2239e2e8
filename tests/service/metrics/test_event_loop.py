"""The lateness of the event loop, and the levels that a worker writes."""

import asyncio
from pathlib import Path

from service.metrics.event_loop import PERIOD_S, LoopWatch
from service.metrics.meters import Metrics
from service.metrics.storage import read_storage


class Loop:
    """Keeps the timer, which the test fires."""

    def __init__(self) -> None:
        self.timers: list[asyncio.TimerHandle] = []
        self.real = asyncio.new_event_loop()

    def call_later(self, delay_s: float, call: object) -> asyncio.TimerHandle:
        assert delay_s == PERIOD_S
        self.timers.append(asyncio.TimerHandle(0.0, call, (), self.real))  # type: ignore[arg-type]
        return self.timers[-1]


def test_lateness_of_the_loop_is_observed_until_the_watch_stops() -> None:
    """The time from when the timer was due to when it fired counts; a timer that comes early is not late."""
    now, metrics, loop = 10.0, Metrics(), Loop()
    watch = LoopWatch(loop, metrics, lambda: now)  # type: ignore[arg-type]
    watch.start()
    for late_s in (0.0, 0.7, -0.1):
        now += PERIOD_S + late_s
        loop.timers[-1]._run()
    assert len(loop.timers) == 4
    watch.stop()
    assert [timer.cancelled() for timer in loop.timers] == [False, False, False, True]
    loop.real.close()
    counts = metrics.sums()["sluice_event_loop_lag_seconds"][()]
    assert sum(counts[:-1]) == 3
    assert counts[0] == 2, "two were not late"
    assert abs(counts[-1] - 0.7) < 1e-9


def test_levels_are_written_for_the_other_workers(tmp_path: Path) -> None:
    """Another worker reads the last levels. Those of a version that has gone are 0."""
    metrics, waiting = Metrics(tmp_path), {("m", "1", "main"): 5.0}
    metrics.levels.append(lambda: [("sluice_queue_rows", labels, rows) for labels, rows in waiting.items()])
    (path,) = tmp_path.glob("*.series")

    def read() -> dict[tuple[str, ...], float]:
        metrics.write_levels()
        return {labels: values[0] for each, labels, values in read_storage(path) if each.name == "sluice_queue_rows"}

    assert read() == {("m", "1", "main"): 5}
    waiting[("m", "2", "main")] = waiting.pop(("m", "1", "main"))
    assert read() == {("m", "1", "main"): 0, ("m", "2", "main"): 5}
