"""Tiny ONNX graphs, each with one property that a test needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from model_store import GoldenSamples, Store
from model_store.graph import Graph, RowVerdict, Tensor
from model_store.manifest import Golden, Manifest
from model_store.store import PLAIN_FILE
from model_store.tasks import Carry, Loop
from tests.support.models.manifests import describe_graph
from tests.support.models.text import make_model

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
    return make_model(f"float[batch,{width}] x => float[batch,{width}] y", "y = Mul(x, 2.0)")


def never_ends_from(limit: float) -> bytes:
    """y = x, but a batch with a number of at least ``limit`` never ends."""
    return make_model(
        "float[batch,3] x => float[batch,3] y",
        """
        largest = ReduceMax<keepdims=0>(x)
        begins = GreaterOrEqual(largest, limit)
        y = Loop<body = again (int64 number, bool go, float[batch,3] x_in) => (bool go_on, float[batch,3] x_out) {
            go_on = Identity(go) x_out = Identity(x_in)
        }>("", begins, x)
        """,
        limit=np.array(limit, np.float32),
    )


def look_up() -> bytes:
    """y = table[x]: a row with an id outside 0..3 makes ONNX Runtime fail the whole run, as a poisoned row does."""
    return make_model("int64[batch,1] x => float[batch,1] y", "y = Gather([10.0,11.0,12.0,13.0], x)")


def add() -> bytes:
    """total = a + b and its negative: two inputs, two outputs."""
    return make_model(
        "float[batch,2] a, float[batch,2] b => float[batch,2] total, float[batch,2] negative",
        "total = Add(a, b) negative = Neg(total)",
    )


def one_at_a_time() -> bytes:
    """y = 2 x on a fixed shape: no batch axis."""
    return make_model("float[2,2] x => float[2,2] y", "y = Add(x, x)")


def draw() -> bytes:
    """y = [2, 2] numbers between 0 and 1, others in each run: no inputs."""
    return make_model("=> float[2,2] y", "y = RandomUniform<shape=[2,2], dtype=1>()")


def columns(count: int) -> bytes:
    """The columns c0, c1, ... of a table joined as y, and each alone as d0, d1, ..."""
    given, alone = ([f"{letter}{i}" for i in range(count)] for letter in "cd")
    inputs, outputs = (", ".join(f"float[rows,1] {name}" for name in names) for names in (given, alone))
    return make_model(
        f"{inputs} => float[rows,{count}] y, {outputs}",
        f"y = Concat<axis=1>({', '.join(given)}) {', '.join(alone)} = Split<axis=1, num_outputs={count}>(y)",
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
    return make_model(
        f"bfloat16[batch,{width}] x => bfloat16[batch,{width}] y",
        "wide = Cast<to=1>(x) product = Mul(wide, 3.0) y = Cast<to=16>(product)",
    )


def scalars() -> bytes:
    """y = x, where each row is one number: the batch axis is the only one."""
    return make_model("float[batch] x => float[batch] y", "y = Identity(x)")


def recurrent() -> bytes:
    """The last state of a GRU over series of any length: its kernel ends the process on an empty one."""
    draw = np.random.default_rng(0)
    return make_model(
        "float[batch,length,1] x => float[batch,2] y",
        'steps = Transpose<perm=[1,0,2]>(x) "", states = GRU<hidden_size=2>(steps, w, r) y = Squeeze(states, [0])',
        w=draw.standard_normal((1, 6, 1)).astype(np.float32),
        r=draw.standard_normal((1, 6, 2)).astype(np.float32),
    )


def greatest() -> bytes:
    """Where the largest number of each row is: ONNX Runtime raises where a row has none."""
    return make_model("float[batch,width] x => int64[batch] y", "y = ArgMax<axis=1, keepdims=0>(x)")


def exhausting() -> bytes:
    """y = x, but a batch with a number above 3 asks for more memory than there is, which is the server's failure."""
    return make_model(
        "int64[batch,1] x => float[batch,1] y",
        f"""
        largest = ReduceMax<keepdims=0>(x) above = Sub(largest, [3]) excess = Clip(above, 0, 1)
        size = Mul(excess, [{1 << 36}]) filled = ConstantOfShape(size) nothing = ReduceSum<keepdims=0>(filled)
        number = Cast<to=1>(x) y = Add(number, nothing)
        """,
    )


def mixing() -> bytes:
    """y = x - mean over the batch: rows that influence each other, which no server can batch safely."""
    return make_model("float[batch,2] x => float[batch,2] y", "mean = ReduceMean<keepdims=1>(x, [0]) y = Sub(x, mean)")


def classifier(classes: int = 3) -> bytes:
    """Image [batch, 1, 2, 2] to logits and probabilities by a fixed random matrix."""
    return make_model(
        f"float[batch,1,2,2] image => float[batch,{classes}] logits, float[batch,{classes}] probabilities",
        "flat = Flatten(image) logits = MatMul(flat, weights) probabilities = Softmax(logits)",
        weights=np.random.default_rng(0).standard_normal((4, classes)).astype(np.float32),
    )


def count_up() -> bytes:
    """next_total = total + x, value = table[total] of 10, 11, 12, 13: a run with a total above 3 fails."""
    return make_model(
        "int64[batch] x, int64[batch] total => int64[batch] next_total, float[batch] value",
        "next_total = Add(total, x) value = Gather([10.0,11.0,12.0,13.0], total)",
    )


def add_up() -> bytes:
    """next_total = total + x, [batch, 1] each."""
    return make_model(
        "float[batch,1] x, float[batch,1] total => float[batch,1] next_total", "next_total = Add(total, x)"
    )


def grow() -> bytes:
    """longer = memory with x at its end: the size of what it carries is free."""
    signature = "float[batch,length] memory, float[batch,1] x => float[batch,longer] longer"
    return make_model(signature, "longer = Concat<axis=1>(memory, x)")


def endless() -> bytes:
    """y = x, after a loop that never ends."""
    return make_model(
        "float[batch,3] x => float[batch,3] y",
        """
        y = Loop<body = body (int64 turn, bool go_on, float[batch,3] v) => (bool goes_on, float[batch,3] w) {
            goes_on = Identity(go_on) w = Identity(v)
        }>("", true, x)
        """,
        true=True,
    )


def write_loop(root: Path, name: str, content: bytes, carries: Mapping[str, str | None]) -> None:
    """Publish a loop. ``carries`` names the output that each input gets in the next step."""
    main = describe_graph(ort.InferenceSession(content))
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


def divide(constants: Mapping[str, np.ndarray] | None = None) -> bytes:
    """y = x + a // b, which ends the process where the least number is divided by -1."""
    given = constants or {}
    inputs = ", ".join(f"int64[batch,3] {name}" for name in ("x", "a", "b") if name not in given)
    return make_model(f"{inputs} => int64[batch,3] y", "q = Div(a, b) y = Add(x, q)", **given)


def ends_the_process() -> bytes:
    """ONNX Runtime 1.32 ends the process by SIGSEGV while it loads this: it folds a constant without elements."""
    return make_model(
        "float[batch,3] x => float[batch,3] y",
        "d = InstanceNormalization(c, zeros[2], zeros[2]) e = ReduceSum<keepdims=0>(d) y = Add(x, e)",
        c=np.zeros((1, 2, 0), np.float32),
    )
