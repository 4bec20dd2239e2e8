"""The memory of a version is read from the system."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

from model_store import Store
from service.metrics.devices import Gpu
from service.models.lifecycle import footprint, loads
from service.models.lifecycle.loads import Growth, Loads
from service.settings import Settings
from tests.support.models import graphs


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_memory_that_is_written_counts_as_taken() -> None:
    """Within a tenth, although the process does other things meanwhile."""
    before = footprint.read_memory(on_cpu=True)
    held = np.ones(64 << 20, np.uint8)
    grown = footprint.read_memory(on_cpu=True) - before
    assert abs(grown - held.nbytes) < held.nbytes // 10


def test_on_a_gpu_the_memory_of_the_gpus_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the process."""
    monkeypatch.setattr(footprint, "read_gpus", lambda: [Gpu(0, "a", 5, 10), Gpu(1, "b", 7, 10)])
    assert footprint.read_memory(on_cpu=False) == 12


@pytest.mark.anyio
async def test_version_that_is_measured_loads_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other loads wait, because their memory would count too."""
    for name in ("a", "b"):
        graphs.write_plain(tmp_path, name, graphs.double())
    a, b = (Store(tmp_path).find(name) for name in ("a", "b"))
    running, most = 0, 0
    load_version = loads.load_version

    def note(*args: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return load_version(*args)  # type: ignore[arg-type]  # passed on as they are
        finally:
            running -= 1

    monkeypatch.setattr(loads, "load_version", note)
    memory = iter((100, 250))
    growth = Growth(lambda: next(memory))
    several = Loads(Settings(store=tmp_path))
    await asyncio.gather(several.load(a, lambda: None, growth=growth), several.load(b, lambda: None))
    assert (growth.grown_bytes, most) == (150, 1)
    assert several.close()
