"""Traces: where the time of single requests went, as JSON lines in the log ``sluice.trace``.

Off by default. Each model has a sampler, which follows the server's settings except for those that were set for its
model. While it is off a batch pays one look at a flag.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, TypedDict

from service.metrics.times import Times

logger = logging.getLogger("sluice.trace")


class TraceSettings(TypedDict, total=False):
    """``level``: OFF or TIMESTAMPS. ``rate`` 3: each third request is traced. ``count``: so many are left, -1: no end.

    ``log_frequency`` is kept for clients that set it; a line goes out at once whatever it is.
    """

    level: str
    rate: int
    count: int
    log_frequency: int


DEFAULTS = TraceSettings(level="OFF", rate=1000, count=-1, log_frequency=0)


class Sampler:
    """Chooses the requests of one model that are traced."""

    def __init__(self, own: TraceSettings, shared: TraceSettings) -> None:
        self.own = own
        self._shared = shared
        self._seen = 0
        self._traced = 0
        self.on = False
        self.renew()

    @property
    def settings(self) -> TraceSettings:
        return {**self._shared, **self.own}

    def renew(self) -> None:
        """The settings have changed."""
        now = self.settings
        self._rate = now["rate"]
        self.on = now["level"] != "OFF" and now["count"] != 0

    def see(self, model: str, version: str, times: Times) -> None:
        """A request was answered; log it if it is its turn."""
        self._seen += 1
        if self._seen % self._rate or not self._take():
            return
        self._traced += 1
        about = {"id": self._traced, "model_name": model, "model_version": version, "rows": times.rows}
        logger.info(json.dumps({**about, "timestamps": _stamps(times)}))

    def _take(self) -> bool:
        """Whether one more trace may be made; one is left less of those that are counted."""
        counted = self.own if "count" in self.own else self._shared
        if counted["count"] > 0:
            counted["count"] -= 1
            if not counted["count"]:
                self.on = False
            return True
        if not counted["count"]:
            self.on = False  # another model has made the last one
        return counted["count"] < 0


def _stamps(times: Times) -> list[dict[str, Any]]:
    """When a request came to each stage, in nanoseconds of one monotonic clock."""
    taken = times.arrived + times.queue_s
    moments = {
        "QUEUE_START": times.arrived,
        "COMPUTE_START": taken,
        "COMPUTE_INPUT_END": taken + times.batch_s,
        "COMPUTE_OUTPUT_START": taken + times.batch_s + times.compute_s,
        "COMPUTE_END": times.ended,
    }
    return [{"name": name, "ns": round(at * 1e9)} for name, at in moments.items()]


class Tracer:
    """The settings of the server and the samplers of its models."""

    def __init__(self) -> None:
        self._shared: TraceSettings = {**DEFAULTS}
        self._samplers: dict[str, Sampler] = {}

    def sampler(self, model: str) -> Sampler:
        found = self._samplers.get(model)
        if found is None:
            found = self._samplers[model] = Sampler({}, self._shared)
        return found

    def settings(self, model: str | None = None) -> TraceSettings:
        """What holds for a model, or for those that have no settings of their own."""
        return self._shared if model is None else self.sampler(model).settings

    def change(self, model: str | None, changes: Mapping[str, str | int | None]) -> None:
        """Set some settings; None takes back one of a model, or puts one of the server to its default."""
        target = self._shared if model is None else self.sampler(model).own
        for name, value in changes.items():
            if value is not None:
                target[name] = value  # type: ignore[literal-required]  # the caller has checked them
            elif model is None:
                target[name] = DEFAULTS[name]  # type: ignore[literal-required]
            else:
                target.pop(name, None)  # type: ignore[misc]
        for sampler in self._samplers.values():
            sampler.renew()
        # Lines go out whatever is said of the other logs: who wants none turns tracing off.
        logger.setLevel(logging.INFO)
