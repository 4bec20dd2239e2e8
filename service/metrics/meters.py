"""The meters of models and routes, and the sums over all workers.

`storage.py` keeps the numbers, `exposition.py` writes them for Prometheus. When a worker has ended, its counters stay
in the sums; its gauges do not.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from service.metrics.definitions import ALL, BATCHES, DEFINITIONS, REQUEST_FIELDS, REQUESTS, Definition
from service.metrics.storage import Histogram, Labels, Numbers, Series, Storage, is_in_use, read_storage
from service.metrics.times import Tally, Times
from service.metrics.tracing import Sampler, Tracer

_TOKENS = ("text", "padding")
_FAIL, _LAST = REQUEST_FIELDS.index("fail"), REQUEST_FIELDS.index("last")

Source = Callable[[], Iterable[tuple[str, Labels, float]]]
"""Yields metric, labels, value."""


class ModelMeter:
    """The metrics of a model version; an observer of the engine. ``sampler`` chooses the requests that are traced."""

    def __init__(self, metrics: "Metrics", model: str, version: str, sampler: Sampler | None = None) -> None:
        labels = (model, version)
        self._metrics, self._labels = metrics, labels
        self._sampler = sampler or Tracer().sampler(model)
        self._requests = metrics.numbers(REQUESTS, labels)
        self._batches: dict[int, Numbers] = {}
        self._queue = metrics.histogram("sluice_queue_seconds", labels)
        self._batch = metrics.histogram("sluice_batch_seconds", labels)
        self._compute = metrics.histogram("sluice_compute_seconds", labels)
        self._rows = metrics.histogram("sluice_batch_rows", labels)
        self._tokens: Sequence[Numbers] | None = None

    def queued(self, waits_s: Sequence[float]) -> None:
        for wait_s in waits_s:
            self._queue.observe(wait_s)

    @property
    def traces(self) -> bool:
        return self._sampler.on

    def ran(self, rows: int, batch_s: float, compute_s: float, output_s: float = 0.0) -> None:
        self._rows.observe(rows)
        self._batch.observe(batch_s)
        self._compute.observe(compute_s)
        record = self._batches.get(rows)
        if record is None:
            record = self._batches[rows] = self._metrics.numbers(BATCHES, (*self._labels, str(rows)))
        record.add(1.0, batch_s, compute_s, output_s)
        self._requests.set(time.time(), _LAST)

    def answered(self, tally: Tally) -> None:
        self._requests.add(tally.requests, tally.total_s, tally.queue_s, tally.batch_s, tally.compute_s)

    def failed(self, seconds: float = 0.0) -> None:
        self._requests.add(1.0, seconds, field=_FAIL)

    def traced(self, times: Times) -> None:
        self._sampler.see(*self._labels, times)

    def tokens(self, count: int, padding: int) -> None:
        if self._tokens is None:
            self._tokens = [self._metrics.numbers("sluice_tokens", (*self._labels, kind)) for kind in _TOKENS]
        for numbers, more in zip(self._tokens, (count, padding), strict=True):
            numbers.add(more)


class RouteMeter:
    """The requests of a route and version. The counter of a status is made with the first answer of that status."""

    def __init__(self, metrics: "Metrics", labels: Labels) -> None:
        self._metrics, self._labels = metrics, labels
        self._seconds = metrics.histogram("sluice_request_seconds", labels)
        self._statuses: dict[int, Numbers] = {}

    def answered(self, status: int, seconds: float) -> None:
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._metrics.numbers("sluice_requests", (*self._labels, str(status)))
            self._statuses[status] = counter
        counter.add(1.0)
        self._seconds.observe(seconds)


class Metrics:
    """All metrics of this worker, and the sums over all workers."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._pid = folder, os.getpid()
        self._storage = Storage(folder, self._pid)
        self._routes: dict[Labels, RouteMeter] = {}
        self.sources: list[Source] = []
        """Gauges of the whole server. The worker that is scraped reads them at that moment."""
        self.levels: list[Source] = []
        """Gauges of this worker. It writes them a few times a second, so that the other workers can read them."""
        self._levels: dict[tuple[str, Labels], Numbers] = {}
        self.numbers("sluice_workers").set(1)

    def numbers(self, name: str, labels: Labels = ()) -> Numbers:
        """A counter, a gauge or a record."""
        return Numbers(self._storage.values, self._storage.place(ALL[name], labels))

    def histogram(self, name: str, labels: Labels) -> Histogram:
        definition = DEFINITIONS[name]
        return Histogram(self._storage.values, self._storage.place(definition, labels), definition.bounds)

    def records(self, name: str) -> Iterator[tuple[Labels, Mapping[str, float]]]:
        """The records of that name of all workers, by field; also of workers that have ended."""
        fields = ALL[name].fields
        for definition, labels, values in self._everything():
            if definition.name == name:
                yield labels, dict(zip(fields, values, strict=True))

    def route(self, route: str, model: str = "", version: str = "") -> RouteMeter:
        """The meter of a route's requests for a version. Both are "" if the request named none that exists."""
        labels = (route, model, version)
        meter = self._routes.get(labels)
        if meter is None:
            meter = self._routes[labels] = RouteMeter(self, labels)
        return meter

    def rejected(self, model: str, reason: str) -> None:
        self.numbers("sluice_rejected", (model, reason)).add(1.0)

    def write_levels(self) -> None:
        """Write the levels as they are now. One that its source no longer yields, as of a removed version, becomes 0.

        Only the thread of the event loop may call this: the sources read what changes there.
        """
        current = {(name, labels): value for source in self.levels for name, labels, value in source()}
        for key in current.keys() - self._levels.keys():
            self._levels[key] = self.numbers(*key)
        for key, numbers in self._levels.items():
            numbers.set(current.get(key, 0.0))

    def sums(self) -> Mapping[str, Series]:
        """Every metric by its labels, over all workers that share them. May be called in any thread."""
        sums: dict[str, dict[Labels, list[float]]] = {name: {} for name in DEFINITIONS}
        for definition, labels, values in self._everything():
            if definition.name in DEFINITIONS:
                found = sums[definition.name]
                known = found.get(labels, [0.0] * definition.length)
                found[labels] = [a + b for a, b in zip(known, values, strict=True)]
        for source in self.sources:
            for name, labels, value in source():
                sums[name][labels] = [value]
        return sums

    def workers(self) -> set[int]:
        """The process ids of the live workers that share these metrics, with this one."""
        paths = self._folder.glob("*.series") if self._folder else ()
        owners = {path.stem.partition("-")[0] for path in paths if is_in_use(path)}
        return {self._pid, *(int(owner) for owner in owners if owner.isdigit())}

    def _everything(self) -> Iterator[tuple[Definition, Labels, Sequence[float]]]:
        yield from self._storage.series()
        for path in self._folder.glob("*.series") if self._folder else ():
            if path == self._storage.series_path:
                continue
            alive = is_in_use(path)
            for definition, labels, values in read_storage(path):
                if alive or definition.kind != "gauge":
                    yield definition, labels, values
