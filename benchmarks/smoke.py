"""Checks whether the engine has become slower, in a minute on any machine: ``python -m benchmarks.smoke``.

For each cell, the engine and a plain loop take turns in this process. The loop does only what any batching server in
Python must do: join the rows, run the graph, and give each caller its row. The ratio of their rows per second must not
fall below the limit in ``smoke.toml``. The engine has one lane, so the number of cores does not matter.
"""

import asyncio
import statistics
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load import run_load
from loadtests.bench.models.model import INPUT, MODELS, BenchModel
from model_store.graphs.batch import apply_analysis
from model_store.rows import analyse
from service.engine.batching.cost import CostModel
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.onnx.session import Session
from service.engine.tensors import Signature

LIMITS = Path(__file__).with_name("smoke.toml")
ROUNDS, ROUND_S = 7, 0.5


@dataclass(frozen=True)
class Cell:
    """A model and how many callers ask at once; ``least`` is the limit of its ratio."""

    model: str
    callers: int
    least: float


def read_cells(path: Path = LIMITS) -> list[Cell]:
    """The cells of a file with limits: a table for each model, with the least ratio by number of callers."""
    tables: Mapping[str, Mapping[str, float]] = tomllib.loads(path.read_text())
    return [Cell(model, int(callers), least) for model, row in tables.items() for callers, least in row.items()]


def measure(cell: Cell, rounds: int = ROUNDS, round_s: float = ROUND_S) -> float:
    """The ratio of the engine's rows per second to the plain loop's: the median of alternating rounds."""
    model = MODELS[cell.model]
    content = model.build()
    session = Session(content)
    signature = Signature(apply_analysis(session.describe(model.name), analyse(content)))
    cost = _learn_cost(model, session)
    ratios = []
    for _ in range(rounds):
        plain = asyncio.run(_run_plain_loop(model, session, cell.callers, round_s))
        engine = asyncio.run(_run_engine(model, session, signature, cost, cell.callers, round_s))
        ratios.append(engine / plain)
    return statistics.median(ratios)


def _learn_cost(model: BenchModel, session: Session) -> CostModel:
    cost = CostModel()
    for rows in (1, 4, 16, 64):
        inputs = {INPUT: model.make_rows(rows)}
        session.run(inputs)
        began = time.perf_counter()
        session.run(inputs)
        cost.observe(rows, time.perf_counter() - began)
    return cost


async def _run_plain_loop(model: BenchModel, session: Session, callers: int, seconds: float) -> float:
    """Rows per second of a loop that serves ``callers`` rows at a time."""
    loop = asyncio.get_running_loop()
    row, done = model.make_rows(1), 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        futures = [loop.create_future() for _ in range(callers)]
        (scores,) = session.run({INPUT: np.concatenate([row] * callers)})
        for at, future in enumerate(futures):
            future.set_result(scores[at : at + 1])
        await asyncio.gather(*futures)
        done += callers
    return done / elapsed


async def _run_engine(
    model: BenchModel, session: Session, signature: Signature, cost: CostModel, callers: int, seconds: float
) -> float:
    device = Device(1, asyncio.get_running_loop())
    dispatcher = Dispatcher(session, signature, device, BatchQueue(64, 512), cost=cost)
    return await run_load(device, dispatcher, signature.check({INPUT: model.make_rows(1)}), callers, seconds)


def main(path: Path = LIMITS, rounds: int = ROUNDS, round_s: float = ROUND_S) -> int:
    """Print a line for each cell. 0: every ratio is at least its limit, 1: one is below."""
    below = 0
    for cell in read_cells(path):
        ratio = measure(cell, rounds, round_s)
        is_below = ratio < cell.least
        below += is_below
        verdict = "below the limit" if is_below else "ok"
        sys.stdout.write(
            f"{cell.model}, {cell.callers} callers: {ratio:.2f} of the plain loop, at least {cell.least}: {verdict}\n"
        )
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
