"""The figures of GPUs, with and without a driver."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.engine.onnx.providers import CPU, NAMES
from service.metrics import meters
from service.metrics.devices import Gpu, device_memory, find_lacking_gpu, read_driver, read_gpus
from service.metrics.exposition import expose
from service.metrics.meters import Metrics


def fake_nvml(*, as_bytes: bool = False, has_driver: bool = True) -> Any:
    """The part of pynvml that is used, for a machine with two GPUs; its older versions answer texts ``as_bytes``."""
    opened: list[int] = []
    encode = str.encode if as_bytes else str

    def begin() -> None:
        if not has_driver:
            raise RuntimeError("NVML Shared Library Not Found")
        opened.append(1)

    def find(index: int) -> int:
        assert opened
        return index

    return SimpleNamespace(
        opened=opened,
        nvmlInit=begin,
        nvmlShutdown=opened.pop,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=find,
        nvmlDeviceGetName=lambda handle: encode(f"GPU {handle}"),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=100 + handle, total=1000),
        nvmlSystemGetDriverVersion=lambda: encode("570.1"),
    )


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())


@pytest.mark.parametrize("as_bytes", [False, True], ids=["now", "of older versions"])
def test_gpus_are_read_and_nvml_is_let_go(monkeypatch: pytest.MonkeyPatch, as_bytes: bool) -> None:
    """Each GPU comes with name and memory as they are now, and the library is closed after every reading."""
    nvml = fake_nvml(as_bytes=as_bytes)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert read_gpus() == [Gpu(0, "GPU 0", 100, 1000), Gpu(1, "GPU 1", 101, 1000)]
    assert read_driver() == "570.1"
    assert nvml.opened == []


@pytest.mark.parametrize("module", [None, fake_nvml(has_driver=False)])
def test_machine_without_a_driver_has_no_gpus_and_no_error(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    """Neither a missing package nor a missing driver is an error."""
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert (read_gpus(), read_driver(), list(device_memory())) == ([], "", [])
    assert find_lacking_gpu([NAMES["cuda"], CPU]) == "there is no NVIDIA GPU, or no driver for it"


@pytest.mark.usefixtures("nvml")
def test_what_lacks_for_cuda_is_told() -> None:
    """For a build without CUDA the reason says what to install. With CUDA and a GPU there is none."""
    assert "install onnxruntime-gpu" in find_lacking_gpu([CPU])
    assert find_lacking_gpu([NAMES["cuda"], CPU]) == ""


def scrape(metrics: Metrics) -> dict[str, float]:
    text = expose(metrics, "")[0].decode()
    return {
        f"{s.name}{sorted(s.labels.items())}": s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if "memory" in s.name
    }


@pytest.mark.usefixtures("nvml")
def test_device_memory_is_told_once_however_many_workers_there_are(tmp_path: Path) -> None:
    """The memory of a GPU is what NVML says at the scrape, not a sum over the workers that see the same GPU."""
    first, second = Metrics(tmp_path), Metrics(tmp_path)
    for metrics in (first, second):
        metrics.sources.append(device_memory)
        samples = scrape(metrics)
        assert samples["sluice_device_memory_bytes[('device', '1'), ('kind', 'used')]"] == 101
        assert samples["sluice_device_memory_bytes[('device', '1'), ('kind', 'total')]"] == 1000
        assert len(samples) == 4


def test_living_workers_are_known_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of one server are this process and those whose files lie beside its own and who still run."""
    for name in ("7-1", "7-2", "8-1"):
        (tmp_path / f"{name}.series").touch()
    monkeypatch.setattr(meters, "is_in_use", lambda path: not path.name.startswith("8"))
    assert Metrics(tmp_path).workers() == {os.getpid(), 7}
    assert Metrics().workers() == {os.getpid()}
