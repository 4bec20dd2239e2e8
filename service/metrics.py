"""Metrics: cheap to count, right over any number of workers. The only file that imports prometheus_client.

A request costs a few additions into an array: no label look-up, no lock, no formatting. (A histogram observation of
prometheus_client in multi-process mode measured 3.1 µs, one here 0.1 to 0.3 µs.) The array of one of several workers
is a file in memory that they share, one file a worker: whichever worker is scraped reads all of them, and the sums are
exact at that moment. Counters of a worker that has died stay in the sums; its gauges do not.

Files in ``metrics_dir``: ``<pid>-<start>.cells`` holds float64 numbers; ``<pid>-<start>.series`` says, a JSON line for
each, which series begins at which cell. A line is written after its cells exist, and cells are never given to another
series.
"""

import json
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mypy_extensions import mypyc_attr
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service.times import Tally, Times
from service.tracing import DEFAULTS, Sampler

_CELLS_BYTES = 64 << 20  # the file is sparse: only what is used takes memory

SECONDS = (
    *(50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


@dataclass(frozen=True)
class Definition:
    kind: str
    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()

    fields: tuple[str, ...] = ()
    """Of a record: what its cells are."""

    @property
    def cells(self) -> int:
        """Cells of one series: a histogram has one a bucket, one for what is above the last bound, one for the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else len(self.fields) or 1


REQUESTS = "requests"
REQUEST_FIELDS = ("success", "success_s", "queue_s", "input_s", "infer_s", "fail", "fail_s", "last")
"""Counts, and seconds summed over requests; ``last`` is when a batch last ended, in seconds since 1970."""
BATCHES = "batches"
BATCH_FIELDS = ("count", "input_s", "infer_s", "output_s")
"""Seconds summed over batches."""
_FAIL, _LAST = REQUEST_FIELDS.index("fail"), REQUEST_FIELDS.index("last")

_MODEL = ("model", "version")
DEFINITIONS = {
    d.name: d
    for d in (
        Definition("counter", "sluice_requests", "Requests answered, by status", ("route", "model", "status")),
        Definition("histogram", "sluice_request_seconds", "From body to answer", ("route", "model"), SECONDS),
        Definition("counter", "sluice_rejected", "Requests refused or given up, by reason", ("model", "reason")),
        Definition("histogram", "sluice_queue_seconds", "A request's wait for a batch", _MODEL, SECONDS),
        Definition("histogram", "sluice_batch_seconds", "Assembling a batch, waiting for its lane", _MODEL, SECONDS),
        Definition("histogram", "sluice_compute_seconds", "Running a batch", _MODEL, SECONDS),
        Definition("histogram", "sluice_batch_rows", "Rows of a batch", _MODEL, ROWS),
        Definition("gauge", "sluice_queue_rows", "Rows that wait", _MODEL),
        Definition("gauge", "sluice_model_ready", "Workers in which the version serves", _MODEL),
        Definition("gauge", "sluice_model_provider", "Workers by the provider that runs it", (*_MODEL, "provider")),
        Definition("gauge", "sluice_model_load_seconds", "Load, check and warm-up, summed over workers", _MODEL),
        Definition("gauge", "sluice_workers", "Workers that are alive", ()),
        Definition("gauge", "sluice_worker_memory_bytes", "Resident memory of the workers, shared pages in each", ()),
        Definition("gauge", "sluice_device_memory_bytes", "Memory of a GPU, all processes", ("device", "kind")),
    )
}
RECORDS = {
    d.name: d
    for d in (
        Definition("record", REQUESTS, "Requests that were answered, and not", _MODEL, (), REQUEST_FIELDS),
        Definition("record", BATCHES, "Batches by their number of rows", (*_MODEL, "rows"), (), BATCH_FIELDS),
    )
}
"""What statistics are made of; not exposed."""
_DEFINED = DEFINITIONS | RECORDS

Labels = tuple[str, ...]
Source = Callable[[], Iterable[tuple[str, Labels, float]]]
"""Gauges that are read when they are scraped, by the worker that is scraped: metric, labels, value."""


Values: TypeAlias = "list[float] | memoryview[float]"
"""Cells: a list where no other process reads them, for compiled code adds to one in a quarter of the time."""


def _add(values: Values, at: int, amount: float) -> None:
    if isinstance(values, list):  # which mypyc then knows: the same line is compiled in two ways
        values[at] += amount
    else:
        values[at] += amount


class Cells:
    """The numbers of one worker. ``folder`` None keeps them in this process alone."""

    def __init__(self, folder: Path | None, pid: int) -> None:
        self.values: Values = []
        self.series_path: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            # A process id can come again, in a restarted container say: each life has files of its own.
            stem = f"{pid}-{time.time_ns()}"
            path = folder / f"{stem}.cells"
            with path.open("w+b") as file:
                file.truncate(_CELLS_BYTES)
                self.values = memoryview(mmap.mmap(file.fileno(), _CELLS_BYTES)).cast("d")
            self.series_path = folder / f"{stem}.series"
            self.series_path.touch()
        self._next = 0
        self._places: dict[tuple[str, Labels], int] = {}

    def place(self, definition: Definition, labels: Labels) -> int:
        """The first cell of a series, made on first use."""
        key = (definition.name, labels)
        at = self._places.get(key)
        if at is None:
            at, self._next = self._next, self._next + definition.cells
            if isinstance(self.values, list):
                self.values.extend([0.0] * definition.cells)
            elif self._next > len(self.values):
                raise RuntimeError(f"too many metric series: all {len(self.values)} cells are taken")
            self._places[key] = at
            if self.series_path is not None:
                with self.series_path.open("a") as file:
                    file.write(json.dumps([definition.name, labels, at]) + "\n")
        return at

    def series(self) -> Iterator[tuple[str, Labels, Sequence[float]]]:
        for (name, labels), at in self._places.items():
            yield name, labels, list(self.values[at : at + _DEFINED[name].cells])


def read_cells(series_path: Path) -> Iterator[tuple[str, Labels, Sequence[float]]]:
    """The series of another worker as they are now."""
    with series_path.with_suffix(".cells").open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content, memoryview(content) as raw, raw.cast("d") as values:
        for line in series_path.read_text().splitlines():
            name, labels, at = json.loads(line)
            with values[at : at + _DEFINED[name].cells] as cells:
                yield name, tuple(labels), cells.tolist()


class Counter:
    def __init__(self, values: Values, at: int) -> None:
        self._values, self._at = values, at

    def inc(self, amount: float = 1.0) -> None:
        _add(self._values, self._at, amount)


class Gauge(Counter):
    def set(self, value: float) -> None:
        self._values[self._at] = value


class Histogram:
    def __init__(self, values: Values, at: int, bounds: tuple[float, ...]) -> None:
        self._values, self._at, self._bounds = values, at, bounds
        self._sum = at + len(bounds) + 1

    def observe(self, value: float) -> None:
        self._count(value)
        _add(self._values, self._sum, value)

    def observe_all(self, observed: Sequence[float]) -> None:
        total = 0.0
        for value in observed:
            self._count(value)
            total += value
        _add(self._values, self._sum, total)

    def _count(self, value: float) -> None:
        at = self._at
        for bound in self._bounds:  # compiled and mostly short, faster than a call of bisect
            if value <= bound:
                break
            at += 1
        _add(self._values, at, 1.0)


class Record:
    """The cells of a record, in the order of its fields."""

    def __init__(self, values: Values, at: int) -> None:
        self._values, self._at = values, at

    def add(self, field: int, amount: float) -> None:
        _add(self._values, self._at + field, amount)

    def set(self, field: int, value: float) -> None:
        self._values[self._at + field] = value


class ModelMeter:
    """What one model version tells: the engine's observer. ``sampler`` chooses the requests that are traced."""

    def __init__(self, metrics: "Metrics", model: str, version: str, sampler: Sampler | None = None) -> None:
        labels = (model, version)
        self._metrics, self._labels = metrics, labels
        self._sampler = sampler or Sampler({}, DEFAULTS)
        self._requests = metrics.record(REQUESTS, labels)
        self._batches: dict[int, Record] = {}
        self._queue = metrics.histogram("sluice_queue_seconds", labels)
        self._batch = metrics.histogram("sluice_batch_seconds", labels)
        self._compute = metrics.histogram("sluice_compute_seconds", labels)
        self._rows = metrics.histogram("sluice_batch_rows", labels)
        self._depth = metrics.gauge("sluice_queue_rows", labels)

    def queued(self, waits_s: Sequence[float]) -> None:
        self._queue.observe_all(waits_s)

    @property
    def traces(self) -> bool:
        return self._sampler.on

    def ran(self, rows: int, batch_s: float, compute_s: float, output_s: float = 0.0) -> None:
        self._rows.observe(rows)
        self._batch.observe(batch_s)
        self._compute.observe(compute_s)
        record = self._batches.get(rows)
        if record is None:
            record = self._batches[rows] = self._metrics.record(BATCHES, (*self._labels, str(rows)))
        record.add(0, 1.0)
        record.add(1, batch_s)
        record.add(2, compute_s)
        record.add(3, output_s)
        self._requests.set(_LAST, time.time())

    def answered(self, tally: Tally) -> None:
        requests = self._requests
        requests.add(0, tally.requests)
        requests.add(1, tally.total_s)
        requests.add(2, tally.queue_s)
        requests.add(3, tally.batch_s)
        requests.add(4, tally.compute_s)

    def failed(self, seconds: float = 0.0) -> None:
        self._requests.add(_FAIL, 1.0)
        self._requests.add(_FAIL + 1, seconds)

    def traced(self, times: Times) -> None:
        self._sampler.see(*self._labels, times)

    def depth(self, rows: int) -> None:
        self._depth.set(rows)


class RouteMeter:
    """Requests of one route and model. The counters of each status are made when the first such answer goes out."""

    def __init__(self, metrics: "Metrics", route: str, model: str) -> None:
        self._metrics, self._route, self._model = metrics, route, model
        self._seconds = metrics.histogram("sluice_request_seconds", (route, model))
        self._statuses: dict[int, Counter] = {}

    def answered(self, status: int, seconds: float) -> None:
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._metrics.counter("sluice_requests", (self._route, self._model, str(status)))
            self._statuses[status] = counter
        counter.inc()
        self._seconds.observe(seconds)


class Metrics:
    """All metrics of this worker, and the exposition of all workers.

    ``alive`` tells whether a process still runs; the gauges of one that does not are left out.
    """

    def __init__(self, folder: Path | None = None, alive: Callable[[int], bool] | None = None) -> None:
        self._folder, self._pid = folder, os.getpid()
        self._alive = alive or _is_alive
        self._cells = Cells(folder, self._pid)
        self._rejected: dict[tuple[str, str], Counter] = {}
        self._routes: dict[tuple[str, str], RouteMeter] = {}
        self.sources: list[Source] = []
        self._registry = CollectorRegistry()
        self._registry.register(_Families(self.collect))
        self.gauge("sluice_workers").set(1)

    def counter(self, name: str, labels: Labels = ()) -> Counter:
        return Counter(self._cells.values, self._cells.place(DEFINITIONS[name], labels))

    def gauge(self, name: str, labels: Labels = ()) -> Gauge:
        return Gauge(self._cells.values, self._cells.place(DEFINITIONS[name], labels))

    def histogram(self, name: str, labels: Labels) -> Histogram:
        definition = DEFINITIONS[name]
        return Histogram(self._cells.values, self._cells.place(definition, labels), definition.bounds)

    def record(self, name: str, labels: Labels) -> Record:
        return Record(self._cells.values, self._cells.place(RECORDS[name], labels))

    def records(self, name: str) -> Iterator[tuple[Labels, Mapping[str, float]]]:
        """Every worker's records of a name, by field; those of dead workers too."""
        fields = RECORDS[name].fields
        for found, labels, values in self._everything():
            if found == name:
                yield labels, dict(zip(fields, values, strict=True))

    def route(self, route: str, model: str) -> RouteMeter:
        """The meter of a route's requests for a model: "" where the request named none that exists."""
        meter = self._routes.get((route, model))
        if meter is None:
            meter = self._routes[route, model] = RouteMeter(self, route, model)
        return meter

    def rejected(self, model: str, reason: str) -> None:
        counter = self._rejected.get((model, reason))
        if counter is None:
            counter = self._rejected[model, reason] = self.counter("sluice_rejected", (model, reason))
        counter.inc()

    def expose(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the ``Accept`` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterable[Metric]:
        sums: dict[str, dict[Labels, list[float]]] = {name: {} for name in DEFINITIONS}
        for name, labels, values in self._everything():
            if name in RECORDS:
                continue
            known = sums[name].get(labels)
            sums[name][labels] = list(values) if known is None else [a + b for a, b in zip(known, values, strict=True)]
        for source in self.sources:
            for name, labels, value in source():
                sums[name][labels] = [value]
        for name, series in sums.items():
            yield _family(DEFINITIONS[name], series)

    def workers(self) -> set[int]:
        """The process ids of the workers that share these metrics and are alive, this one among them."""
        paths = self._folder.glob("*.series") if self._folder else ()
        return {self._pid, *(pid for path in paths if self._alive(pid := int(path.stem.partition("-")[0])))}

    def _everything(self) -> Iterator[tuple[str, Labels, Sequence[float]]]:
        yield from self._cells.series()
        for path in self._folder.glob("*.series") if self._folder else ():
            if path == self._cells.series_path:
                continue
            alive = self._alive(int(path.stem.partition("-")[0]))
            for name, labels, values in read_cells(path):
                if alive or _DEFINED[name].kind != "gauge":
                    yield name, labels, values


@mypyc_attr(native_class=False)  # its base is not
class _Families(Collector):
    """What prometheus_client asks for the exposition."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


def _family(definition: Definition, series: Mapping[Labels, Sequence[float]]) -> Metric:
    if definition.kind == "histogram":
        family = HistogramMetricFamily(definition.name, definition.help, labels=definition.labels)
        for labels, (*counts, total) in sorted(series.items()):
            running, buckets = 0.0, []
            for bound, count in zip((*map(str, definition.bounds), "+Inf"), counts, strict=True):
                running += count
                buckets.append((bound, running))
            family.add_metric(labels, buckets, total)
        return family
    plain = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    simple = plain(definition.name, definition.help, labels=definition.labels)
    for labels, (value,) in sorted(series.items()):
        simple.add_metric(labels, value)
    return simple


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
