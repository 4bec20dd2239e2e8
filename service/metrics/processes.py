"""The memory, open files, threads and start of the workers, from ``/proc``. Only on Linux.

The metrics have the names of Prometheus' own client, which measures only one process.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.metrics.devices import Reading

_PROC = Path("/proc")
_THREADS, _START = 17, 19
"""Indices in ``/proc/PID/stat`` after the name of the process: fields 20 and 22 of proc(5)."""


@dataclass
class _Sums:
    memory_bytes: float = 0.0
    open_files: float = 0.0
    max_files: float = 0.0
    threads: float = 0.0
    starts: list[float] = field(default_factory=list)


def read_processes(pids: Iterable[int], proc: Path = _PROC) -> Iterator[Reading]:
    """The figures of all these processes together. Shared pages count in each."""
    sums = _Sums()
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has just ended, or this is not Linux
            _add(sums, proc, proc / str(pid))
    if not sums.starts:
        return
    yield "sluice_worker_memory_bytes", (), sums.memory_bytes
    yield "process_open_fds", (), sums.open_files
    yield "process_max_fds", (), sums.max_files
    yield "process_threads", (), sums.threads
    yield "process_start_time_seconds", (), min(sums.starts)


def _add(sums: _Sums, proc: Path, folder: Path) -> None:
    stat = (folder / "stat").read_text().rpartition(")")[2].split()
    pages = int((folder / "statm").read_text().split()[1])
    open_files = len(os.listdir(folder / "fd"))
    sums.memory_bytes += pages * os.sysconf("SC_PAGE_SIZE")
    sums.open_files += open_files
    sums.max_files += _read_limit(folder / "limits")
    sums.threads += int(stat[_THREADS])
    sums.starts.append(_read_boot(proc / "stat") + int(stat[_START]) / os.sysconf("SC_CLK_TCK"))


def _read_limit(path: Path) -> float:
    """The current (soft) limit of open files."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("Max open files"))
    soft = line.split()[3]
    return float("inf") if soft == "unlimited" else float(soft)


def _read_boot(path: Path) -> float:
    """When the system was started, in seconds since 1970."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("btime"))
    return float(line.split()[1])
