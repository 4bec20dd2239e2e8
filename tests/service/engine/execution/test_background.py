"""Runs for which nobody waits: they use idle lanes, and give way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np
import pytest

from service.engine.execution.device import Device
from service.errors import ModelFailure, TryLater
from tests.support.clocks import Decorator, virtual_with
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated
from tests.support.models import graphs


def on_both(lanes: int) -> Decorator:
    """A model in front and one in the background, on one device. Both wait for their gates."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Bench, Bench, Gated, Gated]]:
        loop = asyncio.get_running_loop()
        device = Device(lanes, loop, clock=loop.time)
        front, behind = Gated(graphs.double()), Gated(graphs.double())
        first = Bench(front, graphs.double(), device=device, cost_s=SLOW_S)
        second = Bench(behind, graphs.double(), device=device, cost_s=SLOW_S, may_inline=False)
        second.dispatcher.is_background = True
        try:
            yield first, second, front, behind
        finally:
            front.gate.set()
            behind.gate.set()
            device.close()

    return virtual_with(opened)


@on_both(lanes=1)
async def test_nothing_runs_in_the_background_while_somebody_waits(
    first: Bench, second: Bench, front: Gated, behind: Gated, /
) -> None:
    """On one lane a copy runs after all other requests, though it came before them."""
    behind.gate.set()
    blocking = first.ask_x(1)
    await front.wait_until_entered()
    copy, waiting = second.ask_x(2), first.ask_x(3)
    order: list[str] = []
    copy.add_done_callback(lambda _: order.append("copy"))
    waiting.add_done_callback(lambda _: order.append("waiting"))
    await asyncio.sleep(0)
    assert behind.batches == []
    front.gate.set()
    await asyncio.gather(blocking, waiting, copy)
    assert order == ["waiting", "copy"]
    np.testing.assert_array_equal((await copy).outputs["y"], np.full((1, 3), 4, np.float32))


@on_both(lanes=1)
async def test_run_in_the_background_gives_way(first: Bench, second: Bench, front: Gated, behind: Gated, /) -> None:
    """Somebody comes while the only lane runs a copy: the copy fails at once, and its run is told to end."""
    front.gate.set()
    copy = second.ask_x(1)
    await behind.wait_until_entered()
    answer = first.ask_x(2)
    with pytest.raises(TryLater):
        await copy
    assert second.device._lanes[0].run.stop.asked  # type: ignore[union-attr]  # it runs
    behind.gate.set()
    assert (await answer).outputs["y"][0, 0] == 4
    assert (await second.ask_x(5)).outputs["y"][0, 0] == 10


@on_both(lanes=1)
async def test_run_in_the_background_delays_no_expectation(
    first: Bench, second: Bench, front: Gated, behind: Gated, /
) -> None:
    """A copy that runs does not count for the expected wait of others."""
    second.ask_x(1)
    await behind.wait_until_entered()
    assert first.device.next_lane_s() == 0.0


@on_both(lanes=2)
async def test_others_keep_an_idle_lane(first: Bench, second: Bench, front: Gated, behind: Gated, /) -> None:
    """While one of two lanes is busy no copy runs; when both are idle, one copy does, and a second one waits."""
    front.gate.set()
    copy = second.ask_x(1)
    await behind.wait_until_entered()
    other = second.ask({"x": np.zeros((8, 3), np.float32)})[1]  # too large for the batch that runs
    assert (await first.ask_x(2)).outputs["y"][0, 0] == 4  # in the other lane
    assert not copy.done()
    behind.gate.set()
    await asyncio.gather(copy, other)
    assert behind.batches == [1, 8]


@on_both(lanes=2)
async def test_failed_batch_in_the_background_is_halved_there(
    first: Bench, second: Bench, front: Gated, behind: Gated, /
) -> None:
    """The request at fault fails alone, and the halves wait for idle lanes as the batch did."""

    class Picky(Counting):
        def run(self, inputs):  # type: ignore[no-untyped-def]
            if (inputs["x"] < 0).any():
                raise RuntimeError("poison")
            return super().run(inputs)

    second.dispatcher.runner = Picky(graphs.double())
    good, bad = second.ask_x(1), second.ask_x(-1)
    with pytest.raises(ModelFailure):
        await bad
    assert (await good).outputs["y"][0, 0] == 2
    await second.dispatcher.drain()
    assert not second.device._again
