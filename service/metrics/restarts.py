"""Counts the restarts of workers. The supervisor writes the counters, and the workers read them."""

import signal
from pathlib import Path

from service.metrics.definitions import ALL
from service.metrics.storage import Numbers, Storage

CAUSES = {
    "load": "it crashed while it loaded a version",
    "crash": "a signal such as SIGSEGV ended it",
    "killed": "SIGKILL ended it, as the system does when memory runs out",
    "failed": "it ended with a code other than 0",
    "stopped": "it ended in order: a run was stuck, or somebody sent SIGTERM",
}


class RestartCounter:
    """All causes begin at 0, so that the first restart shows as an increase."""

    def __init__(self, folder: Path | None) -> None:
        storage = Storage(folder, "supervisor")
        definition = ALL["sluice_worker_restarts"]
        self._counters = {cause: Numbers(storage.values, storage.place(definition, (cause,))) for cause in CAUSES}

    def count(self, code: int, loading: bool) -> None:
        """A worker ended. ``code`` is negative for a signal. ``loading``: a version that it loaded is to blame."""
        self._counters[find_cause(code, loading)].add(1.0)


def find_cause(code: int, loading: bool) -> str:
    """Why a worker ended: one of ``CAUSES``."""
    if loading:
        return "load"
    if code == -signal.SIGKILL:
        return "killed"
    if code < 0:
        return "crash"
    return "failed" if code else "stopped"
