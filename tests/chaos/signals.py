"""SIGTERM at random moments of loading, load and streams: what was accepted is answered, and the end comes in time."""

import asyncio
import random
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tests.chaos.caller import Caller, Gone
from tests.chaos.checks import Check, at_most, equals
from tests.chaos.server import ROOT, ChaosServer, serving
from tests.support.models import graphs

MOMENTS = 20
LATEST_S = 12.0
DRAIN_S, GRACE_S = 10.0, 2.0
ACCEPTED_S = 0.05
"""A request that was sent so long before the signal has been read."""
INFER = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
GENERATE = {"model": "digits-diffusion", "count": 4, "seed": 1, "stream": True}


@dataclass
class Outcome:
    """What one signal led to. ``lost`` are requests that were accepted and not answered."""

    code: int | None = None
    took_s: float = 0.0
    answered: int = 0
    lost: list[str] = field(default_factory=list)


async def run(workers: int = 1) -> list[Check]:
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        graphs.write_plain(Path(folder), "double", graphs.double())
        shutil.copytree(ROOT / "model_store/models/digits-diffusion", Path(folder) / "digits-diffusion")
        for _ in range(MOMENTS):
            with serving(Path(folder), {"SLUICE_DRAIN_S": str(DRAIN_S)}, workers=workers) as server:
                outcomes.append(await _interrupt(server, random.uniform(0.2, LATEST_S)))
    answered, lost = sum(one.answered for one in outcomes), [text for one in outcomes for text in one.lost]
    return [
        equals(f"accepted requests without an answer, of {answered:,}", [], lost),
        equals("exit codes that are not 0", [], [one.code for one in outcomes if one.code != 0]),
        at_most("longest end", DRAIN_S + GRACE_S, max(one.took_s for one in outcomes), " s"),
    ]


async def _interrupt(server: ChaosServer, after_s: float) -> Outcome:
    outcome, signalled = Outcome(), asyncio.Event()
    asked = [("/v2/models/double/infer", INFER)] * 4 + [("/generate", GENERATE)] * 2
    callers = [asyncio.create_task(_repeat(server, *each, outcome, signalled)) for each in asked]
    await asyncio.sleep(after_s)
    began = perf_counter()
    server.send_signal(signal.SIGTERM)
    signalled.set()
    outcome.code = await server.wait(DRAIN_S + 3 * GRACE_S)
    outcome.took_s = perf_counter() - began
    await asyncio.gather(*callers)
    return outcome


async def _repeat(server: ChaosServer, path: str, document: object, outcome: Outcome, signalled: asyncio.Event) -> None:
    has_answered = False
    async with Caller(server.port) as caller:
        while not signalled.is_set():
            began = perf_counter()
            try:
                status = (await caller.post_json(path, document)).status
            except Gone as failure:
                if has_answered and (not signalled.is_set() or perf_counter() - began > ACCEPTED_S):
                    outcome.lost.append(f"{path}: {failure}")
                await asyncio.sleep(0.1)  # it does not listen yet
            else:
                has_answered = True
                outcome.answered += status == 200
                if status not in (200, 503):
                    outcome.lost.append(f"{path}: {status}")
