"""The GPUs of this machine and their memory.

The figures come from NVML, as those of nvidia-smi do (nvidia-ml-py, a dependency of BentoML). A machine without a
driver has no GPUs, and that is no error.
"""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Reading = tuple[str, tuple[str, ...], float]
"""Metric, labels, value."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """``used_bytes`` counts all processes. ``index`` is NVML's, which CUDA_VISIBLE_DEVICES does not change."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int


def read_gpus() -> list[Gpu]:
    """The GPUs as they are now."""
    with _nvml() as nvml:
        return [] if nvml is None else [_read_gpu(nvml, i) for i in range(nvml.nvmlDeviceGetCount())]


def read_driver() -> str:
    """The driver's version; empty where there is none."""
    with _nvml() as nvml:
        return "" if nvml is None else _text(nvml.nvmlSystemGetDriverVersion())


def find_lacking_gpu(available: Sequence[str]) -> str:
    """Why CUDA cannot run here; empty if no reason is known. ``available``: providers of ONNX Runtime."""
    if "CUDAExecutionProvider" not in available:
        return "this ONNX Runtime is built without CUDA (install onnxruntime-gpu instead of onnxruntime)"
    return "" if read_gpus() else "there is no NVIDIA GPU, or no driver for it"


def device_memory() -> Iterator[Reading]:
    """The memory of each GPU."""
    for gpu in read_gpus():
        yield "sluice_device_memory_bytes", (str(gpu.index), "used"), float(gpu.used_bytes)
        yield "sluice_device_memory_bytes", (str(gpu.index), "total"), float(gpu.total_bytes)


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, opened; None if it cannot be opened."""
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
    """A text of NVML. Older versions of the package return bytes."""
    return value.decode() if isinstance(value, bytes) else value
