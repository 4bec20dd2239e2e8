"""Loads that take long or never end: the model is unavailable, and nothing else waits for it."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store import ModelVersion, Store
from model_store.cancellation import Cancellation
from service.errors import NotReady
from service.models.lifecycle import loads
from service.models.lifecycle.index import StoreReader
from service.models.loading import LoadedVersion, load_version
from service.models.measurement_lock import MeasurementLock
from service.settings import Settings
from tests.service.models.asking import Y, index, infer, load
from tests.support.models import graphs
from tests.support.servers import FAST, ClosingWorker, Serving, settings_for

TAKES_LONG = "it takes long to load, and is given up after 600 s"
TOO_LONG = "it had not loaded after 0.5 s: repair it, or raise SLUICE_LOAD_TIMEOUT_S"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """How long others wait for an endless version. They wait for others without limit, as the machine may be busy."""

    def count(version: ModelVersion) -> int:
        return 0 if (version.folder / "model.onnx").read_bytes() == graphs.endless() else 1 << 60

    monkeypatch.setattr(loads, "count_files", count)
    return 0.2


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless versions may load for half a second, others as long as they take, as the machine may be busy."""
    begin = loads.Loads.load

    async def load(self: loads.Loads, version: ModelVersion, *args: Any, **more: Any) -> LoadedVersion:
        is_endless = graphs.endless() in {path.read_bytes() for path in version.folder.glob("*.onnx")}
        self._settings = self._settings.replace(load_timeout_s=0.5 if is_endless else 600.0)
        return await begin(self, version, *args, **more)

    monkeypatch.setattr(loads.Loads, "load", load)
    monkeypatch.setattr(loads, "_GRACE_S", 60.0)


def test_models_that_never_load_are_waited_for_by_nobody(tmp_path: Path, impatient: float) -> None:
    """The server is ready and serves the others, further ones are loaded and endless ones unloaded; it can stop."""
    for number in range(2 + len(os.sched_getaffinity(0))):  # more than load at once, before and after a good one
        graphs.write_plain(tmp_path, f"endless-{number}", graphs.endless())
    graphs.write_plain(tmp_path, "good", graphs.double())
    settings = settings_for(tmp_path, control=True, ready_wait_s=impatient)
    with Serving(settings, FAST) as server, server.client() as client:
        ready = client.get("/readyz").json()
        assert ready["ready"] is True
        assert set(ready["loading"]) == {f"endless-{number}" for number in range(2 + len(os.sched_getaffinity(0)))}
        assert infer(client, "good").json()["outputs"][0]["data"] == Y
        states = index(client)
        assert states.pop(("good", "1")) == ("READY", "")
        assert set(states.values()) == {("LOADING", TAKES_LONG)}
        refused = infer(client, "endless-0")
        reason = f"model 'endless-0' is not ready: version 1: {TAKES_LONG}"
        assert (refused.status_code, refused.json()["error"]) == (503, reason)
        graphs.write_plain(tmp_path, "other", graphs.double())
        assert load(client, "other").status_code == 200
        assert index(client)["other", "1"] == ("READY", "")
        assert client.post("/v2/repository/models/endless-0/unload").status_code == 200
        assert index(client)["endless-0", "1"] == ("UNAVAILABLE", "it was unloaded")
        assert "endless-0" not in client.get("/readyz").json()["loading"]


def publish_endless(root: Path) -> None:
    """A version whose golden samples never end."""
    rows = np.ones((2, 3), np.float32)
    graphs.publish(root, "both", graphs.endless(), rows, rows)


def write_endless(root: Path) -> None:
    """A version the analysis of whose rows never ends."""
    graphs.write_plain(root, "both", graphs.endless(), version=2)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("add", [write_endless, publish_endless])
def test_load_that_takes_too_long_is_given_up(tmp_path: Path, add: Callable[[Path], None]) -> None:
    """What has not loaded within SLUICE_LOAD_TIMEOUT_S is unavailable with that reason, and an older version serves."""
    graphs.write_plain(tmp_path, "both", graphs.double())
    add(tmp_path)
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:
        assert list(index(client).values()) == [("READY", ""), ("UNAVAILABLE", TOO_LONG)]
        assert infer(client, "both").status_code == 200


def test_version_that_never_loads_does_not_take_its_model_down(tmp_path: Path, impatient: float) -> None:
    """An older version serves while the newest and one with an alias never load, and the next one can be loaded."""
    for version, content in enumerate((graphs.endless(), graphs.double(), graphs.double(), graphs.endless()), 1):
        graphs.write_plain(tmp_path, "m", content, version=version)
    (tmp_path / "m" / "aliases.json").write_text('{"old": 1}')
    settings = settings_for(tmp_path, ready_wait_s=impatient, control=True)
    with Serving(settings, FAST) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        assert infer(client, "m").json()["model_version"] == "3"
        assert [state for state, _ in index(client).values()] == ["LOADING", "UNAVAILABLE", "READY", "LOADING"]
        graphs.write_plain(tmp_path, "m", graphs.double(), version=5)
        assert load(client, "m").status_code == 200
        assert infer(client, "m").json()["model_version"] == "5"


@pytest.mark.anyio
async def test_newest_version_takes_over_when_it_is_loaded_late(
    tmp_path: Path, impatient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one that served meanwhile is taken out of service."""
    graphs.write_plain(tmp_path, "m", graphs.double())
    graphs.write_plain(tmp_path, "m", graphs.endless(), version=2)
    may_load = threading.Event()

    def load(version: ModelVersion, settings: Settings, cancellation: Cancellation) -> LoadedVersion:
        if version.version == 2:
            assert may_load.wait(60)
            (version.folder / "model.onnx").write_bytes(graphs.double())
        return load_version(version, settings, cancellation)

    monkeypatch.setattr(loads, "load_version", load)
    worker = ClosingWorker(Settings(store=tmp_path, ready_wait_s=impatient))
    registry = worker.registry
    try:
        await registry.load_all()
        assert registry.find("m").version == "1"
        may_load.set()
        await asyncio.gather(*registry.lifecycle.started)
        assert registry.find("m").version == "2"
        await registry.lifecycle.retirement.end()
        states = [(entry.version, entry.state.value) for entry in await registry.index()]
        assert states == [("1", "UNAVAILABLE"), ("2", "READY")]
    finally:
        may_load.set()
        await worker.stop()


@pytest.mark.anyio
@pytest.mark.usefixtures("limited")
async def test_load_that_cannot_be_stopped_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model is unavailable, another one loads, and ``close`` tells that a thread is left."""
    graphs.write_plain(tmp_path, "stuck", graphs.endless())
    graphs.write_plain(tmp_path, "good", graphs.double())
    may_end = threading.Event()

    def load(version: ModelVersion, settings: Settings, cancellation: Cancellation) -> LoadedVersion:
        if version.name == "stuck":
            may_end.wait(60)
            raise NotReady("it has ended")
        return load_version(version, settings)

    monkeypatch.setattr(loads, "load_version", load)
    monkeypatch.setattr(loads, "_GRACE_S", 0.05)
    worker = ClosingWorker(Settings(store=tmp_path, control=True))
    try:
        with pytest.raises(NotReady, match=r"had not loaded after 0\.5 s: .* \(what it does cannot be stopped\)$"):
            await worker.registry.load("stuck")
        await worker.registry.load("good")
        assert not worker.registry.lifecycle.loads.close(within_s=0.05)
    finally:
        may_end.set()
    assert worker.registry.lifecycle.loads.close(within_s=60)
    await worker.stop()


def test_server_that_starts_sweeps_what_a_killed_publisher_left(tmp_path: Path) -> None:
    """A folder that nobody holds is removed; what serves is not touched."""
    graphs.write_plain(tmp_path, "good", graphs.double())
    (tmp_path / "good" / ".publish-x").mkdir()
    reader = StoreReader(Store(tmp_path))
    try:
        reader.read_store(("good",))
    finally:
        reader._pool.shutdown(wait=True)
    assert [path.name for path in (tmp_path / "good").iterdir()] == ["1"]


@pytest.mark.anyio
@pytest.mark.usefixtures("limited")
async def test_several_that_ask_for_a_first_load_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded once, and all get the same result, whether it serves or not."""
    graphs.write_plain(tmp_path, "good", graphs.double())
    graphs.write_plain(tmp_path, "endless", graphs.endless())
    begun: list[str] = []

    def load(version: ModelVersion, settings: Settings, cancellation: Cancellation) -> LoadedVersion:
        begun.append(version.name)
        return load_version(version, settings, cancellation)

    monkeypatch.setattr(loads, "load_version", load)
    worker = ClosingWorker(Settings(store=tmp_path, models=("good", "endless"), control=True))
    asked = [worker.registry.load(name) for name in ("good", "endless") for _ in range(3)]
    answers: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
    await worker.stop()
    assert answers[:3] == [None] * 3
    assert [str(answer) for answer in answers[3:]] == [f"version 1 of 'endless' cannot serve: {TOO_LONG}"] * 3
    assert sorted(begun) == ["endless", "good"]


def test_load_that_is_cancelled_before_it_begins_raises_the_reason(tmp_path: Path) -> None:
    """Nothing of it is begun."""
    graphs.write_plain(tmp_path, "endless", graphs.endless())
    cancellation = Cancellation()
    cancellation.cancel("enough")
    with pytest.raises(NotReady, match="enough"):
        load_version(Store(tmp_path).find("endless"), Settings(store=tmp_path), cancellation)


def test_measurement_does_not_wait_for_a_load_that_may_never_end() -> None:
    """A load that has taken longer than 10 s keeps no other one from measuring."""
    now = [0.0]
    lock, loads, may_end = MeasurementLock(lambda: now[0]), threading.Event(), threading.Event()

    def load() -> None:
        with lock.shared():
            loads.set()
            may_end.wait(60)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert loads.wait(30)
        now[0] = 10.5
        with lock.shared(), lock.exclusive():
            pass
    finally:
        may_end.set()
        thread.join(30)
