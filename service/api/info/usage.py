"""Metrics of how much of its limits a worker uses, and of its build."""

import platform
from collections.abc import Iterator, Sized

import onnxruntime

from service.api.handler import RequestHandler
from service.api.info.metadata import release
from service.metrics.devices import Reading
from service.models.registry import Registry
from service.settings import Settings

LOOP = "loop"
"""The label of the queue for the slots of a loop. Other queues have the names of graphs."""


class Usage:
    """Reads current values. The lengths of ``sequences`` and ``streams`` are the numbers that are open."""

    def __init__(self, handler: RequestHandler, registry: Registry, sequences: Sized, streams: Sized) -> None:
        self._handler = handler
        self._registry = registry
        self._sequences = sequences
        self._streams = streams

    def read(self) -> Iterator[Reading]:
        """Each value and its limit. The limits of all workers add up."""
        handler = self._handler
        settings = handler.settings
        yield "sluice_requests_in_flight", (), float(handler.in_flight)
        yield "sluice_connections", (), float(len(handler.connections))
        yield "sluice_max_connections", (), float(settings.max_connections)
        yield "sluice_held_body_bytes", (), float(handler.body_budget.held_bytes)
        yield "sluice_max_held_body_bytes", (), float(handler.body_budget.max_bytes)
        yield "sluice_sequences", (), float(len(self._sequences))
        yield "sluice_max_sequences", (), float(settings.max_sequences)
        yield "sluice_max_streams", (), float(settings.max_sequences)
        yield from self._registry.lifecycle.room.read()
        yield from self._read_queues(settings)

    def _read_queues(self, settings: Settings) -> Iterator[Reading]:
        for model in self._registry.models():
            labels = (model.name, model.version)
            queues = {graph: dispatcher.waiting_rows for graph, dispatcher in model.graphs.items()}
            if model.loop is not None:
                queues[LOOP] = model.loop.waiting_rows
                yield "sluice_slots", labels, float(model.loop.table.used_slots)
                yield "sluice_max_slots", labels, float(model.loop.table.max_slots)
            for graph, rows in queues.items():
                yield "sluice_queue_rows", (*labels, graph), float(rows)
                yield "sluice_max_queue_rows", (*labels, graph), float(settings.max_queue_rows)


def read_build(is_compiled: bool) -> Iterator[Reading]:
    """The versions of this build, and whether the request path is compiled."""
    labels = (release(), platform.python_version(), onnxruntime.__version__, "yes" if is_compiled else "no")
    yield "sluice_build_info", labels, 1.0
