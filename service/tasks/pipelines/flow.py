"""Decides which steps of a request may begin. Pure: it starts nothing.

Rules
- A step is ready when all steps that it needs have ended.
- ``take`` returns each step once. ``end`` is called once for each step that was taken.
- The flow is done when all steps have ended.
"""

from collections.abc import Mapping

from model_store.pipelines.order import needs
from model_store.tasks import Pipeline


def find_needs(pipeline: Pipeline) -> Mapping[str, frozenset[str]]:
    """The steps that each step needs. It is the same for all requests of a pipeline."""
    return {name: needs(step) for name, step in pipeline.steps.items()}


class Flow:
    """The steps of one request."""

    def __init__(self, needed: Mapping[str, frozenset[str]]) -> None:
        self._waiting = {name: set(of_step) for name, of_step in needed.items()}
        self.running: dict[str, None] = {}
        """The steps that were taken and have not ended, in order."""

    @property
    def is_done(self) -> bool:
        return not self._waiting and not self.running

    def take(self) -> list[str]:
        """The steps that are ready."""
        ready = [name for name, needed in self._waiting.items() if not needed]
        for name in ready:
            del self._waiting[name]
            self.running[name] = None
        return ready

    def end(self, name: str) -> None:
        del self.running[name]
        for needed in self._waiting.values():
            needed.discard(name)
