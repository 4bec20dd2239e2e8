"""Five hundred clients stall, send slowly or send nothing. A normal client waits about as long as without them."""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

from tests.chaos.caller import Caller, Gone, render_post
from tests.chaos.checks import Check, at_most, equals
from tests.chaos.server import ChaosServer, serving
from tests.support.models import graphs

SLOW_CLIENTS = 500
PATH = "/v2/models/double/infer"
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}'
MEASURED_S, RAMP_S = 20.0, 2.0
RATIO = 5.0
LARGE_BODY_BYTES = 32 << 20


async def run() -> list[Check]:
    with tempfile.TemporaryDirectory() as folder:
        graphs.write_plain(Path(folder), "double", graphs.double())
        graphs.write_plain(Path(folder), "wide", graphs.double("width"))
        with serving(Path(folder)) as server:
            await server.until_ready()
            idle, _ = await _measure(server)
            slow = [asyncio.create_task(_misbehave(server, number)) for number in range(SLOW_CLIENTS)]
            await asyncio.sleep(RAMP_S)
            busy, failures = await _measure(server)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
    return [
        equals("answers that were not 200", 0, failures),
        at_most("p99 of infer, times that without slow clients", RATIO, busy[0] / idle[0]),
        at_most("p99 of /livez, times that without slow clients", RATIO, busy[1] / idle[1]),
    ]


async def _measure(server: ChaosServer) -> tuple[tuple[float, float], int]:
    """The 99th percentiles of infer and /livez in seconds, and how many answers were not 200."""
    async with Caller(server.port) as caller, Caller(server.port) as prober:

        async def infer() -> int:
            return (await caller.post(PATH, BODY)).status

        async def probe() -> int:
            return (await prober.get("/livez")).status

        found = await asyncio.gather(_time(infer), _time(probe))
    return (found[0][0], found[1][0]), found[0][1] + found[1][1]


async def _time(ask: Callable[[], Awaitable[int]]) -> tuple[float, int]:
    times_s, failures = [], 0
    ends_at = perf_counter() + MEASURED_S
    while perf_counter() < ends_at:
        began = perf_counter()
        try:
            failures += await ask() != 200
        except Gone:
            failures += 1
        times_s.append(perf_counter() - began)
    return sorted(times_s)[int(0.99 * len(times_s))], failures


async def _misbehave(server: ChaosServer, number: int) -> None:
    """In one of six ways for ever, on a new connection when the server has ended the last one."""
    whole = render_post(PATH, BODY)
    large = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,100000],"data":[' + b"1," * 99_999 + b"1]}]}"
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
    sent, then = [
        (b"", b""),
        (whole[:20], b""),
        (head + b"X: ", b"a"),
        (head + b"Content-Length: %d\r\n\r\n{" % LARGE_BODY_BYTES, b""),
        (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (render_post("/v2/models/wide/infer", large), b""),
    ][number % 6]
    while True:
        with contextlib.suppress(Gone, OSError):
            await _hold(Caller(server.port), sent, then)
        await asyncio.sleep(1)


async def _hold(caller: Caller, sent: bytes, then: bytes) -> None:
    async with caller:
        await caller.begin(sent)
        while not caller.has_ended:
            await asyncio.sleep(1)
            if then:
                await caller.begin(then)
