"""Batches on a GPU, from the load to the answer: padded to buckets that have all run before. Here with a CPU's session
that takes itself for one on a GPU."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store import Store
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.models import loading, profile
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.support.clocks import virtual
from tests.support.models import graphs


class Elsewhere(Session):
    """A session that is not on the CPU as far as the engine can tell; notes how many rows each run has."""

    def __init__(self, content: bytes, **options: Any) -> None:
        super().__init__(content, **options, bound=True)
        self.on_cpu = False
        self.sizes: list[int] = []

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        self.sizes.append(len(next(iter(inputs.values()))))
        return super().run(inputs)


def load(root: Path, content: bytes) -> LoadedVersion:
    [version] = Store(graphs.write_plain(root, "m", content)).versions("m")
    return load_version(version, Settings(store=root, max_rows=24))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "Session", Elsewhere)
    monkeypatch.setattr(profile, "_WARM_UP_S", 0.0)


@pytest.mark.usefixtures("elsewhere")
def test_every_bucket_runs_before_the_model_is_ready(tmp_path: Path) -> None:
    """On a GPU all sizes that batches will have are warmed, however long it takes; without a batch there are none."""
    assert load(tmp_path / "one", graphs.one_at_a_time()).buckets == ()
    loaded = load(tmp_path / "many", graphs.double())
    assert loaded.buckets == (1, 2, 4, 8, 16, 24)
    assert set(loaded.buckets) <= set(loaded.session.sizes)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("elsewhere")
@virtual
async def test_batches_run_in_buckets_and_answers_have_their_own_rows(tmp_path: Path) -> None:
    """Requests of all sizes get their own rows, without the padding, and the session never sees a new size."""
    loaded = load(tmp_path, graphs.double())
    known = len(loaded.session.sizes)  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    device = Device(1, loop, clock=loop.time)
    queue: BatchQueue[Any] = BatchQueue(loaded.max_rows, 1000, 0.0)
    dispatcher = Dispatcher(loaded.session, loaded.signature, device, queue, cost=loaded.cost, pad=loaded.pad)
    for count in (1, 3, 5, 11, 24, 30):
        answered: asyncio.Future[Any] = loop.create_future()
        dispatcher.submit(loaded.signature.check({"x": np.full((count, 3), count, np.float32)}), answered.set_result)
        assert (await answered).outputs["y"].tolist() == [[2.0 * count] * 3] * count
    await dispatcher.drain()
    device.close()
    assert set(loaded.session.sizes[known:]) <= set(loaded.buckets)  # type: ignore[attr-defined]


def test_cpu_runs_the_rows_that_there_are(tmp_path: Path) -> None:
    """Without a GPU nothing is padded, apart from a single row where bits depend on it."""
    loaded = load(tmp_path, graphs.double())
    assert loaded.buckets == ()
    assert [loaded.pad(rows) for rows in (1, 3, 24)] == [loaded.least_rows, 3, 24]
