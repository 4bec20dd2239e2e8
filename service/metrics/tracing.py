"""Traces: the times of single requests, as JSON lines in the log ``sluice.trace``. Off by default.

Each model has a sampler. It follows the server's settings, except for those that were set for the model. They are the
trace settings of Triton.
"""

import json
import logging
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from service.metrics.times import Times

logger = logging.getLogger("sluice.trace")

DEFAULTS: dict[str, Any] = {"level": "OFF", "rate": 1000, "count": -1, "log_frequency": 0}
"""``level``: OFF or TIMESTAMPS. ``rate`` 3: every third request is traced. ``count``: how many are still to be traced,
-1 for no limit. ``log_frequency`` has no effect: each line is written at once."""


class Sampler:
    """Chooses the requests of one model that are traced. ``shared`` has the settings of the server."""

    def __init__(self, shared: ChainMap[str, Any]) -> None:
        self.settings = shared.new_child()
        self._seen = 0
        self._traced = 0
        self.on = False
        self.renew()

    def renew(self) -> None:
        """Follow changed settings."""
        self._rate = self.settings["rate"]
        self.on = self.settings["level"] != "OFF" and self.settings["count"] != 0

    def see(self, model: str, version: str, times: Times) -> None:
        """A request was answered. Log it if it is to be traced."""
        self._seen += 1
        if self._seen % self._rate or not self._take():
            return
        self._traced += 1
        about = {"id": self._traced, "model_name": model, "model_version": version, "rows": times.rows}
        logger.info(json.dumps({**about, "timestamps": _stamps(times)}))

    def _take(self) -> bool:
        """Whether one more trace may be made. Counts it."""
        counted = next(settings for settings in self.settings.maps if "count" in settings)
        left: int = counted["count"]
        if left > 0:
            counted["count"] -= 1
        if counted["count"] == 0:  # this was the last one, or another model made it
            self.on = False
        return left != 0


def _stamps(times: Times) -> list[dict[str, Any]]:
    """When a request reached each stage, in nanoseconds of a monotonic clock."""
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
        self._shared: ChainMap[str, Any] = ChainMap({}, DEFAULTS)
        self._samplers: dict[str, Sampler] = {}

    def sampler(self, model: str) -> Sampler:
        return self._samplers.setdefault(model, Sampler(self._shared))

    def settings(self, model: str | None = None) -> ChainMap[str, Any]:
        """The settings of a model, or of the server."""
        return self._shared if model is None else self.sampler(model).settings

    def change(self, model: str | None, changes: Mapping[str, str | int | None]) -> None:
        """Change settings. None resets one: of a model to the server's, of the server to the default."""
        settings = self.settings(model)
        for name, value in changes.items():
            if value is None:
                settings.maps[0].pop(name, None)
            else:
                settings[name] = value
        for sampler in self._samplers.values():
            sampler.renew()
        # Traces are written whatever the level of other logs.
        logger.setLevel(logging.INFO)
