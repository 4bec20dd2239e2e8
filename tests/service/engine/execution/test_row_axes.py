"""Batches whose rows are not on the first axis, values that all rows share, and requests that run whole."""

import asyncio
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from service.engine.batching.queue import Answer
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from tests.support.clocks import run_virtual
from tests.support.dispatching import Bench, Counting, on_counting
from tests.support.models import graphs


class Noting:
    """Runs a graph, and keeps the shapes of its runs."""

    def __init__(self, content: bytes) -> None:
        self._session = Session(content)
        self.shapes: list[dict[str, tuple[int, ...]]] = []

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]:
        self.shapes.append({name: array.shape for name, array in inputs.items()})
        return self._session.run(inputs)


def answer_all(content: bytes, requests: Sequence[Arrays], max_rows: int = 64) -> tuple[list[Answer], Noting]:
    """The answers to requests that arrive together, and what ran for them."""
    runner = Noting(content)

    async def main() -> list[Answer]:
        bench = Bench(runner, content, max_rows=max_rows)
        try:
            answers = await asyncio.gather(*(bench.ask(inputs)[1] for inputs in requests))
        finally:
            bench.device.close()
        return list(answers)

    return run_virtual(main()), runner


def states() -> bytes:
    """next = state + x[:, None] and its first layer: the batch is axis 1 of [layers, batch, width]."""
    return graphs.build(
        [
            helper.make_node("Unsqueeze", ["x", "zero"], ["wide"]),
            helper.make_node("Add", ["state", "wide"], ["next"]),
            helper.make_node("Gather", ["next", "first"], ["y"], axis=0),
        ],
        [("state", TensorProto.FLOAT, [2, "batch", 3]), ("x", TensorProto.FLOAT, ["batch", 3])],
        [("next", TensorProto.FLOAT, [2, "batch", 3]), ("y", TensorProto.FLOAT, ["batch", 3])],
        {"zero": np.array([0]), "first": np.array(0)},
    )


def state_of(rows: int, value: float) -> Arrays:
    return {
        "state": np.full((2, rows, 3), value, np.float32),
        "x": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3),
    }


def test_rows_on_another_axis_are_joined_and_cut_there() -> None:
    """Requests share a run and get their own rows on their axis, also if one is cut into several runs."""
    requests = [state_of(rows, value) for rows, value in ((1, 10), (3, 20), (2, 30))]
    answers, runner = answer_all(states(), requests)
    assert runner.shapes == [{"state": (2, 6, 3), "x": (6, 3)}]
    for inputs, answer in zip(requests, answers, strict=True):
        expected = inputs["state"] + inputs["x"]
        np.testing.assert_array_equal(answer.outputs["next"], expected)
        np.testing.assert_array_equal(answer.outputs["y"], expected[0])
    [answer], runner = answer_all(states(), [state_of(7, 1)], max_rows=3)
    assert [shapes["x"][0] for shapes in runner.shapes] == [3, 3, 1]
    np.testing.assert_array_equal(answer.outputs["next"], state_of(7, 1)["state"] + state_of(7, 1)["x"])


def shared() -> bytes:
    """y = x · t, where t is one number for all rows."""
    return graphs.build(
        [helper.make_node("Mul", ["x", "t"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 2]), ("t", TensorProto.FLOAT, [])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
    )


def test_only_requests_with_the_same_shared_value_share_a_run() -> None:
    """A value that all rows of a run share is the same in all of its requests."""
    requests = [{"x": np.ones((1, 2), np.float32), "t": np.array(t, np.float32)} for t in (2, 3, 2)]
    answers, runner = answer_all(shared(), requests)
    assert sorted(shapes["x"][0] for shapes in runner.shapes) == [1, 2]
    assert [answer.outputs["y"].tolist() for answer in answers] == [[[2, 2]], [[3, 3]], [[2, 2]]]


def apart() -> bytes:
    """y = x + z, where the first axes have names of their own: one row of z would do for all of x."""
    return graphs.build(
        [helper.make_node("Add", ["x", "z"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 2]), ("z", TensorProto.FLOAT, ["m", 2])],
        [("y", TensorProto.FLOAT, ["k", 2])],
    )


def test_request_whose_inputs_have_other_sizes_is_one_run_of_its_own() -> None:
    """Such a request runs as it came, beside requests that do share a batch."""

    def of(x: int, z: int) -> Arrays:
        return {"x": np.ones((x, 2), np.float32), "z": np.full((z, 2), z, np.float32)}

    answers, runner = answer_all(apart(), [of(2, 2), of(3, 1), of(1, 1)])
    assert [answer.outputs["y"].shape for answer in answers] == [(2, 2), (3, 2), (1, 2)]
    assert {"x": (3, 2), "z": (1, 2)} in runner.shapes
    assert len(runner.shapes) == 2


def test_place_of_a_request_in_its_body_changes_no_bit() -> None:
    """A tensor that begins anywhere in a body gives the bits of one that NumPy made, alone as in a batch."""
    content = graphs.build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        [("x", TensorProto.FLOAT, ["batch", 96])],
        [("y", TensorProto.FLOAT, ["batch"])],
        {"axes": np.array([1])},
    )
    x = (np.random.default_rng(0).standard_normal((1, 96)) * 10).astype(np.float32)
    [expected] = Session(content).run({"x": x})
    for offset in range(0, 32, 4):
        body = bytearray(offset + x.nbytes)
        body[offset:] = x.tobytes()
        view = np.ndarray(x.shape, np.float32, body, offset)
        [[answer], _] = answer_all(content, [{"x": view}])
        assert answer.outputs["y"].tobytes() == expected.tobytes()


@on_counting(graphs.classifier(), max_rows=32, least_rows=2)
async def test_same_bits_alone_and_in_company(bench: Bench, runner: Counting, /):
    """A row's answer is bit-equal alone and in a batch of strangers, through the whole engine."""
    rows = np.random.default_rng(1).standard_normal((32, 1, 1, 2, 2)).astype(np.float32)
    alone = [(await bench.ask({"image": row})[1]).outputs["probabilities"].tobytes() for row in rows]
    company = await asyncio.gather(*(bench.ask({"image": row})[1] for row in rows))
    assert alone == [a.outputs["probabilities"].tobytes() for a in company]
