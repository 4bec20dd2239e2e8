"""Reads answers as clients do: errors, server-sent events, and metrics."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


def assert_error(response: httpx.Response, status: int, text: str) -> None:
    """Check the status and the text of an error, and that it has the shape that all errors have."""
    assert response.status_code == status, response.text[:500]
    body = response.json()
    assert set(body) == {"error", "request_id"}
    assert text in body["error"], body
    assert response.headers["x-request-id"] == body["request_id"]
    assert response.headers["content-type"] == "application/json"
    assert ("retry-after" in response.headers) == (status in (429, 503))


def sum_series(metrics: str, start: str) -> float:
    """The sum of all series whose lines begin with ``start``; 0 if there are none."""
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(start))


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """(name, data) of each event, as soon as it arrives."""
    name = "message"
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
            name = "message"
