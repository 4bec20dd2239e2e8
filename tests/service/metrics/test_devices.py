"""What is told of GPUs and memory, with and without a driver."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.engine.onnx.providers import CPU, NAMES
from service.metrics.devices import Gpu, device_memory, find_lacking_gpu, read_driver, read_gpus, worker_memory
from service.metrics.exposition import expose
from service.metrics.meters import Metrics


class FakeNvml:
    """The part of pynvml that is used, for a machine with two GPUs; ``as_bytes`` like its older versions."""

    def __init__(self, as_bytes: bool = False, driver: bool = True) -> None:
        self.open = 0
        self._text = (lambda text: text.encode()) if as_bytes else str
        self._driver = driver

    def nvmlInit(self) -> None:  # noqa: N802
        if not self._driver:
            raise RuntimeError("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        assert self.open
        return index

    def nvmlDeviceGetName(self, handle: int) -> object:  # noqa: N802
        return self._text(f"GPU {handle}")

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:  # noqa: N802
        return SimpleNamespace(used=100 + handle, total=1000)

    def nvmlSystemGetDriverVersion(self) -> object:  # noqa: N802
        return self._text("570.1")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    return fake


def test_gpus_are_read_and_nvml_is_let_go(nvml: FakeNvml) -> None:
    """Each GPU comes with name and memory as they are now, and the library is closed after every reading."""
    assert read_gpus() == [Gpu(0, "GPU 0", 100, 1000), Gpu(1, "GPU 1", 101, 1000)]
    assert read_driver() == "570.1"
    assert nvml.open == 0


def test_texts_of_an_older_package_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of nvidia-ml-py answer bytes."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(as_bytes=True))  # type: ignore[arg-type]
    assert (read_gpus()[0].name, read_driver()) == ("GPU 0", "570.1")


@pytest.mark.parametrize("module", [None, FakeNvml(driver=False)])
def test_machine_without_a_driver_has_no_gpus_and_no_error(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    """Neither a missing package nor a missing driver is an error: there is simply nothing to tell."""
    monkeypatch.setitem(sys.modules, "pynvml", module)  # type: ignore[arg-type]
    assert (read_gpus(), read_driver(), list(device_memory())) == ([], "", [])
    assert find_lacking_gpu([NAMES["cuda"], CPU]) == "there is no NVIDIA GPU, or no driver for it"


def test_what_lacks_for_cuda_is_told(nvml: FakeNvml) -> None:
    """A build without CUDA is told with what to install; a GPU and a build with CUDA lack nothing."""
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


def test_device_memory_is_told_once_however_many_workers_there_are(nvml: FakeNvml, tmp_path: Path) -> None:
    """The memory of a GPU is what NVML says at the scrape, not a sum over the workers that see the same GPU."""
    first, second = Metrics(tmp_path), Metrics(tmp_path)
    for metrics in (first, second):
        metrics.sources.append(device_memory)
    for metrics in (first, second):
        samples = scrape(metrics)
        assert samples["sluice_device_memory_bytes[('device', '1'), ('kind', 'used')]"] == 101
        assert samples["sluice_device_memory_bytes[('device', '1'), ('kind', 'total')]"] == 1000
        assert len(samples) == 4


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_worker_memory_is_the_sum_of_the_living() -> None:
    """Any worker that is scraped tells the memory of all; one that has just ended counts nothing."""
    [(name, labels, alone)] = worker_memory([os.getpid()])
    assert (name, labels) == ("sluice_worker_memory_bytes", ())
    assert 10e6 < alone < 100e9
    [(*_, both)] = worker_memory([os.getpid(), os.getppid(), 2**22 + 1])
    assert both > alone


def test_memory_that_cannot_be_read_is_left_out() -> None:
    """Where nothing can be read, as without /proc, no figure is exposed rather than a zero."""
    assert list(worker_memory([2**22 + 1, 2**22 + 2])) == []


def test_living_workers_are_known_by_their_files(tmp_path: Path) -> None:
    """The workers of one server are this process and those whose files lie beside its own and who still run."""
    for name in ("7-1", "7-2", "8-1"):
        (tmp_path / f"{name}.series").touch()
    assert Metrics(tmp_path, alive=lambda pid: pid != 8).workers() == {os.getpid(), 7}
    assert Metrics().workers() == {os.getpid()}
