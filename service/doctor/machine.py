"""Checks of the cores, memory, open files and folders that this process may use."""

import functools
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

from model_store.files.reading import find_memory
from service.cores import count_affinity, count_cores, find_quota, find_throttled
from service.doctor.finding import Finding, write_bytes
from service.settings import Settings
from service.transport.open_files import SPARE_FILES

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_MOST_THROTTLED = 0.05
"""If the kernel stops this control group in a larger share of periods, answers are late."""
_LEAST_MEMORY = 512 << 20
"""A worker with its libraries and the reference models takes about this much."""


def check_cores(settings: Settings, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Iterator[Finding]:
    slow = functools.partial(Finding, "cores", "slow")
    affinity, quota = count_affinity(), find_quota(proc, cgroups)
    usable = count_cores(proc, cgroups, affinity)
    limit = "no quota" if quota is None else f"a quota of {quota:g}"
    yield Finding("cores", "ok", f"{usable} usable: {affinity} by affinity, {limit}")
    if quota is not None and quota < affinity and not float(quota).is_integer():
        yield slow(
            f"the quota of {quota:g} cores is not a whole number: {usable} lanes run, and the kernel stops all of them "
            "in each period in which they have used up the quota",
            f"give {max(1, int(quota))} or {int(quota) + 1} cores, or set SLUICE_LANES={max(1, int(quota))}",
        )
    throttled = find_throttled(proc, cgroups)
    if throttled is not None and throttled > _MOST_THROTTLED:
        yield slow(
            f"the kernel stopped this container in {throttled:.0%} of its periods, because its quota was used up",
            "raise the quota (--cpus, resources.limits.cpu), or run fewer things beside the server",
        )
    if settings.workers > usable:
        yield slow(
            f"{settings.workers} workers on {usable} cores take turns, and each has its own copy of the models",
            f"set SLUICE_WORKERS to at most {usable}",
        )


def check_load(settings: Settings, load: float | None = None) -> Iterator[Finding]:
    """``load``: how many threads wanted to run in the last minute; None: ask the system."""
    load = os.getloadavg()[0] if load is None else load
    cores = os.cpu_count() or 1
    if load > cores:
        yield Finding(
            "load",
            "slow",
            f"{load:.1f} threads wanted to run in the last minute, on {cores} cores: others use the machine",
            "measure nothing now, and give the server cores of its own",
        )


def check_processor(settings: Settings, cpuinfo: Path = Path("/proc/cpuinfo")) -> Iterator[Finding]:
    """Whether an x86-64 processor has the instructions that make matrix products fast."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return
    flags = next((line.split(":")[1].split() for line in text.splitlines() if line.startswith("flags")), None)
    if flags is None:  # not an x86
        return
    name = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    fast = [label for flag, label in _INSTRUCTIONS.items() if flag in flags]
    if "avx2" in flags:
        yield Finding("processor", "ok", f"{name}, with {', '.join(fast)}")
    else:
        yield Finding(
            "processor",
            "slow",
            f"{name} has no AVX2, or the virtual machine hides it: matrix products take several times as long",
            "choose a processor type such as `host` for the virtual machine",
        )


_INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "amx_tile": "AMX"}


def check_memory(settings: Settings, memory: int | None = None, models: int = 0) -> Iterator[Finding]:
    """``memory``: bytes that this process may use; None: ask the system. ``models``: bytes of the models."""
    memory = find_memory() if memory is None else memory
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = f", by a limit; the machine has {write_bytes(machine)}" if memory < machine else ", without a limit"
    yield Finding("memory", "ok", f"{write_bytes(memory)} usable{limit}")
    needed = settings.workers * (_LEAST_MEMORY + models)
    if needed > memory:
        yield Finding(
            "memory",
            "wrong",
            f"{settings.workers} workers with the {write_bytes(models)} of the store need about {write_bytes(needed)}: "
            "the kernel may end them",
            "serve fewer models (SLUICE_MODELS), use fewer workers (SLUICE_WORKERS), or give more memory",
        )


def check_files(settings: Settings, limits: tuple[int, int] | None = None) -> Iterator[Finding]:
    """``limits``: the soft and the hard limit of open files; None: ask the system."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connections + SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        yield Finding("open files", "ok", f"{_show(soft)}, up to {_show(hard)}; {needed} are needed")
        return
    fitting = hard - SPARE_FILES
    yield Finding(
        "open files",
        "wrong" if fitting < 1 else "slow",
        f"at most {hard}: {settings.max_connections} connections need {needed}"
        + (f", so it takes {fitting}" if fitting > 0 else ", so it does not start"),
        f"raise the limit (ulimit -n, LimitNOFILE=, --ulimit nofile={needed}), or lower SLUICE_MAX_CONNECTIONS",
    )


def _show(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else str(limit)


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Whether the folder in which the workers share their counters can be written."""
    folder = settings.metrics_dir.parent if settings.metrics_dir else None
    try:
        with tempfile.NamedTemporaryFile(dir=folder if folder and folder.is_dir() else None) as file:
            yield Finding("folders", "ok", f"{Path(file.name).parent} can be written, for the counters of the workers")
    except OSError as error:
        yield Finding(
            "folders",
            "wrong",
            f"no folder for the counters of the workers can be written: {error.strerror}",
            "mount a writable folder at /tmp (tmpfs will do), or name one with TMPDIR or SLUICE_METRICS_DIR",
        )
