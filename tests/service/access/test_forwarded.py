"""Requests that one worker forwards to another: they are no way around a key or its quota."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.access.keys import render_entry
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER, Endpoint
from service.worker import Worker
from tests.service.access.asking import KEYS
from tests.service.sequences.test_forwarding import body_of, find_theirs, worker
from tests.support.grpc_servers import GrpcServing
from tests.support.models import graphs
from tests.support.wires import Wire, request_bytes

NAMES_OF_ROUTES = ("infer%20handed%20on", "grpc%20ModelInfer", "grpc%20ModelStreamInfer")
"""The handler has these routes, which are no paths."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def ask(one: Worker, sequence: int, *marks: str) -> int:
    """Send a row of a sequence as a caller whose key has been looked at. Returns the status."""
    assert one.handler.guard is not None
    request = AwaitedRequest(Endpoint(INFER, "adder"), b"", {})
    request.grant = one.handler.guard.admit("infer", [(b"x-api-key", KEYS["infer"].encode())], "")
    request.body = body_of(1, sequence, *marks)
    one.handler.start(request)
    reply: Any = await request.answer
    status: int = reply.status
    return status


@pytest.mark.anyio
async def test_rows_are_counted_by_the_worker_that_has_the_caller(tmp_path: Path) -> None:
    """Each of two workers has half of the day's rows; those that run in the other count for the one with the caller."""
    store = tmp_path / "store"
    graphs.write_loop(store, "adder", graphs.add_up(), {"total": "next_total", "x": None})
    keys = SecretStr(render_entry("infer", KEYS["infer"], {"scopes": ["infer"], "rows_per_day": 6.0}))
    async with worker(store, tmp_path, api_keys=keys) as one, worker(store, tmp_path, api_keys=keys):
        theirs = find_theirs(one)
        found = [await ask(one, theirs, "start"), *[await ask(one, theirs) for _ in range(3)]]
    assert found == [200, 200, 200, 429]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", NAMES_OF_ROUTES)
def test_route_of_forwarded_requests_is_no_path(server: GrpcServing, name: str, slash: str) -> None:
    """Over HTTP nobody reaches the routes of other transports without a key, and with one there is no such model."""
    with Wire(server) as wire:
        wire.send(request_bytes(b"{}", slash + name))
        assert wire.read()[0] in (400, 401)
    with Wire(server) as wire:
        wire.send(request_bytes(b"{}", slash + name, f"X-API-Key: {KEYS['infer']}"))
        assert wire.read()[0] in (400, 404)
