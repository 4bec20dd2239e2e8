"""What clients read of answers: errors, and server-sent events."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


def assert_error(response: httpx.Response, status: int, text: str) -> None:
    """The one shape of an error."""
    assert response.status_code == status, response.text[:500]
    body = response.json()
    assert set(body) == {"error", "request_id"}
    assert text in body["error"], body
    assert response.headers["x-request-id"] == body["request_id"]
    assert response.headers["content-type"] == "application/json"
    assert ("retry-after" in response.headers) == (status in (429, 503))


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """(name, data) of each event, as soon as it is there."""
    name = "message"
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
            name = "message"
