"""A model is unloaded and loaded again under load: nobody hears of it, and nothing is kept of the old one."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.chaos.caller import Caller, Gone
from tests.chaos.checks import Check, at_most, equals
from tests.chaos.server import ChaosServer, serving
from tests.support.models import graphs

CLIENTS, SWAPS, SETTLED = 64, 50, 3
"""SETTLED is how many swaps come first, to fill what is kept for reuse."""
RETIRES_S = 5
ROWS, COLUMNS = 256, 102_400
"""100 MiB of weights."""
GROWTH = 1.1


async def run() -> list[Check]:
    with tempfile.TemporaryDirectory() as folder:
        weights = np.random.default_rng(0).standard_normal((ROWS, COLUMNS), np.float32)
        content = graphs.build(
            [helper.make_node("MatMul", ["x", "w"], ["large"]), helper.make_node("ReduceMax", ["large"], ["y"])],
            [("x", TensorProto.FLOAT, [1, ROWS])],
            [("y", TensorProto.FLOAT, [1, 1])],
            {"w": weights},
        )
        graphs.write_plain(Path(folder), "large", content)
        with serving(Path(folder), {"SLUICE_CONTROL": "true"}) as server:
            await server.until_ready()
            stop = asyncio.Event()
            callers = [asyncio.create_task(_call(server, stop)) for _ in range(CLIENTS)]
            await _swap(server, SETTLED)
            before = await _measure(server)
            await _swap(server, SWAPS)
            after = await _measure(server)
            stop.set()
            failures = [failure for caller in callers for failure in await caller]
    answered = sum(1 for failure in failures if not failure)
    found = [failure for failure in failures if failure]
    return [
        equals(f"errors of {answered:,} answers, {SWAPS} swaps", [], sorted(set(found))[:3]),
        at_most("memory after, of that before", GROWTH, after[0] / before[0]),
        at_most("threads after", before[1] + 2, after[1]),
        at_most("descriptors after", before[2] + 4, after[2]),
    ]


async def _call(server: ChaosServer, stop: asyncio.Event) -> list[str]:
    """What went wrong with each request, "" where nothing did."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, ROWS], "data": [1.0] * ROWS}
    failures = []
    async with Caller(server.port) as caller:
        while not stop.is_set():
            try:
                answer = await caller.post_json("/v2/models/large/infer", {"inputs": [tensor]})
                failures.append("" if answer.status == 200 else f"{answer.status}: {answer.body[:100]!r}")
            except Gone as failure:
                failures.append(str(failure))
    return failures


async def _swap(server: ChaosServer, times: int) -> None:
    async with Caller(server.port) as operator:
        for _ in range(times):
            answer = await operator.post_json("/v2/repository/models/large/load", {})
            if answer.status != 200:
                raise RuntimeError(f"load: {answer.status}: {answer.body[:300]!r}")


async def _measure(server: ChaosServer) -> tuple[int, ...]:
    """The least that the server holds within some seconds: the version before goes when its last answer is out."""
    found = [server.measure()]
    for _ in range(RETIRES_S):
        await asyncio.sleep(1)
        found.append(server.measure())
    return tuple(min(column) for column in zip(*found, strict=True))
