"""A worker is killed every five seconds under load: no answer is wrong, and few requests get none."""

import asyncio
import random
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from tests.chaos.caller import Caller, Gone
from tests.chaos.checks import Check, at_most, equals
from tests.chaos.server import ChaosServer, serving
from tests.support.models import graphs

CLIENTS, WORKERS = 32, 2
DURATION_S, EVERY_S = 60.0, 5.0
RESTART_S = 1.0

T = TypeVar("T")


async def run() -> list[Check]:
    (kills, slowest_s), (right, wrong, lost) = await ask_while(_kill)
    return [
        equals(f"wrong answers of {right + wrong + lost:,}", 0, wrong),
        at_most(f"requests without an answer, {kills} kills", 1.0, 100 * lost / (right + wrong + lost), " %"),
        at_most("until a killed worker was started again", RESTART_S, slowest_s, " s"),
    ]


async def ask_while(disturb: Callable[[ChaosServer], Awaitable[T]]) -> tuple[T, tuple[int, int, int]]:
    """What ``disturb`` finds, and what the callers of a server with two workers get meanwhile, as ``call_until``."""
    with tempfile.TemporaryDirectory() as folder:
        graphs.write_plain(Path(folder), "double", graphs.double())
        with serving(Path(folder), workers=WORKERS) as server:
            await server.until_ready()
            stop = asyncio.Event()
            callers = [asyncio.create_task(call_until(server, number, stop)) for number in range(CLIENTS)]
            found = await disturb(server)
            stop.set()
            counts = [await caller for caller in callers]
    right, wrong, lost = (sum(column) for column in zip(*counts, strict=True))
    return found, (right, wrong, lost)


async def call_until(server: ChaosServer, number: int, stop: asyncio.Event) -> tuple[int, int, int]:
    """Right answers, wrong ones, and requests without one."""
    right = wrong = lost = 0
    async with Caller(server.port) as caller:
        while not stop.is_set():
            row = [float(number), float(right), 1.0]
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": row}
            try:
                answer = await caller.post_json("/v2/models/double/infer", {"inputs": [tensor]})
            except Gone:
                lost += 1
                continue
            is_right = answer.status == 200 and answer.json()["outputs"][0]["data"] == [2 * value for value in row]
            lost += answer.status != 200
            right += is_right
            wrong += answer.status == 200 and not is_right
    return right, wrong, lost


async def _kill(server: ChaosServer) -> tuple[int, float]:
    """How many were killed, and the longest time in seconds until another one was started."""
    loop, kills, slowest_s = asyncio.get_running_loop(), 0, 0.0
    ends_at = loop.time() + DURATION_S
    while loop.time() < ends_at:
        workers = server.find_workers()
        killed = random.choice(workers)
        killed.send_signal(signal.SIGKILL)
        kills += 1
        began = loop.time()
        await server.until_workers(len(workers), EVERY_S, without=killed)
        slowest_s = max(slowest_s, loop.time() - began)
        await asyncio.sleep(max(0.0, began + EVERY_S - loop.time()))
    return kills, slowest_s
