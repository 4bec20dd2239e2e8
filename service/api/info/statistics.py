"""Statistics of the models in service, over all workers of this server.

Durations are nanoseconds. ``inference_stats`` sums over requests: the run of a batch of eight requests counts eight
times. ``batch_stats`` sums over batches. ``inference_count`` counts rows, ``execution_count`` counts runs; each step of
a loop is a run. ``compute_input`` is the time to assemble a batch and get a lane, ``compute_output`` the time after the
run.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from service.metrics.definitions import BATCHES, REQUESTS
from service.metrics.meters import Metrics
from service.metrics.storage import Labels
from service.models.entry import Model

_Sums = dict[str, float]


def describe_statistics(metrics: Metrics, models: Iterable[Model]) -> dict[str, Any]:
    """``{"model_stats": [...]}``, sorted by name and version. A version that returns to service keeps its counts."""
    wanted = sorted({(model.name, model.version) for model in models}, key=lambda k: (k[0], int(k[1])))
    requests = _sum(metrics, REQUESTS)
    batches: dict[Labels, dict[int, _Sums]] = {}
    for (name, version, rows), sums in _sum(metrics, BATCHES).items():
        batches.setdefault((name, version), {})[int(rows)] = sums
    return {"model_stats": [_of_version(k, requests.get(k, {}), batches.get(k, {})) for k in wanted]}


def _sum(metrics: Metrics, name: str) -> dict[Labels, _Sums]:
    found: dict[Labels, _Sums] = {}
    for labels, values in metrics.records(name):
        sums = found.setdefault(labels, {})
        for field, value in values.items():
            sums[field] = max(sums.get(field, 0.0), value) if field == "last" else sums.get(field, 0.0) + value
    return found


def _of_version(labels: Labels, requests: Mapping[str, float], batches: Mapping[int, _Sums]) -> dict[str, Any]:
    count = requests.get("success", 0.0)
    total_s = requests.get("success_s", 0.0)
    stages = {name: requests.get(name, 0.0) for name in ("queue_s", "input_s", "infer_s")}
    return {
        "name": labels[0],
        "version": labels[1],
        "last_inference": round(requests.get("last", 0.0) * 1e3),
        "inference_count": sum(rows * round(sums["count"]) for rows, sums in batches.items()),
        "execution_count": sum(round(sums["count"]) for sums in batches.values()),
        "inference_stats": {
            "success": _duration(count, total_s),
            "fail": _duration(requests.get("fail", 0.0), requests.get("fail_s", 0.0)),
            "queue": _duration(count, stages["queue_s"]),
            "compute_input": _duration(count, stages["input_s"]),
            "compute_infer": _duration(count, stages["infer_s"]),
            "compute_output": _duration(count, max(0.0, total_s - sum(stages.values()))),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(sums["count"], sums["input_s"]),
                "compute_infer": _duration(sums["count"], sums["infer_s"]),
                "compute_output": _duration(sums["count"], sums["output_s"]),
            }
            for rows, sums in sorted(batches.items())
        ],
        "memory_usage": [],
    }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": round(count), "ns": round(seconds * 1e9)}
