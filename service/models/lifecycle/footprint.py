"""The memory of a version: read from the system before and after its load, and counted from its files and weights."""

import contextlib
import os
import sys

from model_store import ModelVersion
from service.metrics.devices import read_gpus
from service.models.loading import LoadedVersion


def read_memory(on_cpu: bool) -> int:
    """The memory in bytes of this process; for models on a GPU, that of all GPUs, other processes included.

    0 where the system does not tell it.
    """
    if not on_cpu:
        return sum(gpu.used_bytes for gpu in read_gpus())
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared = map(int, file.read().split()[:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")  # without mapped files, such as libraries


def count_files(version: ModelVersion) -> int:
    """The bytes of all files of a version that can be read."""
    total = 0
    for folder, _, files in os.walk(version.folder):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(folder, file)).st_size
    return total


def count_weights(loaded: LoadedVersion) -> int:
    """The bytes of its weights, the least that it takes. A graph that also runs on all cores holds them twice."""
    graphs = (loaded, *loaded.graphs.values())
    return sum(graph.weight_bytes * (1 if graph.all_cores is None else 2) for graph in graphs)
