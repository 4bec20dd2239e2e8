"""What the GPUs of this machine are, how full they are, and what the workers take of the memory.

The figures come from NVML (nvidia-ml-py, which BentoML brings), the same library that nvidia-smi asks. It is imported
when it is first needed; a machine without a driver has no GPUs and no error.
"""

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Reading = tuple[str, tuple[str, ...], float]
"""Metric, labels, value."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """``used_bytes`` counts all processes on the device; ``index`` is NVML's, whatever CUDA_VISIBLE_DEVICES says."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int


def read_gpus() -> list[Gpu]:
    """The GPUs as they are now; none where there is no driver."""
    with _nvml() as nvml:
        return [] if nvml is None else [_read_gpu(nvml, i) for i in range(nvml.nvmlDeviceGetCount())]


def read_driver() -> str:
    """The driver's version; empty where there is none."""
    with _nvml() as nvml:
        return "" if nvml is None else _text(nvml.nvmlSystemGetDriverVersion())


def find_lacking_gpu(available: Sequence[str]) -> str:
    """Why CUDA cannot run here, in a few words; empty if nothing is known to lack. ``available``: providers."""
    if "CUDAExecutionProvider" not in available:
        return "this ONNX Runtime is built without CUDA (install onnxruntime-gpu instead of onnxruntime)"
    return "" if read_gpus() else "there is no NVIDIA GPU, or no driver for it"


def device_memory() -> Iterator[Reading]:
    """The memory of each GPU."""
    for gpu in read_gpus():
        yield "sluice_device_memory_bytes", (str(gpu.index), "used"), float(gpu.used_bytes)
        yield "sluice_device_memory_bytes", (str(gpu.index), "total"), float(gpu.total_bytes)


def worker_memory(pids: Iterable[int]) -> Iterator[Reading]:
    """What the workers hold in memory, in all; pages that they share count once for each. Nothing but on Linux."""
    sizes = [_resident_bytes(pid) for pid in pids]
    if any(sizes):
        yield "sluice_worker_memory_bytes", (), float(sum(sizes))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # it has just ended, or this is not Linux
        return 0


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    """NVML while it is open; None where it cannot be opened."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001  # no package, no driver, or a driver that does not answer: no GPU in each case
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _read_gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(index, _text(nvml.nvmlDeviceGetName(handle)), int(memory.used), int(memory.total))


def _text(value: str | bytes) -> str:
    """Older versions of the package answer bytes."""
    return value.decode() if isinstance(value, bytes) else value
