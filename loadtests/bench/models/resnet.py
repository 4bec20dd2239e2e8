"""A network of ResNet-50's size (25.6 million parameters, 4.1 G multiply-adds a row), for `sluice bench --gpu`.

Layers, strides and widths are those of the paper (He et al. 2015, table 1), with the stride in the 3x3 convolution and
batch normalisation folded into the convolutions, as usual. The weights are random, from a seed: speed does not depend
on them, and nothing has to be downloaded.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loadtests.bench.models.model import IR_VERSION, OPSET, SEED, Graph

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Width and number of blocks. A block's output has four times its width."""
PRECISIONS = ("fp32", "fp16")
BRANCH_SCALE = 0.25
"""Keeps a block's contribution small, so that values stay in the range of half precision through all sixteen blocks."""


class Network:
    """The nodes and weights of a network being built. Each step returns the name of its result."""

    def __init__(self, precision: str) -> None:
        self.dtype = np.dtype({"fp32": np.float32, "fp16": np.float16}[precision])
        self._rng = np.random.default_rng(SEED)
        graph = Graph(self._rng)
        self.add, self.nodes, self.weights = graph.add, graph.nodes, graph.weights

    def add_weight(self, *shape: int, scale: float = 1.0) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        deviation = scale * math.sqrt(2.0 / math.prod(shape[1:])) if len(shape) > 1 else 0.0
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
        self.weights.append(numpy_helper.from_array(values.astype(self.dtype), name))
        return name

    def add_convolution(self, x: str, ins: int, outs: int, kernel: int, stride: int = 1, scale: float = 1.0) -> str:
        weight, bias = self.add_weight(outs, ins, kernel, kernel, scale=scale), self.add_weight(outs)
        pad = kernel // 2
        return self.add(
            "Conv", x, weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad, pad, pad, pad]
        )

    def add_block(self, x: str, ins: int, width: int, stride: int) -> str:
        """A bottleneck (1x1, 3x3, 1x1) with the input added."""
        y = self.add("Relu", self.add_convolution(x, ins, width, 1))
        y = self.add("Relu", self.add_convolution(y, width, width, 3, stride))
        y = self.add_convolution(y, width, 4 * width, 1, scale=BRANCH_SCALE)
        around = x if ins == 4 * width and stride == 1 else self.add_convolution(x, ins, 4 * width, 1, stride)
        return self.add("Relu", self.add("Add", y, around))


def build_resnet(
    precision: str = "fp32", stages: Sequence[tuple[int, int]] = STAGES, side: int = 224, classes: int = 1000
) -> bytes:
    """The network as ONNX: ``image`` [batch, 3, side, side] to ``scores`` [batch, classes], both of the precision."""
    from onnx import TensorProto, checker, helper

    network = Network(precision)
    channels = stages[0][0]
    x = network.add("Relu", network.add_convolution("image", 3, channels, 7, 2))
    x = network.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, (width, blocks) in enumerate(stages):
        for block in range(blocks):
            x = network.add_block(x, channels, width, stride=2 if stage and not block else 1)
            channels = 4 * width
    x = network.add("Flatten", network.add("GlobalAveragePool", x))
    network.add(
        "Gemm", x, network.add_weight(classes, channels), network.add_weight(classes), transB=1, output="scores"
    )
    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    graph = helper.make_graph(
        network.nodes,
        f"resnet-{precision}",
        [helper.make_tensor_value_info("image", kind, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("scores", kind, ["batch", classes])],
        network.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def write_networks(folder: Path) -> list[Path]:
    """Write ``resnet50-fp32.onnx`` and ``resnet50-fp16.onnx``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for precision in PRECISIONS:
        path = folder / f"resnet50-{precision}.onnx"
        path.write_bytes(build_resnet(precision))
        paths.append(path)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.models.resnet", description="Write the networks.")
    parser.add_argument("folder", type=Path)
    for path in write_networks(parser.parse_args(arguments).folder):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
