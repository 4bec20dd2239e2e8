"""Puts a loaded version into service: makes a queue and a dispatcher for each graph, and its loop."""

import copy

from model_store.files.reading import find_memory
from model_store.graph import MAIN
from service.engine.batching.cost import RunMemory
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.execution.observer import Observer
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.slots import SlotTable
from service.models.entry import Model
from service.models.loading import LoadedVersion, VerifiedGraph
from service.settings import Settings

_PART_OF_MEMORY = 4
"""The runs of all lanes together may take 1/4 of the memory. Weights, bodies and answers need some too."""


def open_model(
    name: str, version: str, loaded: LoadedVersion, settings: Settings, device: Device, observer: Observer
) -> Model:
    """Put the version into service on ``device``."""
    overrides = loaded.manifest.batching
    wait_s = settings.max_wait_s if overrides.max_wait_s is None else overrides.max_wait_s
    max_requests = loaded.schedule_policy.max_requests if loaded.schedule_policy else (None, None)

    def dispatch(graph: VerifiedGraph) -> Dispatcher:
        return Dispatcher(
            graph.session,
            graph.signature,
            device,
            BatchQueue(graph.max_rows, settings.max_queue_rows, wait_s, max_requests),
            cost=graph.cost,
            pad=graph.pad,
            all_cores=graph.all_cores,
            observer=observer,
            may_inline=graph.session.open_ended is None,
            least_s=settings.deadline_s if loaded.schedule_policy else 0.0,
            row_elements=graph.row_elements,
            memory=_bound(graph, settings, device.lanes),
        )

    graphs = {MAIN: dispatch(loaded), **{name: dispatch(graph) for name, graph in loaded.graphs.items()}}
    loop = None
    if loaded.manifest.loop is not None:
        loop = ContinuousBatcher(
            loaded.session,
            loaded.signature,
            loaded.manifest.loop.carries,
            device,
            SlotTable(settings.max_slots, settings.max_queue_rows),
            max_rows=loaded.max_rows,
            cost=copy.deepcopy(loaded.cost),  # a step has another overhead than a single run of the same graph
            pad=loaded.pad,
            observer=observer,
            may_inline=loaded.session.open_ended is None,
            memory=_bound(loaded, settings, device.lanes),
        )
    return Model(name, version, loaded, graphs, loop)


def _bound(graph: VerifiedGraph, settings: Settings, lanes: int) -> RunMemory | None:
    """The limit of a run, if it is known how much memory a row takes."""
    if graph.memory is None:
        return None
    limit_bytes = settings.max_run_bytes or find_memory() // (_PART_OF_MEMORY * lanes * settings.workers)
    return RunMemory(limit_bytes, graph.memory)
