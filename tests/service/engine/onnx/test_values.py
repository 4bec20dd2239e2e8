"""Runs of graphs with tensors of BF16, which ONNX Runtime does not take from NumPy."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper

from model_store.datatypes import DATATYPES
from model_store.errors import BadGraph
from service.engine.onnx.session import Session
from tests.support.models import graphs

BF16 = DATATYPES["BF16"].dtype
KIND = TensorProto.BFLOAT16


def mixed() -> bytes:
    """y = x * k in FP32 and in BF16, a constant text, of x in BF16 and k in FP32."""
    return graphs.build(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["wide", "k"], ["y"]),
            helper.make_node("Cast", ["y"], ["narrow"], to=KIND),
            helper.make_node("Identity", ["text"], ["said"]),
        ],
        [("x", KIND, ["batch", 3]), ("k", TensorProto.FLOAT, ["batch", 3])],
        [("y", TensorProto.FLOAT, ["batch", 3]), ("narrow", KIND, ["batch", 3]), ("said", TensorProto.STRING, [1])],
        {"text": np.array(["é"], object)},
    )


def test_graph_that_takes_strings_too_is_refused() -> None:
    """ONNX Runtime makes no values of strings, so such a graph does not load, and says which input it is."""
    content = graphs.build(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["t"], ["s"])],
        [("x", KIND, ["batch"]), ("t", TensorProto.STRING, ["batch"])],
        [("y", KIND, ["batch"]), ("s", TensorProto.STRING, ["batch"])],
    )
    with pytest.raises(BadGraph, match="input 't' has strings, which ONNX Runtime does not accept together with BF"):
        Session(content)


def test_failed_run_is_raised_and_the_next_one_works() -> None:
    """The error of a run reaches the caller. Runs and steps get and return arrays."""
    session = Session(graphs.triple_bf16())
    with pytest.raises(Exception, match="Got invalid dimensions"):
        session.run({"x": np.ones((1, 4), BF16)})
    assert session.run({"x": np.ones((1, 3), BF16)})[0].tolist() == [[3, 3, 3]]
    session = Session(graphs.triple_bf16())
    x = session.settle(np.ones((1, 3), BF16))
    assert session.step({"x": x}, ["y"])[0].tolist() == [[3, 3, 3]]


def test_every_bit_comes_back() -> None:
    """All 65,536 numbers of BF16, every NaN among them, pass a graph unchanged."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 256)
    [y] = Session(graphs.echo(KIND)).run({"x": bits.view(BF16)})
    assert (y.dtype, y.view(np.uint16).tolist()) == (BF16, bits.tolist())


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_scalars_and_empty_tensors_come_back(shape: tuple[int, ...]) -> None:
    """Scalars and tensors without elements come back with their shape."""
    axes = [f"n{i}" for i in range(len(shape))]
    content = graphs.build([helper.make_node("Identity", ["x"], ["y"])], [("x", KIND, axes)], [("y", KIND, axes)])
    [y] = Session(content).run({"x": np.full(shape, 1.5, BF16)})
    assert (y.dtype, y.shape, y.ravel().tolist()) == (BF16, shape, [1.5] * y.size)


def test_arrays_come_as_they_lie_in_a_request() -> None:
    """Views of a body: read only, at odd addresses, with gaps; other datatypes beside BF16, and texts as outputs."""
    body = b"\0" + np.arange(12).astype(BF16).tobytes()
    x = np.frombuffer(body, BF16, 12, 1).reshape(4, 3)[::2]
    k = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    k.flags.writeable = False
    y, narrow, said = Session(mixed()).run({"k": k, "x": x})
    expected = x.astype(np.float32) * k
    assert (y.tolist(), narrow.tolist(), said.tolist()) == (expected.tolist(), expected.tolist(), ["é"])


@pytest.mark.long
def test_outputs_outlive_their_run() -> None:
    """Arrays of an answer stay what they are whatever runs later, in several threads at once."""
    session = Session(mixed())
    k = np.ones((2, 3), np.float32)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda i: session.run({"x": np.full((2, 3), i % 100).astype(BF16), "k": k}), range(200)))
    gc.collect()
    assert all((y == i % 100).all() and (narrow == i % 100).all() for i, (y, narrow, _) in enumerate(runs))
