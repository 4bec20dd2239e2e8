"""Requests that wait by ``dynamic_batching`` of a Triton configuration, over HTTP and gRPC."""

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.models.registry import Model
from tests.service.models.asking import infer
from tests.support.gates import Gate, gated
from tests.support.models import graphs
from tests.support.models.triton_models import write_model
from tests.support.servers import settings_for
from tests.support.triton_clients import TritonServing

CONFIGS = {
    "limited": "default_queue_policy { max_queue_size: 2 }",
    "levels": "priority_levels: 4 default_priority_level: 2 default_queue_policy { max_queue_size: 1 }"
    " priority_queue_policy { key: 4 value { max_queue_size: 2 } }",
    "hasty": "default_queue_policy { default_timeout_microseconds: 20000 }",
    "quick": "default_queue_policy { default_timeout_microseconds: 1 }",
    "free": "default_queue_policy { default_timeout_microseconds: 60000000 allow_timeout_override: true }",
    "held": "max_queue_delay_microseconds: 300000000",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServing]:
    root = tmp_path_factory.mktemp("queues")
    for name, text in CONFIGS.items():
        write_model(root, name, f"max_batch_size: 4 dynamic_batching {{ {text} }}", graphs.double())
    with TritonServing(settings_for(root, provider="cpu", lanes=1)) as serving:
        yield serving


class Crowd:
    """Callers of a model whose lane is held by one of them."""

    def __init__(self, server: TritonServing, client: httpx.Client, name: str, pool: ThreadPoolExecutor, gate: Gate):
        self.server, self.client, self.name, self.pool, self.gate = server, client, name, pool, gate
        self.model: Model = server.worker.registry.find(name)
        self.first = self.ask(0)
        gate.entered.acquire()

    def ask(self, value: float, rows: int = 1, **parameters: Any) -> "Future[httpx.Response]":
        x = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "data": [value] * 3 * rows}
        body: Mapping[str, Any] = {"inputs": [x], "parameters": parameters}
        return self.pool.submit(self.client.post, f"/v2/models/{self.name}/infer", json=body)

    def ask_and_wait(self, value: float, waiting: int, **parameters: Any) -> "Future[httpx.Response]":
        """Ask, and return when so many requests wait."""
        asked = self.ask(value, **parameters)
        self.server.until(lambda: sum(self.model.dispatcher.queue.requests_of) == waiting)
        return asked


@pytest.fixture
def crowd(request: pytest.FixtureRequest, server: TritonServing) -> Iterator[Crowd]:
    model = server.worker.registry.find(request.param)
    with server.client() as client, ThreadPoolExecutor(8) as pool, gated(model) as gate:
        yield Crowd(server, client, request.param, pool, gate)


def first_of(answer: "Future[httpx.Response]") -> float:
    value: float = answer.result(20).json()["outputs"][0]["data"][0]
    return value


@pytest.mark.parametrize("crowd", ["limited"], indirect=True)
def test_request_beyond_max_queue_size_is_429(crowd: Crowd) -> None:
    """The limit counts requests, not rows. The next one is told when to come back, and the others are answered."""
    waiting = [crowd.ask_and_wait(n, n, rows=3) for n in (1, 2)]
    refused = crowd.ask(3).result(20)
    assert refused.status_code == 429
    assert "2 requests wait" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) >= 1
    crowd.gate.opened.set()
    assert [first_of(each) for each in (crowd.first, *waiting)] == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("crowd", ["levels"], indirect=True)
def test_levels_have_their_own_limits(crowd: Crowd) -> None:
    """Levels 1 and 2 together hold two requests, 3 and 4 three; who does not say is of level 2."""
    waiting = [crowd.ask_and_wait(n, n, priority=priority) for n, priority in enumerate((4, 3, 4, 0, 1), 1)]
    for priority in (1, 2, 3, 4, 5):
        assert crowd.ask(9, priority=priority).result(20).status_code == 429
    crowd.gate.opened.set()
    assert [first_of(each) for each in waiting] == [2.0, 4.0, 6.0, 8.0, 10.0]


@pytest.mark.parametrize("crowd", ["hasty"], indirect=True)
def test_request_that_waits_for_too_long_is_504(crowd: Crowd) -> None:
    """The configuration's timeout ends a wait, and a longer one of the request does not change that."""
    late = [crowd.ask(1), crowd.ask(2, timeout=10_000_000)]
    assert [each.result(20).status_code for each in late] == [504, 504]
    assert "the deadline passed while the request waited" in late[0].result().json()["error"]
    crowd.gate.opened.set()
    assert first_of(crowd.first) == 0.0


@pytest.mark.parametrize("crowd", ["free"], indirect=True)
def test_shorter_timeout_of_a_request_counts_where_it_may(crowd: Crowd) -> None:
    """With allow_timeout_override a request may wait less than the others."""
    waits = crowd.ask_and_wait(1, 1)
    assert crowd.ask(2, timeout=20_000).result(20).status_code == 504
    crowd.gate.opened.set()
    assert first_of(waits) == 2.0


def test_timeout_shorter_than_a_run_refuses_nobody(server: TritonServing, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a time of waiting: with nobody before it a request is answered however long it takes, here seconds."""
    times = itertools.count()
    monkeypatch.setattr(server.worker.handler, "clock", lambda: float(next(times)))
    x = {"name": "x", "datatype": "FP32", "shape": [4, 3], "data": [1.0] * 12}
    bodies = {
        "/v2/models/quick/infer": {"inputs": [x]},
        "/v2/models/quick/generate": {"x": [1, 2, 3]},
        "/v1/models/quick:predict": {"instances": [[1, 2, 3]]},
    }
    with server.client() as client:
        assert [client.post(path, json=body).status_code for path, body in bodies.items()] == [200] * 3


def test_request_may_not_give_itself_more_time_than_the_server_lets_any(tmp_path: Path) -> None:
    """A timeout of hours ends at ``max_timeout_s``: a run that does not end would hold a lane for as long."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    settings = settings_for(tmp_path, provider="cpu", lanes=1, deadline_s=0.05, max_timeout_s=0.2)
    with TritonServing(settings) as server, server.client() as client, gated(server.worker.registry.find("double")):
        assert infer(client, "double", timeout=10**13).status_code == 504
        generate = {"x": [1, 2, 3], "parameters": {"timeout": 10**13}}
        assert client.post("/v2/models/double/generate", json=generate).status_code == 504


def test_batch_is_held_for_company(server: TritonServing) -> None:
    """With max_queue_delay_microseconds a request waits for others until its batch is full."""
    model = server.worker.registry.find("held")
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(server.ask, "grpc", "held", {"x": np.ones((3, 3), np.float32)})]
        server.until(lambda: model.dispatcher.queue.waiting_rows == 3)
        answers.append(pool.submit(server.ask, "grpc", "held", {"x": np.ones((1, 3), np.float32)}))
        assert [len(each.result(20).outputs["y"]) for each in answers] == [3, 1]
