"""A model with a canary or a shadow: which version answers a request, and what is recorded about the answer.

Rules
- The version is chosen once for each request that names none. A request that names one takes no part in the trial.
- After an answer, the outputs of one version are compared with those of the other for the same rows: every answer of a
  canary with the stable version, and a part of the stable version's answers with the shadow.
- Only single runs of graphs are compared. For loops, sequences and pipelines only errors and times are recorded.
- A request that continues a sequence or a signed state goes to the version on which that began.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from model_store.rollout import Rollout
from service.errors import DeadlinePassed, RateLimited, TooLate
from service.models.entry import Model, ModelEntry, Served
from service.models.rollout.comparison import GraphRun
from service.models.rollout.judge import Window
from service.models.rollout.traffic_split import TrafficSplit
from service.transport.request import Exposure, Request

_MOST_RUNS: Final = 16
"""The most runs of a request that are kept for the comparison. A request with more is not compared."""
_OF_CALLERS: Final = frozenset((400, 413, 415, 422, 501))
"""Statuses of requests that are themselves at fault."""
_NOT_FOUND: Final = 404
_OF_TIME: Final = frozenset((DeadlinePassed.reason, TooLate.reason))
"""Reasons of requests that had too little time."""
_OF_VERSIONS: Final = frozenset((_NOT_FOUND, 429))
"""Statuses below 500 that count as errors of the version: it does not do the task, or is too slow for its requests."""


class ActiveRollout:
    """Chooses between the versions of one model, and records in ``window`` how they do.

    ``returned`` says why the canary no longer answers; "" while it does. ``on_note`` is called when the first request
    of a window has ended. ``compare`` is called after an answer, with this object, the exposure and its runs.
    """

    def __init__(
        self,
        name: str,
        model_entry: ModelEntry,
        facts: Rollout,
        on_note: Callable[["ActiveRollout"], None],
        compare: Callable[["ActiveRollout", "ModelExposure", list[GraphRun]], None],
    ) -> None:
        self.name = name
        self.facts = facts
        self.window = Window()
        self.returned = "" if facts.canary is None else facts.canary.returned
        self._model_entry = model_entry
        self._on_note = on_note
        self._compare = compare
        canary, shadow = facts.canary, facts.shadow
        self._canary = self._shadow = 0
        if canary is not None:
            self._canary, self._is_sticky = canary.version, canary.header is not None
            self._canary_split = TrafficSplit(canary.percent, canary.header, f"{name}/{canary.version}")
        if shadow is not None:
            self._shadow = shadow.version
            self._shadow_split = TrafficSplit(shadow.percent, None, f"{name}/{shadow.version}")

    @property
    def has_choice(self) -> bool:
        """Whether requests have to be distributed."""
        return bool(self._shadow or (self._canary and not self.returned))

    def choose(self, request: Request) -> Served | None:
        """As ``Chooser.choose``."""
        stable = self._model_entry.serving
        if stable is None or request.is_own:
            return stable
        canary = self.find(self._canary) if self._canary and not self.returned else None
        shadow: Served | None = None
        if self._shadow and self._shadow_split.picks(request.headers):
            shadow = self.find(self._shadow)
        has_canary = canary is not None and canary is not stable
        if canary is not None and has_canary and self._canary_split.picks(request.headers):
            request.exposure = ModelExposure(self, canary, stable, True)
            return canary
        if has_canary or (shadow is not None and shadow is not stable):
            request.exposure = ModelExposure(self, stable, shadow, False)
        return stable

    def find(self, version: int) -> Served | None:
        """A version, if it is in service."""
        entry = self._model_entry.entries.get(version)
        return None if entry is None else entry.model

    def find_reason(self, version: int) -> str:
        """Why a version is not in service."""
        entry = self._model_entry.entries.get(version)
        return "it is not loaded" if entry is None else entry.reason or entry.state.lower()

    @property
    def stable(self) -> Served | None:
        return self._model_entry.serving

    def has_part(self, version: object) -> bool:
        """Whether a version is the stable one or the canary."""
        return version is not None and version in (self.stable, self.find(self._canary))

    def describe(self) -> Mapping[str, Any]:
        told: dict[str, Any] = {}
        canary, shadow = self.facts.canary, self.facts.shadow
        if canary is not None:
            told["canary"] = self._describe(canary.version, canary.percent, self.returned)
        if shadow is not None:
            told["shadow"] = self._describe(shadow.version, shadow.percent, "")
        return told

    def _describe(self, version: int, percent: float, returned: str) -> dict[str, Any]:
        told: dict[str, Any] = {"version": str(version), "percent": percent}
        if returned:
            return {**told, "state": "returned", "reason": returned}
        if self.find(version) is None:
            return {**told, "state": "waiting", "reason": self.find_reason(version)}
        return {**told, "state": "on trial"}

    def take_window(self) -> Window:
        """What was recorded since the last call."""
        window, self.window = self.window, Window()
        return window

    def end(self, exposure: "ModelExposure", status: int, seconds: float, reason: str) -> None:
        """Record a request that was answered, or whose caller has gone, and have the answer compared."""
        if self._canary and not self.returned and exposure.is_noted:
            self._wake()
            arm = self.window.canary if exposure.is_canary else self.window.stable
            is_error = status >= 500 or status in _OF_VERSIONS or status in _OF_CALLERS
            # If a header decides, all requests of one caller go to one version: its own faults must not count.
            is_own = is_error and self._is_sticky and self._is_own_fault(exposure, status, reason)
            arm.note(seconds, is_error and not is_own)
        runs, exposure.runs = exposure.runs, []
        if runs and status == 200:
            self._compare(self, exposure, runs)

    def _is_own_fault(self, exposure: "ModelExposure", status: int, reason: str) -> bool:
        """Whether an error may be the caller's fault."""
        if status in _OF_CALLERS or reason == RateLimited.reason:
            return True
        if reason in _OF_TIME:
            return exposure.is_hurried
        stable, canary = self.stable, self.find(self._canary)
        return status == _NOT_FOUND and stable is not None and canary is not None and stable.tasks <= canary.tasks

    def note_compared(self, *, differs: bool) -> None:
        """Record that an answer of the canary was compared with that of the stable version."""
        self._wake()
        self.window.compared += 1
        self.window.differ += differs

    def _wake(self) -> None:
        if self.window.is_empty:
            self._on_note(self)


class ModelExposure(Exposure):
    """A request that ``version`` answers. ``other`` is the version with which its answer is compared."""

    __slots__ = ("_rollout", "is_canary", "is_noted", "other", "runs", "version")

    def __init__(self, rollout: ActiveRollout, version: Served, other: Served | None, is_canary: bool) -> None:
        self._rollout = rollout
        self.version = version
        self.other = other if isinstance(other, Model) else None
        self.is_canary = is_canary
        self.is_noted = True
        self.is_hurried = False
        self.runs: list[GraphRun] = []

    def note_run(self, graph: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        if self.other is None:
            return
        self.runs.append(GraphRun(graph, inputs, outputs))
        if len(self.runs) > _MOST_RUNS:
            self.other, self.runs = None, []

    def pin(self, version: object) -> None:
        if version is not self.version:
            self.is_noted = self._rollout.has_part(version)
            self.is_canary = self.is_noted and version is not self._rollout.stable
        self.other = None

    def end(self, status: int, seconds: float, reason: str) -> None:
        self._rollout.end(self, status, seconds, reason)
