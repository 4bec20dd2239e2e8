"""SIGHUP again and again under load, also while workers are being replaced: nobody notices."""

import asyncio
import random
import signal

from tests.chaos.checks import Check, at_most, equals
from tests.chaos.kills import WORKERS, ask_while
from tests.chaos.server import ChaosServer

RELOADS, LATEST_S = 5, 120.0
DONE = "all workers have been replaced"


async def run() -> list[Check]:
    (slowest_s, workers), (right, wrong, lost) = await ask_while(_reload)
    return [
        equals(f"wrong answers of {right + wrong + lost:,}", 0, wrong),
        equals("requests without an answer", 0, lost),
        at_most(f"slowest of {RELOADS} reloads", LATEST_S, slowest_s, " s"),
        equals("workers at the end", WORKERS, workers),
    ]


async def _reload(server: ChaosServer) -> tuple[float, int]:
    """The longest time in seconds from a signal until all was replaced, and how many workers there are at the end."""
    loop, slowest_s = asyncio.get_running_loop(), 0.0
    for number in range(RELOADS):
        began = loop.time()
        done = server.log.read_text().count(DONE)
        server.send_signal(signal.SIGHUP)
        signals = 1
        if number % 2:  # a second one comes while workers are being replaced, and is heeded afterwards
            await asyncio.sleep(random.uniform(0.5, 2.0))
            server.send_signal(signal.SIGHUP)
            signals = 2
        # The log is all that a server says of it.
        while server.log.read_text().count(DONE) < done + signals and loop.time() < began + signals * LATEST_S:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        slowest_s = max(slowest_s, (loop.time() - began) / signals)
    return slowest_s, len(server.find_workers())
