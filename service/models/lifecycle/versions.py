"""Puts one version into service: loads it, checks it, and keeps its entry."""

import logging
import time
from collections.abc import Awaitable, Callable

from model_store import ModelVersion
from service.engine.execution.device import Device
from service.engine.onnx.providers import runs_on_cpu
from service.engine.onnx.session import available_providers
from service.errors import NoRoom
from service.metrics.meters import Metrics, ModelMeter
from service.metrics.tracing import Tracer
from service.models.budget import Claim, show
from service.models.entry import EVICTED, NO_ROOM, Model, ModelEntry, Served, State, VersionEntry
from service.models.files import UNKNOWN, VersionFiles
from service.models.lifecycle.demand import RETRY_S, Demand
from service.models.lifecycle.footprint import count_weights, read_memory
from service.models.lifecycle.loads import Growth, Loads, describe_failure
from service.models.lifecycle.retirement import Retirement, report_serving
from service.models.lifecycle.room import Need, NoLongerWanted, Room
from service.models.loading import LoadedVersion
from service.models.pipeline import LoadedPipeline, Pipeline
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

_RETRY_FAILED_S = 10.0
"""How long an evicted version is not loaded again after a load that failed."""


class VersionLoader:
    """Used on the event loop only, with the lock of the model held."""

    def __init__(
        self,
        settings: Settings,
        device: Device,
        metrics: Metrics,
        tracer: Tracer,
        retirement: Retirement,
        room: Room,
    ) -> None:
        self.prove: Callable[[Pipeline], Awaitable[None]] | None = None
        """Sends a pipeline its golden requests. Raises NotReady if the answers are wrong."""
        self.find_demand: Callable[[str, int], Demand | None] = lambda name, number: None
        """Finds the requests that wait for a version."""
        self.is_starting = False
        """Whether models load because the server starts: then they only take free memory."""
        self.loads = Loads(settings)
        self._settings = settings
        self._device = device
        self._metrics = metrics
        self._tracer = tracer
        self._retirement = retirement
        self._room = room
        self._on_cpu = runs_on_cpu(settings.provider, available_providers(settings.provider))

    async def load(
        self,
        model_entry: ModelEntry,
        version: ModelVersion,
        again: bool = False,
        on_overdue: Callable[[], None] | None = None,
        *,
        files: VersionFiles = UNKNOWN,
    ) -> VersionEntry:
        """Load a version. ``again``: a caller asks for it, so it is tried even if it has crashed a worker.

        If the version serves already, its old content serves until the new one takes over. ``files`` are those of the
        version. If there is no room, the next request loads it.
        """
        number, labels = version.version, (version.name, str(version.version))
        old = model_entry.entries.get(number)
        serves = old is not None and old.model is not None
        need, is_wanted = self._find_need(model_entry, version, again)
        entry = VersionEntry(version, files=files)
        if old is not None and old.on_demand:
            entry.on_demand, entry.has_served = True, old.has_served
        if not serves:
            model_entry.entries[number] = entry

        def note_overdue() -> None:
            entry.reason = f"it takes long to load, and is given up after {self._settings.load_timeout_s:g} s"
            (on_overdue or model_entry.tried.set)()

        claim: Claim | None = None
        try:
            claim = await self._room.claim(version, need, is_wanted)
            model, taken_bytes = await self._load(version, claim, note_overdue, again)
            if isinstance(model, Pipeline) and self.prove is not None:
                await self.prove(model)
        except BaseException as error:  # a version that breaks the loader must not affect others
            if claim is not None:
                self._room.free(claim)
            if not isinstance(error, Exception):
                raise
            self._note_failure(entry, error, need, "" if old is None else old.reason)
            if not serves:
                self._metrics.numbers("sluice_model_ready", labels).set(int(entry.retry_at == 0.0))
        else:
            self._report_ready(model)
            entry.model = model
            entry.state, entry.reason, entry.on_demand = State.READY, "", False
            model_entry.entries[number] = entry
            if old is not None and old.model is not None:
                if model_entry.serving is old.model:
                    model_entry.serving = entry.model
                self._retirement.begin(old, old.model)
            if claim is not None:
                self._room.serve(claim, model_entry, entry, taken_bytes)
        return entry

    def is_due(self, name: str, entry: VersionEntry) -> bool:
        """Whether requests wait for a model and ``entry``, a version of it that is not loaded, may be tried now."""
        demand = self.find_demand(name, entry.source.version)
        if demand is None or demand.number is not None or not demand.is_wanted():
            return False
        return entry.retry_at <= time.perf_counter()

    def _find_need(
        self, model_entry: ModelEntry, version: ModelVersion, again: bool
    ) -> tuple[Need, Callable[[], bool]]:
        """Why the version is to load, and a function that tells whether it is still wanted."""
        demand = self.find_demand(version.name, version.version)
        if demand is not None and (demand.number is not None or model_entry.serving is None) and not again:
            return Need.DEMAND, demand.is_wanted
        serves = any(entry.model is not None for entry in model_entry.entries.values())
        is_change = serves and demand is None and not self.is_starting
        return (Need.CHANGE if again or is_change else Need.SPARE), lambda: True

    async def _load(
        self, version: ModelVersion, claim: Claim | None, on_overdue: Callable[[], None], again: bool
    ) -> tuple[Served, int]:
        """The loaded version, and its memory in bytes; 0 if memory is not limited."""
        room, growth = self._room, None
        freed: list[int] = []

        def read() -> int:
            freed.append(room.freed_bytes)
            return read_memory(self._on_cpu) + freed[-1]

        if claim is not None and not room.is_measured(version):
            growth = Growth(read)
        loaded = await self.loads.load(version, on_overdue, is_asked_for=again, growth=growth)
        model = self._open(version, loaded)
        if claim is None:
            return model, 0
        if isinstance(loaded, LoadedPipeline):
            room.free(claim)  # it takes no memory itself, and the models of its steps may need it
            return model, 0
        taken_bytes = max(claim.size_bytes if growth is None else 0, count_weights(loaded))
        if growth is not None and growth.grown_bytes is not None:
            taken_bytes = max(taken_bytes, growth.grown_bytes)
            if freed[0] == freed[-1] and not room.is_freeing:
                room.note(version, claim.size_bytes, taken_bytes)
            # Else a version was going meanwhile: its memory may have distorted the measurement, so it is not kept.
            logger.info("%s version %d takes %s", version.name, version.version, show(taken_bytes))
        return model, taken_bytes

    def _note_failure(self, entry: VersionEntry, error: Exception, need: Need, known: str) -> None:
        """Record why a version does not serve. An evicted version is tried again after a while."""
        name, number = entry.source.name, entry.source.version
        entry.state = State.UNAVAILABLE
        if isinstance(error, NoLongerWanted):
            entry.on_demand, entry.reason = True, EVICTED if entry.has_served else NO_ROOM
            return
        entry.reason = describe_failure(error, f"loading {name} version {number}")
        entry.lacks_room = isinstance(error, NoRoom)
        if entry.lacks_room and need is Need.SPARE:
            entry.on_demand, entry.reason, entry.retry_at = True, NO_ROOM, 0.0
            logger.info("%s version %d is loaded by the next request: %s", name, number, error)
            return
        entry.has_failed = not entry.lacks_room
        entry.on_demand = entry.on_demand or entry.lacks_room
        entry.has_served = entry.has_served and entry.lacks_room
        entry.retry_at = time.perf_counter() + (RETRY_S if entry.lacks_room else _RETRY_FAILED_S)
        if entry.reason != known:
            logger.error("%s version %s is unavailable: %s", name, number, entry.reason)

    def _open(self, source: ModelVersion, loaded: LoadedVersion | LoadedPipeline) -> Served:
        labels = (source.name, str(source.version))
        if isinstance(loaded, LoadedPipeline):
            return Pipeline(*labels, loaded, self._metrics)
        meter = ModelMeter(self._metrics, *labels, self._tracer.sampler(source.name))
        return Model(*labels, loaded, self._settings, self._device, meter)

    def _report_ready(self, model: Served) -> None:
        labels, load_s = (model.name, model.version), model.loaded.load_s
        report_serving(self._metrics, model, serves=True)
        self._metrics.numbers("sluice_model_load_seconds", labels).set(load_s)
        where = "through its steps" if isinstance(model, Pipeline) else f"on {model.loaded.session.place}"
        logger.info("%s version %s serves %s, loaded in %.2f s", *labels, where, load_s)
