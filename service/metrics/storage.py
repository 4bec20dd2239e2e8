"""The numbers behind the metrics: right over any number of workers, and counting one costs an addition.

A request costs a few additions into an array: no label look-up, no lock, no formatting. (A histogram observation of
prometheus_client in multi-process mode measured 3.1 µs, one here 0.1 to 0.3 µs.) The array of one of several workers
is a file in memory that they share, one file a worker: whichever worker is scraped reads all of them, and the sums are
exact at that moment.

Files in ``folder``: ``<pid>-<start>.storage`` holds float64 numbers; ``<pid>-<start>.series`` says, a JSON line each,
which series begins at which of them. A line is written after its numbers exist, and these are never given to another
series. A worker holds a lock on its storage as long as it lives: a process id may be another's by then, a lock is not.
"""

import fcntl
import json
import mmap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

_STORAGE_BYTES = 64 << 20  # the file is sparse: only what is used takes memory

Labels = tuple[str, ...]
Series = dict[Labels, list[float]]

Values: TypeAlias = "list[float] | memoryview[float]"
"""The numbers: a list where no other process reads them, for compiled code adds to one in a quarter of the time."""


@dataclass(frozen=True)
class Definition:
    """A metric: ``kind`` is counter, gauge, histogram (with upper ``bounds``) or record (of several ``fields``)."""

    kind: str
    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Numbers of one series: a histogram has one a bucket, one above the last bound, and one for the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else len(self.fields) or 1


class Storage:
    """The numbers of one worker. ``folder`` None keeps them in this process alone."""

    def __init__(self, folder: Path | None, pid: int) -> None:
        self.values: Values = []
        self.series_path: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            # A process id can come again, in a restarted container say: each life has files of its own.
            stem = f"{pid}-{time.time_ns()}"
            path = folder / f"{stem}.storage"
            with path.open("w+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the mapping keeps the file open, and so the lock
                file.truncate(_STORAGE_BYTES)
                self.values = memoryview(mmap.mmap(file.fileno(), _STORAGE_BYTES)).cast("d")
            self.series_path = folder / f"{stem}.series"
            self.series_path.touch()
        self._next = 0
        self._places: dict[tuple[Definition, Labels], int] = {}

    def place(self, definition: Definition, labels: Labels) -> int:
        """Where the numbers of a series begin; they are made on first use."""
        key = (definition, labels)
        at = self._places.get(key)
        if at is None:
            at, self._next = self._next, self._next + definition.length
            if isinstance(self.values, list):
                self.values.extend([0.0] * definition.length)
            elif self._next > len(self.values):
                raise RuntimeError(f"too many metric series: all {len(self.values)} numbers are taken")
            self._places[key] = at
            if self.series_path is not None:
                with self.series_path.open("a") as file:
                    file.write(json.dumps([definition.name, labels, at]) + "\n")
        return at

    def series(self) -> Iterator[tuple[Definition, Labels, Sequence[float]]]:
        for (definition, labels), at in self._places.items():
            yield definition, labels, list(self.values[at : at + definition.length])


def is_in_use(series_path: Path) -> bool:
    """Whether the worker that counts into these files lives."""
    try:
        with series_path.with_suffix(".storage").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_storage(
    series_path: Path, defined: Mapping[str, Definition]
) -> Iterator[tuple[Definition, Labels, Sequence[float]]]:
    """The series of another worker as they are now; ``defined`` by name.

    What a worker that was killed had not written whole is left out, and so is what another release calls otherwise.
    """
    try:
        lines = series_path.read_text().splitlines(keepends=True)
        with series_path.with_suffix(".storage").open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # removed meanwhile, or still empty
        return
    with content, memoryview(content) as raw, raw.cast("d") as values:
        for line in lines:
            if not line.endswith("\n"):
                continue
            name, labels, at = json.loads(line)
            definition = defined.get(name)
            if definition is None:
                continue
            with values[at : at + definition.length] as numbers:
                yield definition, tuple(labels), numbers.tolist()


def _add(values: Values, at: int, amount: float) -> None:
    if isinstance(values, list):  # which mypyc then knows: the same line is compiled in two ways
        values[at] += amount
    else:
        values[at] += amount


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
    """The numbers of a record, in the order of its fields."""

    def __init__(self, values: Values, at: int) -> None:
        self._values, self._at = values, at

    def add(self, field: int, amount: float) -> None:
        _add(self._values, self._at + field, amount)

    def set(self, field: int, value: float) -> None:
        self._values[self._at + field] = value
