"""How the server's time is split, by the statistics of the Open Inference Protocol: queue, batch, compute."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from loadtests.http_client import Request, Unreachable, exchange

_STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Counts:
    """Sums since the server began, over all versions of a model and over the models of a pipeline's steps."""

    requests: int
    total_ns: int
    stages_ns: tuple[int, ...]
    rows: int
    runs: int


@dataclass(frozen=True)
class ServerTimes:
    """Means over the requests of a run, in seconds; NaN without requests.

    ``queue_s``: waiting for a batch. ``batch_s``: assembling it and reaching a lane. ``compute_s``: running it.
    ``answer_s``: from the end of the batch to the answer. ``rows_per_run``: over all requests of the model.
    """

    requests: int
    total_s: float
    queue_s: float
    batch_s: float
    compute_s: float
    answer_s: float
    rows_per_run: float


def read_counts(address: str, model: str) -> Counts | None:
    """The counts of now; None from a server that has no such statistics."""
    try:
        answer = exchange(address, Request(f"/v2/models/{quote(model, safe='')}/stats"))
        entries = json.loads(answer.body)["model_stats"] if answer.status == 200 else []
        counts = [_read(entry) for entry in entries]
    except (Unreachable, ValueError, KeyError, TypeError):
        return None
    if not counts:
        return None
    stages = tuple(sum(each) for each in zip(*(one.stages_ns for one in counts), strict=True))
    return Counts(
        requests=max(one.requests for one in counts),  # a request of a pipeline is one of each step
        total_ns=sum(one.total_ns for one in counts),
        stages_ns=stages,
        rows=sum(one.rows for one in counts),
        runs=sum(one.runs for one in counts),
    )


def subtract(after: Counts | None, before: Counts | None) -> ServerTimes | None:
    """What happened between two readings; None if one is missing, or if nothing was answered."""
    if after is None or before is None or after.requests <= before.requests:
        return None
    requests = after.requests - before.requests
    pairs = zip((after.total_ns, *after.stages_ns), (before.total_ns, *before.stages_ns), strict=True)
    total_s, queue_s, batch_s, compute_s, answer_s = ((late - early) / requests / 1e9 for late, early in pairs)
    runs = after.runs - before.runs
    rows_per_run = (after.rows - before.rows) / runs if runs else math.nan
    return ServerTimes(requests, total_s, queue_s, batch_s, compute_s, answer_s, rows_per_run)


def _read(entry: Mapping[str, Any]) -> Counts:
    stats = entry["inference_stats"]
    return Counts(
        requests=int(stats["success"]["count"]),
        total_ns=int(stats["success"]["ns"]),
        stages_ns=tuple(int(stats[stage]["ns"]) for stage in _STAGES),
        rows=int(entry["inference_count"]),
        runs=int(entry["execution_count"]),
    )
