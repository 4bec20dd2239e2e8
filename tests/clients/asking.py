"""One way to call both Python clients, with a function in the place of the server."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sluice_client import AsyncClient, Client, Retry

Answer = Callable[[httpx.Request], httpx.Response]
QUICK = Retry(first_wait_s=1e-6, most_wait_s=1e-6)
URL = "http://sluice.test/prefix"


def ask_sync(answer: Answer, method: str, *given: Any, **options: Any) -> Any:
    """The value of a method of ``Client``; of a stream its events and its answer."""
    with httpx.Client(transport=httpx.MockTransport(answer)) as http, Client(URL, retry=QUICK, http=http) as client:
        value = getattr(client, method)(*given, **options)
        return ([*value], value.answer) if method.endswith("_stream") else value


def ask_async(answer: Answer, method: str, *given: Any, **options: Any) -> Any:
    """The same of ``AsyncClient``."""

    async def ask() -> Any:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            AsyncClient(URL, retry=QUICK, http=http) as client,
        ):
            value = getattr(client, method)(*given, **options)
            if method.endswith("_stream"):
                return [event async for event in value], await value.answer()
            return await value

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])


class Server:
    """Answers with these responses, one after the other, and keeps the requests."""

    def __init__(self, *responses: httpx.Response | Exception) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response
