"""Loads that take long or never end: that model is unavailable, and nothing else waits for it."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model_store import ModelVersion, Store
from model_store.cancellation import Cancellation
from service.errors import NotReady
from service.models import loads
from service.models.index import StoreReader
from service.models.loading import LoadedVersion, load_version
from service.models.measurement_lock import MeasurementLock
from service.settings import Settings
from service.worker import Worker
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
TAKES_LONG = "it takes long to load, and is given up after 600 s"
TOO_LONG = "it had not loaded after 2 s: mend it, or raise SLUICE_LOAD_TIMEOUT_S"


def infer(client: httpx.Client, name: str) -> httpx.Response:
    return client.post(f"/v2/models/{name}/infer", json={"inputs": [X]})


def index(client: httpx.Client) -> dict[str, tuple[str, str]]:
    lines = client.post("/v2/repository/index").raise_for_status().json()
    return {line["name"]: (line["state"], line.get("reason", "")) for line in lines}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """How long others wait for an endless version, and for no other one: so busy a machine may be."""

    def count(version: ModelVersion) -> int:
        return 0 if (version.folder / "model.onnx").read_bytes() == graphs.endless() else 1 << 60

    monkeypatch.setattr(loads, "_count_bytes", count)
    return 0.5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """More models that never end than load at once, before and after a good one."""
    for number in range(2 + len(os.sched_getaffinity(0))):
        graphs.write_plain(tmp_path, f"endless-{number}", graphs.endless())
    return graphs.write_plain(tmp_path, "good", graphs.double())


@pytest.fixture
def client(root: Path, impatient: float) -> Iterator[httpx.Client]:
    settings = settings_for(root, control=True, ready_wait_s=impatient)
    with Serving(settings, FAST) as server, server.client() as client:
        yield client


def test_models_that_never_load_keep_nobody_from_being_ready(client: httpx.Client) -> None:
    """The server is ready, the others serve and the endless ones are being loaded; the server stops all the same."""
    assert client.get("/readyz").status_code == 200
    assert infer(client, "good").json()["outputs"][0]["data"] == [2, 4, 6]
    states = index(client)
    assert states.pop("good") == ("READY", "")
    assert set(states.values()) == {("LOADING", TAKES_LONG)}
    refused = infer(client, "endless-0")
    assert (refused.status_code, refused.json()["error"]) == (
        503,
        f"model 'endless-0' is not ready: version 1: {TAKES_LONG}",
    )


def test_model_can_be_loaded_beside_those_that_never_load(root: Path, client: httpx.Client) -> None:
    """The index is answered and a further model loaded, however many others are in the middle of their loads."""
    graphs.write_plain(root, "other", graphs.double())
    assert client.post("/v2/repository/models/other/load").status_code == 200
    assert index(client)["other"] == ("READY", "")


def test_load_that_never_ends_is_ended_by_unloading_the_model(client: httpx.Client) -> None:
    """Whoever takes the model out of service need not wait for its load."""
    assert client.post("/v2/repository/models/endless-0/unload").status_code == 200
    assert index(client)["endless-0"] == ("UNAVAILABLE", "it was unloaded")


def publish_endless(root: Path) -> None:
    """A version whose golden samples never end."""
    rows = np.ones((2, 3), np.float32)
    graphs.publish(root, "both", graphs.endless(), rows, rows)


def write_endless(root: Path) -> None:
    """A version the analysis of whose rows never ends."""
    graphs.write_plain(root, "both", graphs.endless(), version=2)


@pytest.mark.parametrize("add", [write_endless, publish_endless])
def test_load_that_takes_too_long_is_given_up(tmp_path: Path, add: Callable[[Path], None]) -> None:
    """What has not loaded within SLUICE_LOAD_TIMEOUT_S is unavailable with that reason, and an older version serves."""
    graphs.write_plain(tmp_path, "both", graphs.double())
    add(tmp_path)
    with Serving(settings_for(tmp_path, load_timeout_s=2), FAST) as server, server.client() as client:
        lines = client.post("/v2/repository/index").json()
        assert [(line["state"], line.get("reason", "")) for line in lines] == [("READY", ""), ("UNAVAILABLE", TOO_LONG)]
        assert infer(client, "both").status_code == 200


def test_older_version_serves_while_the_newest_does_not_get_loaded(tmp_path: Path, impatient: float) -> None:
    """A version that never loads does not take its model down, and keeps nobody from loading another one."""
    for version in (1, 2):
        graphs.write_plain(tmp_path, "m", graphs.double(), version=version)
    graphs.write_plain(tmp_path, "m", graphs.endless(), version=3)
    settings = settings_for(tmp_path, ready_wait_s=impatient, control=True)
    with Serving(settings, FAST) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        assert infer(client, "m").json()["model_version"] == "2"
        lines = client.post("/v2/repository/index").json()
        assert [line["state"] for line in lines] == ["UNAVAILABLE", "READY", "LOADING"]
        graphs.write_plain(tmp_path, "m", graphs.double(), version=4)
        assert client.post("/v2/repository/models/m/load").status_code == 200
        assert infer(client, "m").json()["model_version"] == "4"


def test_newest_version_serves_though_one_with_an_alias_never_loads(tmp_path: Path, impatient: float) -> None:
    """The version that an alias points to is loaded after the one that serves."""
    graphs.write_plain(tmp_path, "m", graphs.endless())
    graphs.write_plain(tmp_path, "m", graphs.double(), version=2)
    (tmp_path / "m" / "aliases.json").write_text('{"stable": 1}')
    with Serving(settings_for(tmp_path, ready_wait_s=impatient), FAST) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        assert infer(client, "m").json()["model_version"] == "2"


def test_newest_version_takes_over_when_it_is_loaded_late(
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

    async def watch() -> None:
        worker = Worker(Settings(store=tmp_path, ready_wait_s=impatient))
        registry = worker.registry
        try:
            await registry.load_all()
            assert registry.find("m").version == "1"
            may_load.set()
            await asyncio.gather(*registry._started)
            assert registry.find("m").version == "2"
            await registry._retirement.end()
            states = [(entry.version, entry.state.value) for entry in await registry.index()]
            assert states == [("1", "UNAVAILABLE"), ("2", "READY")]
        finally:
            may_load.set()
            await worker.stop()

    monkeypatch.setattr(loads, "load_version", load)
    asyncio.run(watch())


def test_load_that_cannot_be_stopped_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model is unavailable, another one loads, and whoever stops the server is told that a thread is left."""
    for name in ("stuck", "good"):
        graphs.write_plain(tmp_path, name, graphs.double())
    may_end = threading.Event()

    def load(version: ModelVersion, settings: Settings, cancellation: Cancellation) -> LoadedVersion:
        if version.name == "stuck":
            may_end.wait(60)
        return load_version(version, settings)

    async def watch() -> None:
        worker = Worker(Settings(store=tmp_path, control=True, load_timeout_s=0.2))
        try:
            with pytest.raises(NotReady, match=r"had not loaded after 0\.2 s: .* \(what it does cannot be stopped\)$"):
                await worker.registry.load("stuck")
            await worker.registry.load("good")
            assert not worker.registry.close()
        finally:
            may_end.set()
        monkeypatch.setattr(loads, "_GRACE_S", 60.0)
        assert worker.registry.close()
        await worker.stop()

    monkeypatch.setattr(loads, "load_version", load)
    monkeypatch.setattr(loads, "_GRACE_S", 0.05)
    asyncio.run(watch())


def test_server_that_starts_sweeps_what_a_killed_publisher_left(root: Path) -> None:
    """A folder that nobody holds is removed; what serves is not touched."""
    (root / "good" / ".publish-x").mkdir()
    reader = StoreReader(Store(root))
    try:
        reader.read_store(("good",))
    finally:
        reader._pool.shutdown(wait=True)
    assert [path.name for path in (root / "good").iterdir()] == ["1"]


def test_several_that_ask_for_the_first_load_of_a_model_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it serves or not, it was loaded once, and all are told the same."""
    graphs.write_plain(tmp_path, "good", graphs.double())
    graphs.write_plain(tmp_path, "endless", graphs.endless())
    begun: list[str] = []

    def load(version: ModelVersion, settings: Settings, cancellation: Cancellation) -> LoadedVersion:
        begun.append(version.name)
        return load_version(version, settings, cancellation)

    monkeypatch.setattr(loads, "load_version", load)

    async def ask() -> list[Any]:
        worker = Worker(Settings(store=tmp_path, models=("good", "endless"), control=True, load_timeout_s=2))
        try:
            asked = [worker.registry.load(name) for name in ("good", "endless") for _ in range(3)]
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await worker.stop()

    answers = asyncio.run(ask())
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
    """Who has loaded for longer than 10 s keeps nobody from measuring."""
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
