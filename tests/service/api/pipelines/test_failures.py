"""Pipelines whose steps fail, wait, are cancelled, go, or change while they run."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import Store
from service.models.entry import Model
from tests.support.answers import assert_error
from tests.support.gates import gated
from tests.support.pipelines.models import (
    BLUE,
    RED,
    as_row,
    halves,
    make_pipeline,
    painter,
    write_store,
)
from tests.support.servers import FAST, Serving, settings_for, turn_until
from tests.support.wires import Wire, request_bytes

BODY = {"model": "colours", "inputs": [as_row(halves(RED, BLUE))]}
ANSWER = [{"colours": ["red", "blue"]}]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path, "colours", "beside")
    return tmp_path


@pytest.fixture
def serving(store: Path) -> Iterator[Serving]:
    with Serving(settings_for(store, max_rows=4, control=True, max_queue_rows=4, deadline_s=20.0), FAST) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def model_of(serving: Serving, name: str) -> Model:
    return serving.worker.registry.find(name)


def ask(serving: Serving, body: Any = BODY) -> httpx.Response:
    with serving.client() as client:
        return client.post("/pipeline", json=body)


def test_deadline_covers_all_steps_and_names_the_one_that_ran(store: Path):
    """A step that does not end in time is 504 for the whole."""
    with Serving(settings_for(store, max_rows=4, deadline_s=0.5), FAST) as server:
        with gated(model_of(server, "painter")) as gate:
            response = ask(server)
            gate.opened.set()
        assert_error(response, 504, "step paint")


def test_cancelled_request_leaves_the_queues_of_its_steps(serving: Serving):
    """When the caller goes, the waiting rows of all its steps go with it, and others are answered."""
    registry = serving.worker.registry
    with gated(registry.find("painter")) as one, gated(registry.find("matcher")) as other:
        runs = serving.worker.tasks._open
        with Wire(serving) as wire:
            wire.send(request_bytes(httpx.Request("POST", "/", json={**BODY, "model": "beside"}).content, "/pipeline"))
            one.entered.acquire()
            other.entered.acquire()
            assert len(runs) == 1
        turn_until(serving.worker.handler.loop, lambda: not runs)
        one.opened.set()
        other.opened.set()
    assert ask(serving).json()["predictions"] == ANSWER
    rejected = 'sluice_rejected_total{model="beside",reason="cancelled"} 1.0'
    with serving.client() as client:
        assert rejected in client.get("/metrics").text


def test_full_queue_of_a_step_names_it(store: Path, threads: ThreadPoolExecutor):
    """429 says which step's model has no room, and when to try again."""
    settings = settings_for(store, max_rows=4, max_queue_rows=4, lanes=1, deadline_s=20.0)
    with Serving(settings, FAST) as server, gated(model_of(server, "painter")) as gate:
        threads.submit(fill, server)
        gate.entered.acquire()
        threads.submit(fill, server)
        queue = model_of(server, "painter").dispatcher.queue
        turn_until(server.worker.handler.loop, lambda: queue.waiting_rows == 4)
        assert_error(ask(server, {**BODY, "model": "beside"}), 429, "step one: ")
        gate.opened.set()


def fill(serving: Serving) -> httpx.Response:
    """Four rows of other callers for the model of a step."""
    with serving.client() as client:
        return client.post("/classify", json={"model": "painter", "inputs": BODY["inputs"] * 4})


def test_one_failing_step_ends_the_others(serving: Serving, threads: ThreadPoolExecutor):
    """The caller gets the error at once, while the other branch still runs."""
    with gated(model_of(serving, "matcher")) as gate:
        painter_of = model_of(serving, "painter").dispatcher
        runner, painter_of.runner = painter_of.runner, _Failing()
        try:
            assert_error(ask(serving, {**BODY, "model": "beside"}), 500, "step one failed on this request")
        finally:
            painter_of.runner = runner
        assert not gate.opened.is_set()


class _Failing:
    def run(self, inputs: Any) -> Any:
        raise RuntimeError("out of order")


def test_unloaded_model_of_a_step_is_503_until_it_is_back(serving: Serving, client: httpx.Client):
    """The pipeline is not ready without it, and says which step misses which model."""
    client.post("/v2/repository/models/painter/unload")
    for response in (client.post("/pipeline", json=BODY), client.get("/v2/models/colours/ready")):
        assert_error(response, 503, "step paint: model 'painter' is not ready: it was unloaded")
    [card] = [card for card in client.get("/models").json()["models"] if card["name"] == "colours"]
    assert (card["ready"], card["reason"]) == (False, "step paint: model 'painter' is not ready: it was unloaded")
    client.post("/v2/repository/models/painter/load")
    assert client.post("/pipeline", json=BODY).json()["predictions"] == ANSWER


def test_model_that_is_not_in_the_store_is_404(store: Path):
    """A pipeline may be there before its models; it answers when they are."""
    shutil.move(store / "painter", store / ".painter")
    with Serving(settings_for(store, max_rows=4, control=True), FAST) as server, server.client() as client:
        assert_error(client.post("/pipeline", json=BODY), 404, "step paint: no model 'painter'")
        shutil.move(store / ".painter", store / "painter")
        assert client.post("/v2/repository/models/painter/load").status_code == 200
        assert client.post("/pipeline", json=BODY).json()["predictions"] == ANSWER


def test_running_request_ends_on_the_versions_with_which_it_began(
    serving: Serving, client: httpx.Client, store: Path, threads: ThreadPoolExecutor
):
    """A step's model changes while the step before it runs; the next request follows to the new version."""
    Store(store).publish(*painter(swapped=True))
    with gated(model_of(serving, "finder")) as gate:
        running = threads.submit(ask, serving)
        gate.entered.acquire()
        assert client.post("/v2/repository/models/painter/load").status_code == 200
        assert model_of(serving, "painter").version == "2"
        gate.opened.set()
        assert running.result().json()["predictions"] == ANSWER
    assert client.post("/pipeline", json=BODY).json()["predictions"] == [{"colours": ["green", "red"]}]


def test_step_follows_an_alias(serving: Serving, client: httpx.Client, store: Path):
    """A step that names an alias runs on the version to which that points when the request begins."""
    stored = Store(store)
    stored.publish(*painter(swapped=True))
    stored.set_alias("painter", "stable", 1)
    step = {"model": "painter", "version": "stable", "task": "classify", "input": "request"}
    stored.publish(make_pipeline("stable", {"paint": step}, {"colour": "paint.label"}), {})
    for model in ("painter", "stable"):
        assert client.post(f"/v2/repository/models/{model}/load").status_code == 200
    body = {"model": "stable", "inputs": [as_row(halves(RED, RED))]}
    assert client.post("/pipeline", json=body).json()["predictions"] == [{"colour": "red"}]
    stored.set_alias("painter", "stable", 2)
    client.post("/v2/repository/models/painter/load")
    assert client.post("/pipeline", json=body).json()["predictions"] == [{"colour": "green"}]


def test_shutdown_answers_a_pipeline_that_runs(store: Path, threads: ThreadPoolExecutor):
    """A stopping server finishes all steps of an accepted request."""
    with Serving(settings_for(store, max_rows=4), FAST) as server, gated(model_of(server, "finder")) as gate:
        running = threads.submit(ask, server)
        gate.entered.acquire()
        server.stop()
        gate.opened.set()
        assert running.result().json()["predictions"] == ANSWER


def test_requests_of_several_callers_share_the_batches_of_a_step(store: Path, threads: ThreadPoolExecutor):
    """Rows that wait at a step go through it together, whoever sent them."""
    settings = settings_for(store, max_rows=4, lanes=1, deadline_s=20.0)
    with Serving(settings, FAST) as server, gated(model_of(server, "finder")) as gate:
        first = threads.submit(ask, server)
        gate.entered.acquire()
        others = [threads.submit(ask, server) for _ in range(3)]
        queue = model_of(server, "finder").dispatcher.queue
        turn_until(server.worker.handler.loop, lambda: queue.waiting_rows == 3)
        gate.opened.set()
        assert [each.result().json()["predictions"] for each in (first, *others)] == [ANSWER] * 4
    assert gate.rows == [1, 3]
