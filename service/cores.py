"""The number of cores that this process may use, by its affinity and the quota of its control groups.

A container with `--cpus 2` on a machine with 64 cores sees 64 cores. If it runs more threads than its quota allows, the
kernel stops it for the rest of each period, and all answers are late.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def count_cores(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup"), affinity: int | None = None) -> int:
    """The usable cores, at least 1. A quota of 1.5 cores counts as 2. ``affinity`` None: ask the system."""
    affinity = count_affinity() if affinity is None else affinity
    quota = find_quota(proc, cgroups)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def count_affinity() -> int:
    """The number of cores on which this process may run, by its affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_quota(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The number of cores that the control groups of this process allow; None: no limit."""
    quotas = [quota for folder in _find_folders(proc, cgroups) if (quota := _read_quota(folder)) is not None]
    return min(quotas, default=None)


def find_throttled(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The share of periods in which a control group of this process was stopped; None if that is not counted."""
    shares = []
    for folder in _find_folders(proc, cgroups):
        lines = [line.split() for line in (_read(folder / "cpu.stat") or "").splitlines()]
        fields = {line[0]: line[1] for line in lines if len(line) == 2}
        periods = int(fields.get("nr_periods", 0))
        if periods:
            shares.append(int(fields.get("nr_throttled", 0)) / periods)
    return max(shares, default=None)


def _find_folders(proc: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of the control groups of this process (`/proc/self/cgroup`), and of all groups above them.

    In a container the path may be that of the host and not exist here. Then the root is the group of the container.
    """
    for line in (_read(proc / "self" / "cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            roots = [cgroups, cgroups / "unified"]
        elif "cpu" in controllers.split(","):  # version 1
            roots = [cgroups / controllers, cgroups / "cpu"]
        else:
            continue
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for root in roots:
            yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _read_quota(folder: Path) -> float | None:
    """The number of cores that a group may use; None: no limit."""
    both = (_read(folder / "cpu.max") or "").split()  # version 2
    if not both:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        both = [quota or "", period or ""]
    try:
        quota_us, period_us = map(float, both)
    except ValueError:  # "max", or nothing there
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
