"""Statistics of the protocol: what is counted, and how."""

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import FAST, Serving, settings_for

STAGES = ("queue", "compute_input", "compute_infer", "compute_output")
KEYS = ("success", "fail", *STAGES, "cache_hit", "cache_miss")
MODELS = ("double", "exhausting", "fixed")
ROW = [1.0, 2.0, 3.0]


@pytest.fixture
def client(store: Path) -> Iterator[httpx.Client]:
    with Serving(settings_for(store, models=MODELS, max_rows=4), FAST) as server, server.client() as client:
        yield client


def infer(client: httpx.Client, rows: int = 1, **parameters: Any) -> httpx.Response:
    x = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "data": ROW * rows}
    return client.post("/v2/models/double/infer", json={"inputs": [x], "parameters": parameters})


def stats_of(client: httpx.Client, path: str = "double") -> dict[str, Any]:
    (found,) = client.get(f"/v2/models/{path}/stats").raise_for_status().json()["model_stats"]
    stats: dict[str, Any] = found
    return stats


def counts(stats: dict[str, Any]) -> dict[str, int]:
    return {key: value["count"] for key, value in stats["inference_stats"].items()}


def test_model_that_was_not_asked_has_all_keys(client: httpx.Client) -> None:
    """All eight keys are there before the first request; a request without rows is then a success without a run."""
    stats = stats_of(client)
    assert (stats["name"], stats["version"], stats["last_inference"]) == ("double", "1", 0)
    assert (stats["inference_count"], stats["execution_count"], stats["batch_stats"]) == (0, 0, [])
    assert tuple(stats["inference_stats"]) == KEYS
    assert all(value == {"count": 0, "ns": 0} for value in stats["inference_stats"].values())
    response = infer(client, rows=0)
    assert (response.status_code, response.json()["outputs"][0]["shape"]) == (200, [0, 3])
    assert "compute;dur=0.000" in response.headers["server-timing"]
    stats = stats_of(client)
    assert (counts(stats)["success"], counts(stats)["fail"]) == (1, 0)
    assert (stats["inference_count"], stats["execution_count"]) == (0, 0)
    assert 'sluice_requests_total{model="double",route="/v2/models/{model}/infer",status="200",version="1"} 1.0' in (
        client.get("/metrics").text
    )


def test_refused_requests_count_as_failed(client: httpx.Client) -> None:
    """A request that the engine refuses or the model fails counts as failed; a malformed one does not count."""
    assert infer(client, timeout=1).status_code in (429, 504)
    assert client.post("/v2/models/double/infer", json={"inputs": []}).status_code == 400
    assert counts(stats_of(client))["fail"] == 1
    ids = {"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [99]}
    assert client.post("/v2/models/exhausting/infer", json={"inputs": [ids]}).status_code == 500
    stats = stats_of(client, "exhausting")
    assert (counts(stats)["fail"], counts(stats)["success"], stats["execution_count"]) == (1, 0, 0)
    assert stats["inference_stats"]["fail"]["ns"] > 0


def test_rows_and_runs_and_requests_are_counted_apart(client: httpx.Client) -> None:
    """A request of 3 rows is 3 inferences in one execution; one of 9 rows takes three of at most 4 rows."""
    infer(client, 3).raise_for_status()
    stats = stats_of(client)
    assert (stats["inference_count"], stats["execution_count"], counts(stats)["success"]) == (3, 1, 1)
    infer(client, 9).raise_for_status()
    stats = stats_of(client, "double/versions/1")
    assert stats["inference_count"] == 12
    assert stats["execution_count"] >= 4  # idle lanes may share them in smaller batches
    expected = dict.fromkeys(KEYS, 2) | dict.fromkeys(("fail", "cache_hit", "cache_miss"), 0)
    assert counts(stats) == expected
    sizes = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in stats["batch_stats"]}
    assert max(sizes) <= 4
    assert sum(size * count for size, count in sizes.items()) == 12
    assert sum(sizes.values()) == stats["execution_count"]


def test_stages_add_up_to_the_whole(client: httpx.Client) -> None:
    """The stages add up to the time of the requests, the last one has a date, and without a batch each is a row."""
    for _ in range(5):
        infer(client, 2).raise_for_status()
    stats = stats_of(client)
    ns = {key: value["ns"] for key, value in stats["inference_stats"].items()}
    assert sum(ns[stage] for stage in STAGES) == pytest.approx(ns["success"], abs=5)
    assert 0 < ns["compute_infer"] < ns["success"]
    (batch,) = stats["batch_stats"]
    assert batch["compute_infer"] == {"count": 5, "ns": pytest.approx(ns["compute_infer"], abs=5)}
    now = parsedate_to_datetime(client.get("/livez").headers["date"])
    assert abs(stats["last_inference"] / 1e3 - now.timestamp()) < 120
    x = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
    client.post("/v2/models/fixed/infer", json={"inputs": [x]}).raise_for_status()
    told = {each["name"]: each for each in client.get("/v2/models/stats").json()["model_stats"]}
    assert [*told] == ["double", "exhausting", "fixed"]
    assert (told["fixed"]["inference_count"], told["fixed"]["execution_count"]) == (1, 1)


def test_workers_are_summed(store: Path, tmp_path: Path) -> None:
    """Every worker tells the sum over all workers, those that have ended included."""
    settings = settings_for(store, models=MODELS, workers=2, metrics_dir=tmp_path / "m")
    with Serving(settings, FAST) as one, one.client() as first:
        with Serving(settings, FAST) as two, two.client() as second:
            infer(first, 1).raise_for_status()
            infer(second, 2).raise_for_status()
            for client in (first, second):  # a request is counted after its answer, and before the next of its worker
                client.get("/livez").raise_for_status()
            assert stats_of(first) == stats_of(second)
        stats = stats_of(first)
    assert (stats["inference_count"], stats["execution_count"], counts(stats)["success"]) == (3, 2, 2)


def test_steps_of_a_loop_are_counted(reference: httpx.Client) -> None:
    """A diffusion of 2 rows in 7 steps is one request, 7 executions and 14 inferences."""
    before = stats_of(reference, "digits-diffusion")
    body = {"model": "digits-diffusion", "count": 2, "steps": 7, "seed": 1}
    reference.post("/generate", json=body).raise_for_status()
    after = stats_of(reference, "digits-diffusion")
    assert after["execution_count"] - before["execution_count"] >= 7  # lanes may share the rows
    assert after["inference_count"] - before["inference_count"] >= 14
    assert counts(after)["success"] - counts(before)["success"] == 1
    of_others = before["inference_stats"]  # whose callers may have gone
    ns = {key: value["ns"] - of_others[key]["ns"] for key, value in after["inference_stats"].items()}
    assert sum(ns[stage] for stage in STAGES) == pytest.approx(ns["success"], abs=10)
