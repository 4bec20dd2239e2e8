"""Puts one version into service: loads it, proves it, and keeps its entry."""

import logging
from collections.abc import Awaitable, Callable

from model_store import ModelVersion
from service.engine.execution.device import Device
from service.metrics.meters import Metrics, ModelMeter
from service.metrics.tracing import Tracer
from service.models.entry import Model, ModelEntry, Served, State, VersionEntry
from service.models.files import UNKNOWN, VersionFiles
from service.models.lifecycle.loads import Loads, describe_failure
from service.models.lifecycle.retirement import Retirement, tell_serving
from service.models.loading import LoadedVersion
from service.models.pipeline import LoadedPipeline, Pipeline
from service.settings import Settings

logger = logging.getLogger("sluice.registry")


class VersionLoader:
    """Used on the event loop only, by whoever holds the lock of the model."""

    def __init__(
        self, settings: Settings, device: Device, metrics: Metrics, tracer: Tracer, retirement: Retirement
    ) -> None:
        self.prove: Callable[[Pipeline], Awaitable[None]] | None = None
        """Sends a pipeline its golden requests. Raises NotReady if it answers otherwise."""
        self.loads = Loads(settings)
        self._settings = settings
        self._device = device
        self._metrics = metrics
        self._tracer = tracer
        self._retirement = retirement

    async def load(
        self,
        model_entry: ModelEntry,
        version: ModelVersion,
        again: bool = False,
        on_overdue: Callable[[], None] | None = None,
        *,
        files: VersionFiles = UNKNOWN,
    ) -> VersionEntry:
        """Load a version. ``again``: somebody asks for it, so it is tried even if it has crashed a worker.

        If the version serves already, it goes on until the new one takes its place. ``files`` are those of the version.
        """
        number, labels = version.version, (version.name, str(version.version))
        old = model_entry.entries.get(number)
        serves = old is not None and old.model is not None
        entry = VersionEntry(version, files=files)
        if not serves:
            model_entry.entries[number] = entry

        def note_overdue() -> None:
            entry.reason = f"it takes long to load, and is given up after {self._settings.load_timeout_s:g} s"
            (on_overdue or model_entry.tried.set)()

        try:
            loaded = await self.loads.load(version, note_overdue, is_asked_for=again)
            model = self._open(version, loaded)
            if isinstance(model, Pipeline) and self.prove is not None:
                await self.prove(model)
        except Exception as error:  # noqa: BLE001  # a version that breaks the loader must not affect the others
            entry.state, entry.has_failed = State.UNAVAILABLE, True
            entry.reason = describe_failure(error, f"loading {labels[0]} version {number}")
            if not serves:
                self._metrics.numbers("sluice_model_ready", labels).set(0)
            logger.error("%s version %s is unavailable: %s", *labels, entry.reason)
        else:
            self._tell_ready(model)
            entry.model = model
            entry.state, entry.reason = State.READY, ""
            model_entry.entries[number] = entry
            if old is not None and old.model is not None:
                if model_entry.serving is old.model:
                    model_entry.serving = entry.model
                self._retirement.begin(old, old.model)
        return entry

    def _open(self, source: ModelVersion, loaded: LoadedVersion | LoadedPipeline) -> Served:
        labels = (source.name, str(source.version))
        if isinstance(loaded, LoadedPipeline):
            return Pipeline(*labels, loaded, self._metrics)
        meter = ModelMeter(self._metrics, *labels, self._tracer.sampler(source.name))
        return Model(*labels, loaded, self._settings, self._device, meter)

    def _tell_ready(self, model: Served) -> None:
        labels, load_s = (model.name, model.version), model.loaded.load_s
        tell_serving(self._metrics, model, serves=True)
        self._metrics.numbers("sluice_model_load_seconds", labels).set(load_s)
        where = "through its steps" if isinstance(model, Pipeline) else f"on {model.loaded.session.place}"
        logger.info("%s version %s serves %s, loaded in %.2f s", *labels, where, load_s)
