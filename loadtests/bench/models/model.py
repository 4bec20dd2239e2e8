"""The models of the comparison: three small networks with random weights and different bottlenecks.

They are made here from a seed, so that everyone measures the same graphs and downloads nothing.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.bench.server import NO_TELEMETRY

INPUT, OUTPUT = "rows", "scores"
CLASSES = 10
OPSET = 17
IR_VERSION = 9  # the newest that every recent ONNX Runtime reads
SEED = 7
TABLE_ROWS = 4
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-4


@dataclass
class Graph:
    """An ONNX graph that grows node by node; each step returns the name of its result."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def add_weight(self, *shape: int) -> str:
        """Random weights, scaled by the fan-in so that values keep their size through the layers."""
        scale = math.sqrt(2.0 / math.prod(shape[1:])) if len(shape) > 1 else 0.0
        values = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        return self.add_constant(values)

    def add_constant(self, values: Any) -> str:
        """An array as it is."""
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add_convolution(self, x: str, channels_in: int, channels_out: int, stride: int = 1) -> str:
        weight, bias = self.add_weight(channels_out, channels_in, 3, 3), self.add_weight(channels_out)
        return self.add("Conv", x, weight, bias, strides=[stride, stride], pads=[1, 1, 1, 1], kernel_shape=[3, 3])

    def add_dense(self, x: str, size_in: int, size_out: int, output: str = "") -> str:
        weight, bias = self.add_weight(size_out, size_in), self.add_weight(size_out)
        return self.add("Gemm", x, weight, bias, transB=1, output=output)


def _grow_tiny(graph: Graph) -> None:
    """Two small convolutions and a dense layer: so little work that the server itself is measured."""
    x = graph.add("Relu", graph.add_convolution(INPUT, 1, 8, stride=2))
    x = graph.add("Relu", graph.add_convolution(x, 8, 16, stride=2))
    graph.add_dense(graph.add("Flatten", x), 16 * 7 * 7, CLASSES, output=OUTPUT)


def _grow_residual(graph: Graph) -> None:
    """A stem and three residual blocks: bound by arithmetic, a few milliseconds a row."""
    channels = 32
    x = graph.add("Relu", graph.add_convolution(INPUT, 3, channels, stride=2))
    for _ in range(3):
        inner = graph.add("Relu", graph.add_convolution(x, channels, 2 * channels))
        inner = graph.add_convolution(inner, 2 * channels, channels)
        x = graph.add("Relu", graph.add("Add", x, inner))
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    graph.add_dense(pooled, channels, CLASSES, output=OUTPUT)


def _grow_mlp(graph: Graph) -> None:
    """Two wide dense layers: one row reads 8 MiB of weights, a batch reads them once for all its rows."""
    x = graph.add("Relu", graph.add_dense(INPUT, 1024, 1024))
    x = graph.add("Relu", graph.add_dense(x, 1024, 1024))
    graph.add_dense(x, 1024, CLASSES, output=OUTPUT)


def _grow_poisoned(graph: Graph) -> None:
    """A table look-up by number: a row with a number outside the table makes the whole run fail."""
    from onnx import TensorProto

    number = graph.add("Cast", INPUT, to=TensorProto.INT64)
    graph.add("Flatten", graph.add("Gather", graph.add_weight(TABLE_ROWS, CLASSES), number, axis=0), output=OUTPUT)


@dataclass(frozen=True)
class BenchModel:
    """A model of the comparison. ``max_rows`` is the largest useful batch on a few cores."""

    name: str
    row_shape: tuple[int, ...]
    max_rows: int
    grow: Callable[[Graph], None]

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of a row of each output."""
        return {OUTPUT: (CLASSES,)}

    def build(self) -> bytes:
        """The model as ONNX, with a dynamic batch axis; the same bytes every time."""
        from onnx import TensorProto, helper

        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *self.row_shape])]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, shape in self.output_shapes.items()
        ]
        return self.build_between(inputs, outputs)

    def build_between(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        """The graph that ``grow`` makes, with these inputs and outputs."""
        from onnx import checker, helper

        graph = Graph(np.random.default_rng(SEED))
        self.grow(graph)
        model = helper.make_model(
            helper.make_graph(graph.nodes, self.name, inputs, outputs, graph.weights),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def publish(self, repository: Path) -> Path:
        """Write ``<repository>/<name>/1/model.onnx``, the layout that Triton reads and Sluice serves as it is."""
        path = repository / self.name / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.build())
        return path

    def make_rows(self, rows: int) -> np.ndarray:
        """Example rows in [0, 1) with two decimals, as long in JSON as real pictures and measurements."""
        values = np.random.default_rng(SEED).random((rows, *self.row_shape))
        return np.round(values, 2).astype(np.float32)

    def agrees(self, got: np.ndarray, expected: np.ndarray) -> bool:
        """Whether a server's scores are those of ``score``."""
        return got.shape == expected.shape and np.allclose(got, expected, RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE)

    def score(self, rows: np.ndarray) -> np.ndarray:
        """The expected scores of these rows, from ONNX Runtime in this process."""
        scores: np.ndarray = open_session(self.build()).run(None, {INPUT: rows})[0]
        return scores


def open_session(content: bytes, threads: int = 1):  # type: ignore[no-untyped-def]  # ONNX Runtime has no types
    os.environ.update(NO_TELEMETRY)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


MODELS: Mapping[str, BenchModel] = {
    model.name: model
    for model in (
        BenchModel("tiny", (1, 28, 28), 64, _grow_tiny),
        BenchModel("residual", (3, 64, 64), 16, _grow_residual),
        BenchModel("mlp", (1024,), 64, _grow_mlp),
    )
}

POISONED = BenchModel("poisoned", (1,), 64, _grow_poisoned)
"""Not in the comparison. Rows below 1 (from ``make_rows``) are good, ``POISON`` is not."""

POISON = float(TABLE_ROWS + 1000)
