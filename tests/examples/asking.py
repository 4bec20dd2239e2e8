"""Requests to the server of an example."""

from typing import Any

import httpx


def post(url: str, **more: Any) -> httpx.Response:
    """The answer, which must be 200."""
    answer = httpx.post(url, timeout=60, **more)
    assert answer.status_code == 200, answer.text
    return answer
