"""A device with one looping model, tiny graphs for it, and their results computed by hand."""

import asyncio
import dataclasses
import threading
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from model_store.tasks import Carry
from service.engine.batching.cost import CostModel
from service.engine.execution.device import Device
from service.engine.execution.runner import StepRunner
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.request import LoopRequest, LoopResult
from service.engine.loop.slots import SlotTable
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import ServiceError
from tests.support.models import graphs
from tests.support.signatures import signature_of

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
SLOW_S = 0.1
"""A cost that sends steps to a lane's thread instead of running them on the loop."""


def walk() -> bytes:
    """next = value * 0.5 + kick, and a total that is carried beside it."""
    return _build_walk()


def drift() -> bytes:
    """next = value * 0.5 + kick + push, where push stays what it was at the beginning."""
    return _build_walk("push")


def _build_walk(*steady: str) -> bytes:
    """A step of a value, to which inputs that stay the same may be added."""
    pushes = [(name, FLOAT, ["batch", 2]) for name in steady]
    return graphs.build(
        [
            helper.make_node("Mul", ["value", "half"], ["halved"]),
            helper.make_node("Sum", ["halved", "kick", *steady], ["next"]),
            helper.make_node("Add", ["total", "next"], ["next_total"]),
        ],
        [("value", FLOAT, ["batch", 2]), ("total", FLOAT, ["batch", 2]), *pushes, ("kick", FLOAT, ["batch", 1])],
        [("next", FLOAT, ["batch", 2]), ("next_total", FLOAT, ["batch", 2])],
        {"half": np.array(0.5, np.float32)},
    )


def hop() -> bytes:
    """next = table[place]: a place outside 0..3 makes ONNX Runtime fail the whole step."""
    return graphs.build(
        [helper.make_node("Gather", ["table", "place"], ["next"])],
        [("place", INT, ["batch", 1])],
        [("next", INT, ["batch", 1])],
        {"table": np.array([1, 2, 3, 0], np.int64)},
    )


WALK = (Carry(input="value", output="next"), Carry(input="total", output="next_total"))
DRIFT = (*WALK, Carry(input="push"))
HOP = (Carry(input="place", output="next"),)


class Counting:
    """A real session that keeps the number of rows of each step, and holds steps while a gate is closed."""

    def __init__(self, content: bytes, bound: bool = False) -> None:
        self.session = Session(content, bound=bound)
        self.steps: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
        self.steps.append(len(next(iter(inputs.values()))))
        self.entered.release()
        assert self.gate.wait(30)
        return self.session.step(inputs, stay)

    def settle(self, array: np.ndarray) -> Any:
        return self.session.settle(array)

    async def wait_until_entered(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


class Bench:
    """A device with one looping model, and helpers to ask it."""

    def __init__(
        self,
        content: bytes,
        carries: Sequence[Carry],
        *,
        lanes: int = 1,
        max_rows: int = 8,
        max_slots: int = 16,
        max_queue_rows: int = 100,
        cost_s: float = 0.0,
        row_s: float = 0.0,
        least_rows: int = 1,
        runner: StepRunner | None = None,
        **options: Any,
    ) -> None:
        """``options`` are those of the batcher."""
        loop = asyncio.get_running_loop()
        self.counting = Counting(content)
        self.device = Device(lanes, loop, clock=loop.time)
        cost = CostModel()
        for rows in (1, max_rows):
            cost.observe(rows, cost_s + rows * row_s)
        self.batcher = ContinuousBatcher(
            runner or self.counting,
            signature_of(content),
            carries,
            self.device,
            SlotTable(max_slots, max_queue_rows),
            max_rows=max_rows,
            cost=cost,
            pad=lambda rows: max(rows, least_rows),
            **options,
        )

    def ask(self, request: LoopRequest, **options: float) -> "asyncio.Future[LoopResult]":
        answer: asyncio.Future[LoopResult] = asyncio.get_running_loop().create_future()

        def done(outcome: LoopResult | ServiceError) -> None:
            if isinstance(outcome, LoopResult):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)

        answer.leave = self.batcher.submit(request, done, **options)  # type: ignore[attr-defined, arg-type]
        return answer


def walking(start: float, steps: int, rows: int = 1, **more: Any) -> LoopRequest:
    """Rows that begin at ``start``, ``start`` + 1 and so on, and are kicked by their number and step."""
    value = np.array([[start + r, -start] for r in range(rows)], np.float32)
    return LoopRequest(
        {"value": value, "total": np.zeros_like(value)},
        steps,
        {"kick": lambda rows, step: np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + step},
        keep=("next",),
        last=("next_total",),
        **more,
    )


def drifting(start: float, steps: int, rows: int = 1, **more: Any) -> LoopRequest:
    """As ``walking``, and each row is pushed by a number of its own."""
    request = walking(start, steps, rows, **more)
    push = np.array([[10 * start + r, r - start] for r in range(rows)], np.float32)
    return dataclasses.replace(request, begin={**request.begin, "push": push})


def check_walk(request: LoopRequest, result: LoopResult) -> None:
    """Assert that the result of ``walk`` or ``drift`` has the bits that it has by hand."""
    value, total = request.begin["value"], request.begin["total"]
    path = []
    for step in range(request.steps):
        kick = request.by_step["kick"](slice(0, request.rows), step)
        value = value * np.float32(0.5) + np.asarray(kick, np.float32)
        value = value + request.begin.get("push", np.float32(0))
        total = total + value
        path.append(value)
    np.testing.assert_array_equal(result.kept["next"], np.stack(path, axis=1))
    np.testing.assert_array_equal(result.last["next_total"], total)


def hopping(place: int, steps: int) -> LoopRequest:
    return LoopRequest({"place": np.array([[place]], np.int64)}, steps, keep=("next",))
