"""Tiny real ONNX graphs for the tests, each a few bytes, each with one property that a test needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from model_store import GoldenSamples, Store
from model_store.datatypes import BY_ONNX
from model_store.graph import Graph, RowVerdict, Tensor
from model_store.manifest import Golden, Manifest
from model_store.store import PLAIN_FILE
from model_store.tasks import Carry, Loop

Shape = Sequence[int | str]


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Shape]],
    outputs: Sequence[tuple[str, int, Shape]],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """A checked model of opset 20."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def double(width: int | str = 3) -> bytes:
    """y = 2 x, rows of ``width`` floats."""
    return build(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", width])],
        [("y", TensorProto.FLOAT, ["batch", width])],
        {"two": np.array(2, np.float32)},
    )


def never_ends_from(limit: float) -> bytes:
    """y = x, but a batch with a number from ``limit`` on goes round a loop for ever."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x_in", "x_out"))
    number = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    go, go_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "go_on"))
    again = [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x_in"], ["x_out"])]
    body = helper.make_graph(again, "again", [number, go, x], [go_on, y])
    return build(
        [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("GreaterOrEqual", ["largest", "limit"], ["begins"]),
            helper.make_node("Loop", ["", "begins", "x"], ["y"], body=body),
        ],
        [("x", TensorProto.FLOAT, ["batch", 3])],
        [("y", TensorProto.FLOAT, ["batch", 3])],
        {"limit": np.array(limit, np.float32)},
    )


def look_up() -> bytes:
    """y = table[x]: a row with an id outside 0..3 makes ONNX Runtime fail the whole run, as a poisoned row does."""
    return build(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, ["batch", 1])],
        [("y", TensorProto.FLOAT, ["batch", 1])],
        {"table": np.array([10, 11, 12, 13], np.float32)},
    )


def add() -> bytes:
    """total = a + b and its negative: two inputs, two outputs."""
    return build(
        [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Neg", ["total"], ["negative"])],
        [("a", TensorProto.FLOAT, ["batch", 2]), ("b", TensorProto.FLOAT, ["batch", 2])],
        [("total", TensorProto.FLOAT, ["batch", 2]), ("negative", TensorProto.FLOAT, ["batch", 2])],
    )


def one_at_a_time() -> bytes:
    """y = 2 x on a fixed shape: no batch axis."""
    return build(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT, [2, 2])],
        [("y", TensorProto.FLOAT, [2, 2])],
    )


def draw() -> bytes:
    """y = [2, 2] numbers between 0 and 1, others in each run: no inputs."""
    return build(
        [helper.make_node("RandomUniform", [], ["y"], shape=[2, 2], dtype=TensorProto.FLOAT)],
        [],
        [("y", TensorProto.FLOAT, [2, 2])],
    )


def columns(count: int) -> bytes:
    """A table's columns c0, c1, ... of one number a row beside each other as y, and each alone as d0, d1, ..."""
    names = [f"c{i}" for i in range(count)]
    return build(
        [
            helper.make_node("Concat", names, ["y"], axis=1),
            helper.make_node("Split", ["y"], [f"d{i}" for i in range(count)], axis=1, num_outputs=count),
        ],
        [(name, TensorProto.FLOAT, ["rows", 1]) for name in names],
        [("y", TensorProto.FLOAT, ["rows", count]), *((f"d{i}", TensorProto.FLOAT, ["rows", 1]) for i in range(count))],
    )


def echo(datatype: int, width: int | str = "width") -> bytes:
    """y = x of any datatype that Identity knows."""
    return build(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", datatype, ["batch", width])],
        [("y", datatype, ["batch", width])],
    )


def triple_bf16(width: int | str = 3) -> bytes:
    """y = 3 x, rows of ``width`` numbers of BF16, calculated in FP32 as ONNX Runtime's CPU wants it."""
    return build(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["wide", "three"], ["product"]),
            helper.make_node("Cast", ["product"], ["y"], to=TensorProto.BFLOAT16),
        ],
        [("x", TensorProto.BFLOAT16, ["batch", width])],
        [("y", TensorProto.BFLOAT16, ["batch", width])],
        {"three": np.array(3, np.float32)},
    )


def scalars() -> bytes:
    """y = x, a row is one number without an axis of its own."""
    return build(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch"])],
        [("y", TensorProto.FLOAT, ["batch"])],
    )


def recurrent() -> bytes:
    """The last state of a GRU over series of any length: its kernel ends the process on an empty one."""
    draw = np.random.default_rng(0)
    weights = {
        "w": draw.standard_normal((1, 6, 1)).astype(np.float32),
        "r": draw.standard_normal((1, 6, 2)).astype(np.float32),
        "directions": np.array([0]),
    }
    return build(
        [
            helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
            helper.make_node("GRU", ["steps", "w", "r"], ["", "states"], hidden_size=2),
            helper.make_node("Squeeze", ["states", "directions"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", "length", 1])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
        weights,
    )


def greatest() -> bytes:
    """Where the largest number of each row is: ONNX Runtime raises where a row has none."""
    return build(
        [helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)],
        [("x", TensorProto.FLOAT, ["batch", "width"])],
        [("y", TensorProto.INT64, ["batch"])],
    )


def exhausting() -> bytes:
    """y = x, but for a batch with a number above 3 it asks for more memory than there is: a failure that is ours."""
    return build(
        [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Sub", ["largest", "three"], ["above"]),
            helper.make_node("Clip", ["above", "none", "one"], ["excess"]),
            helper.make_node("Mul", ["excess", "huge"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["filled"]),
            helper.make_node("ReduceSum", ["filled"], ["nothing"], keepdims=0),
            helper.make_node("Cast", ["x"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["number", "nothing"], ["y"]),
        ],
        [("x", TensorProto.INT64, ["batch", 1])],
        [("y", TensorProto.FLOAT, ["batch", 1])],
        {"three": np.array([3]), "none": np.array(0), "one": np.array(1), "huge": np.array([1 << 36])},
    )


def mixing() -> bytes:
    """y = x - mean over the batch: rows that influence each other, which no server can batch safely."""
    return build(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", 2])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
        {"axes": np.array([0], np.int64)},
    )


def classifier(classes: int = 3) -> bytes:
    """Image [batch, 1, 2, 2] to logits and probabilities by a fixed random matrix."""
    weights = np.random.default_rng(0).standard_normal((4, classes)).astype(np.float32)
    return build(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        [("image", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [("logits", TensorProto.FLOAT, ["batch", classes]), ("probabilities", TensorProto.FLOAT, ["batch", classes])],
        {"weights": weights},
    )


def count_up() -> bytes:
    """next_total = total + x, value = table[total] of 10, 11, 12, 13: a run with a total above 3 fails."""
    return build(
        [
            helper.make_node("Add", ["total", "x"], ["next_total"]),
            helper.make_node("Gather", ["table", "total"], ["value"]),
        ],
        [("x", TensorProto.INT64, ["batch"]), ("total", TensorProto.INT64, ["batch"])],
        [("next_total", TensorProto.INT64, ["batch"]), ("value", TensorProto.FLOAT, ["batch"])],
        {"table": np.array([10, 11, 12, 13], np.float32)},
    )


def add_up() -> bytes:
    """next_total = total + x, [batch, 1] each."""
    return build(
        [helper.make_node("Add", ["total", "x"], ["next_total"])],
        [("x", TensorProto.FLOAT, ["batch", 1]), ("total", TensorProto.FLOAT, ["batch", 1])],
        [("next_total", TensorProto.FLOAT, ["batch", 1])],
    )


def grow() -> bytes:
    """longer = memory with x at its end: what it carries has an open size."""
    return build(
        [helper.make_node("Concat", ["memory", "x"], ["longer"], axis=1)],
        [("memory", TensorProto.FLOAT, ["batch", "length"]), ("x", TensorProto.FLOAT, ["batch", 1])],
        [("longer", TensorProto.FLOAT, ["batch", "longer"])],
    )


def endless() -> bytes:
    """y = x, after a loop that never ends."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["goes_on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, ["batch", 3]),
        ],
    )
    return build(
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        [("x", TensorProto.FLOAT, ["batch", 3])],
        [("y", TensorProto.FLOAT, ["batch", 3])],
        {"true": np.array(True)},
    )


def write_loop(root: Path, name: str, content: bytes, carries: Mapping[str, str | None]) -> None:
    """Publish a model that goes on from what it ``carries``: input to output."""
    session = ort.InferenceSession(content)

    def describe(found: ort.NodeArg) -> Tensor:
        return Tensor(name=found.name, datatype=BY_ONNX[found.type].name, shape=tuple(found.shape), batch_axis=0)

    inputs, outputs = map(describe, session.get_inputs()), map(describe, session.get_outputs())
    main = Graph(file="main.onnx", inputs=tuple(inputs), outputs=tuple(outputs))
    loop = Loop(carries=tuple(Carry(input=i, output=o) for i, o in carries.items()), max_steps=20)
    Store(root).publish(Manifest(name=name, task="tensors", graphs={"main": main}, loop=loop), {"main.onnx": content})


def publish(root: Path, name: str, content: bytes, x: np.ndarray, y: np.ndarray) -> None:
    """Publish a version of rows of three floats, with golden samples that give ``y`` for ``x``."""
    tensor = Tensor(name="x", datatype="FP32", shape=("batch", 3), batch_axis=0)
    main = Graph(
        file="main.onnx",
        inputs=(tensor,),
        outputs=(tensor.model_copy(update={"name": "y"}),),
        rows=RowVerdict(verdict="proved"),
    )
    golden = GoldenSamples({"x": x}, {"y": y}).to_bytes()
    facts = Golden(rows=len(x), atol=1e-5, rtol=1e-5)
    manifest = Manifest(name=name, task="tensors", graphs={"main": main}, golden=facts)
    Store(root).publish(manifest, {"main.onnx": content, "golden.npz": golden})


def write_plain(root: Path, name: str, content: bytes, version: int = 1) -> Path:
    """A repository without manifests, as other servers use it; returns its root."""
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    (folder / PLAIN_FILE).write_bytes(content)
    return root


def divide(constants: dict[str, np.ndarray] | None = None) -> bytes:
    """y = x + a // b, which ends the process where the least number is divided by -1."""
    given = constants or {}
    names = [name for name in ("x", "a", "b") if name not in given]
    return build(
        [helper.make_node("Div", ["a", "b"], ["q"]), helper.make_node("Add", ["x", "q"], ["y"])],
        [(name, TensorProto.INT64, ("batch", 3)) for name in names],
        [("y", TensorProto.INT64, ("batch", 3))],
        given,
    )


def ends_the_process() -> bytes:
    """ONNX Runtime 1.32 ends the process by SIGSEGV while it loads this: it folds a constant without elements."""
    constants = {
        "c": np.zeros((1, 2, 0), np.float32),
        "scale": np.zeros(2, np.float32),
        "bias": np.zeros(2, np.float32),
    }
    return build(
        [
            helper.make_node("InstanceNormalization", ["c", "scale", "bias"], ["d"]),
            helper.make_node("ReduceSum", ["d"], ["e"], keepdims=0),
            helper.make_node("Add", ["x", "e"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ("batch", 3))],
        [("y", TensorProto.FLOAT, ("batch", 3))],
        constants,
    )
