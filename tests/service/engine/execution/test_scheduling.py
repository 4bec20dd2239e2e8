"""The order of runs on a device: fair turns, costs that seem too high, and held batches. Time passes during runs."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import numpy as np
import pytest

from service.engine.execution.device import Device
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import DeadlinePassed, ModelFailure, TooLate
from tests.support.clocks import Decorator, VirtualLoop, virtual_with
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated, on_counting, on_gate, on_runner
from tests.support.models import graphs

SHORT_S = 5e-4


class Timed:
    """A real session whose runs take ``run_s`` of the virtual clock; rows below zero fail in no time.

    For runs on the event loop: beside a thread the clock would jump to the next timer.
    """

    def __init__(self, content: bytes, name: str = "", log: list[str] | None = None) -> None:
        self._session = Session(content)
        self._loop = asyncio.get_running_loop()
        self._name = name
        self.log = [] if log is None else log
        self.run_s = SHORT_S

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        self.log.append(self._name)
        if (inputs["x"] < 0).any():
            raise RuntimeError("poison")
        assert isinstance(self._loop, VirtualLoop)
        self._loop.pass_s(self.run_s)
        return self._session.run(inputs)


def on_two(max_rows: int) -> Decorator:
    """Two models on one lane, whose runs are logged as "a" and "b"."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Bench, Bench, list[str]]]:
        loop = asyncio.get_running_loop()
        log: list[str] = []
        device = Device(1, loop, clock=loop.time, inline_s=math.inf)
        a, b = (
            Bench(Timed(graphs.double(), name, log), graphs.double(), device=device, max_rows=max_rows, cost_s=SHORT_S)
            for name in "ab"
        )
        try:
            yield a, b, log
        finally:
            device.close()

    return virtual_with(opened)


@on_two(max_rows=1)
async def test_newcomer_shares_with_a_model_that_was_alone(a: Bench, b: Bench, log: list[str], /) -> None:
    """From a newcomer's first batch on the models take turns, whatever the first one has used while it was alone."""
    for _ in range(100):
        await a.ask_x(1.0)
    log.clear()
    await asyncio.gather(*(bench.ask_x(1.0) for _ in range(20) for bench in (a, b)))
    assert all(abs(log[:end].count("a") - log[:end].count("b")) <= 2 for end in range(41)), "".join(log)


@on_two(max_rows=16)
async def test_failing_batches_earn_no_credit(a: Bench, b: Bench, log: list[str], /) -> None:
    """The halves of a failed batch are charged like others, so a model gains no turns by failing quickly."""
    for _ in range(20):
        failing = [a.ask_x(-1.0) for _ in range(16)]
        fine = [b.ask_x(1.0) for _ in range(16)]
        outcomes = await asyncio.gather(*failing, *fine, return_exceptions=True)
        assert [type(one) for one in outcomes[:16]] == [ModelFailure] * 16
    log.clear()
    await asyncio.gather(*(bench.ask_x(1.0, rows=16) for _ in range(20) for bench in (a, b)))
    assert abs(log[:20].count("a") - log[:20].count("b")) <= 4, "".join(log)


def on_timed(**options: float) -> Decorator:
    return on_runner(Timed, cost_s=SHORT_S, inline_s=math.inf, **options)


@on_timed(max_rows=1)
async def test_run_that_took_long_once_refuses_nobody(bench: Bench, runner: Timed, /) -> None:
    """One run that took a second, for instance on a busy machine, does not make the model seem too slow."""
    runner.run_s = 1.0
    await bench.ask_x(1.0)
    runner.run_s = SHORT_S
    await bench.ask_x(1.0, timeout_s=0.1)


@on_timed(max_rows=1)
async def test_model_that_seems_too_slow_is_tried_again(bench: Bench, runner: Timed, /) -> None:
    """After a rest of ten times its expected time, one request goes through to see whether the model is fast again."""
    runner.run_s = 1.0
    for _ in range(40):
        await bench.ask_x(1.0)
    runner.run_s = SHORT_S
    with pytest.raises(TooLate):
        bench.ask_x(1.0, timeout_s=0.5)
    await asyncio.sleep(5.0)
    with pytest.raises(TooLate):
        bench.ask_x(1.0, timeout_s=0.5)
    runs = len(runner.log)
    for _ in range(19):
        await asyncio.sleep(40.0)
        tried = bench.ask_x(1.0, timeout_s=0.5)
        if len(runner.log) == runs:
            with pytest.raises(TooLate):
                bench.ask_x(1.0, timeout_s=0.5)
        await tried
    assert len(runner.log) == runs + 19
    assert bench.dispatcher.find_refusal(8, 0.5) is None


@on_gate()
async def test_nobody_is_tried_while_a_lane_is_busy(bench: Bench, runner: Gated, /) -> None:
    """A model whose batch still runs has not rested, so late requests are refused."""
    running = bench.ask_x(1.0)
    await runner.wait_until_entered()
    await asyncio.sleep(10.0)
    with pytest.raises(TooLate):
        bench.ask_x(1.0, timeout_s=SLOW_S / 2)
    runner.gate.set()
    await running


@on_counting(max_wait_s=0.5, cost_s=SHORT_S)
async def test_held_batch_leaves_in_time_for_every_deadline(bench: Bench, runner: Counting, /) -> None:
    """With max_wait_s a row is held no longer than its own deadline allows, and those of the rows behind it."""
    loop = asyncio.get_running_loop()
    await bench.ask_x(1.0, timeout_s=0.05)
    assert loop.time() == pytest.approx(0.05, abs=0.01)
    await asyncio.gather(bench.ask_x(1.0), bench.ask_x(2.0, timeout_s=0.05))
    assert loop.time() == pytest.approx(0.1, abs=0.02)


@on_gate()
async def test_rows_that_wait_are_told_at_every_moment(bench: Bench, runner: Gated, /) -> None:
    """The number of waiting rows is right after rows come, are taken, expire or are cancelled."""
    running = bench.ask_x(1.0, rows=8)
    await runner.wait_until_entered()
    late = bench.ask_x(1.0, rows=3, timeout_s=2.0)
    cancel, _ = bench.ask({"x": np.ones((2, 3), np.float32)})
    assert bench.dispatcher.waiting_rows == 5
    cancel()
    assert bench.dispatcher.waiting_rows == 3
    with pytest.raises(DeadlinePassed):
        await late
    assert bench.dispatcher.waiting_rows == 0
    runner.gate.set()
    await running


@on_runner(Timed)
async def test_rows_that_fail_wait_no_more(bench: Bench, runner: Timed, /) -> None:
    """The number of waiting rows falls, too, when a batch fails on the event loop."""
    with pytest.raises(ModelFailure):
        await bench.ask_x(-1.0)
    assert bench.dispatcher.waiting_rows == 0


@on_gate(graphs.look_up())
async def test_drain_waits_for_the_halves_of_a_failed_batch(bench: Bench, runner: Gated, /) -> None:
    """A drain waits until the faulty request of a failed batch is found and the others are answered."""
    asked = [bench.ask({"x": np.array([[number]], np.int64)})[1] for number in (99, 1, 2, 3)]
    await runner.wait_until_entered()
    drained = asyncio.ensure_future(bench.dispatcher.drain())
    await asyncio.sleep(0)
    runner.gate.set()
    await drained
    assert [future.done() for future in asked] == [True] * 4
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one).__name__ for one in outcomes] == ["InvalidInput", "Answer", "Answer", "Answer"]
