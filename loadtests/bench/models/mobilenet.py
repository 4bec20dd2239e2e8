"""The layers of MobileNet (Howard et al. 2017, table 1) at a part of their width, with random weights."""

import numpy as np

from loadtests.bench.models.model import Graph

LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Channels at full width, and stride, of the separable convolutions after the first layer of 32 channels."""
STRIDE_16, STRIDE_32 = 10, 12
"""The last layers whose results have a sixteenth and a thirty-second of the picture's sides."""


def grow_mobilenet(graph: Graph, picture: str, width: float) -> list[tuple[str, int]]:
    """The name and the channels of each layer's result. ``width`` is the part of the channels that are kept."""
    channels = int(32 * width)
    x = _activate(graph, _convolve(graph, picture, 3, channels, 3, 2))
    results = []
    for full, stride in LAYERS:
        x = _activate(graph, _convolve(graph, x, channels, channels, 3, stride, group=channels))
        x = _activate(graph, _convolve(graph, x, channels, int(full * width), 1))
        channels = int(full * width)
        results.append((x, channels))
    return results


def add_pointwise(graph: Graph, x: str, ins: int, outs: int) -> str:
    return _convolve(graph, x, ins, outs, 1)


def _activate(graph: Graph, x: str) -> str:
    return graph.add("Relu", x)


def _convolve(graph: Graph, x: str, ins: int, outs: int, kernel: int, stride: int = 1, group: int = 1) -> str:
    weight, bias = _add_kernels(graph, outs, ins // group, kernel), graph.add_weight(outs)
    pads = [kernel // 2] * 4
    shape = [kernel, kernel]
    return graph.add("Conv", x, weight, bias, kernel_shape=shape, strides=[stride] * 2, pads=pads, group=group)


def _add_kernels(graph: Graph, outs: int, ins: int, kernel: int) -> str:
    """Kernels that blur, each with a random weight: else a random network amplifies the grain of a picture, and with it
    the level of 255 by which ways to resize differ."""
    weights = graph.rng.standard_normal((outs, ins, 1, 1)) * np.sqrt(2 / ins)
    if ins == 1:
        weights = np.abs(weights)  # a negative weight of something positive would only give zeros
    blur = graph.rng.uniform(0.5, 1.5, (outs, ins, kernel, kernel)) / kernel**2
    return graph.add_constant((weights * blur).astype(np.float32))
