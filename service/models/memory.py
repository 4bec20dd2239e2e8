"""Estimates the memory of a run by the size of a row: from the sizes of all tensors, and when each is last used."""

import math
import time
from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from model_store.graph import Graph, Terms, fit
from model_store.graphs import Arrays
from model_store.graphs.bits import Axes, take_rows
from model_store.manifest import Manifest
from model_store.rows.graph.weights import embed_small, strip_weights
from model_store.rows.measuring import Meter, is_large
from service.engine.batching.cost import CostModel

_ELEMENT_BYTES = 4
_FACTORS = (1, 2, 4)
_LONGEST_S = 0.25
"""After a run that takes longer, no larger size is tried."""
_OVERHEAD = 2.0
"""How many times the memory of its tensors a run may take: kernels copy tensors into other layouts, and a transposed
convolution makes a matrix. The photo restorer takes 198 bytes a pixel, its tensors 84."""
_IN_PLACE = frozenset(
    {"Relu", "Add", "Mul", "Sub", "Div", "Sigmoid", "Tanh", "Clip", "Reshape", "Identity", "LeakyRelu"}
)
"""Operators that may write their output over an input."""


def limit_rows(name: str, manifest: Manifest, default: int) -> int:
    """The most rows of a batch of a graph: the lowest of the limits of the model, the graph and its tokens."""
    limits = [manifest.batching.max_rows or default, manifest.graphs[name].max_rows]
    tokens, most = manifest.tokens, manifest.batching.max_tokens
    if tokens is not None and tokens.graph == name and most is not None:
        limits.append(max(1, most // tokens.lengths[0]))
    return min(limit for limit in limits if limit is not None)


def limit_elements(
    name: str, manifest: Manifest, cost: CostModel, max_rows: int, row_elements: int | None
) -> int | None:
    """The most elements of a batch of texts, in all inputs together: those of an efficient batch of the measured rows.

    So longer texts run in smaller batches of about the same time, and shorter ones in larger batches. None if only the
    number of rows is limited: they are no texts, or all have one length.
    """
    tokens = manifest.tokens
    if tokens is None or tokens.graph != name or row_elements is None:
        return None
    efficient = cost.efficient(max_rows) * row_elements
    if manifest.batching.max_tokens is None:
        return efficient
    inputs = sum(each is not None for each in (tokens.ids, tokens.mask, tokens.types))
    return min(efficient, manifest.batching.max_tokens * inputs)


def count_bytes(content: bytes, external: Mapping[str, bytes]) -> int:
    """About how many bytes the weights of a graph take: all of its files."""
    return len(content) + sum(map(len, external.values()))


def learn_memory(content: bytes, external: Mapping[str, bytes], graph: Graph, samples: Arrays) -> Terms | None:
    """The memory of a row while a graph runs, measured on one row of the size of ``samples`` and of larger sizes.

    None if the weights are too large to open the graph once more, or if one row does not run.
    """
    try:
        model, files = strip_weights(content)
        weights = {**external, **files}
        if is_large(weights):
            return None
        embed_small(model, weights)
        meter = Meter(model, weights)
    except Exception:  # noqa: BLE001  # the parser and ONNX Runtime raise several types
        return None
    points = []
    for inputs in _grow(graph, samples):
        began = time.perf_counter()
        try:
            shapes = meter.run(inputs, 1).shapes
        except Exception:  # noqa: BLE001  # the graph does not run at that size
            break
        points.append((float(sum(array.size for array in inputs.values())), _OVERHEAD * find_peak(model, shapes)))
        if time.perf_counter() - began > _LONGEST_S:
            break
    return fit(points)


def find_peak(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The most bytes that the tensors of a graph take at once."""
    sizes = {name: _ELEMENT_BYTES * math.prod(shape) for name, shape in shapes.items()}
    last_use = {name: number for number, node in enumerate(model.graph.node) for name in node.input}
    last_use |= {output.name: len(model.graph.node) for output in model.graph.output}
    held = most = sum(sizes.get(value.name, 0) for value in model.graph.input)
    for number, node in enumerate(model.graph.node):
        done = sum(sizes.get(name, 0) for name in set(node.input) if last_use[name] == number)
        made = sum(sizes.get(name, 0) for name in node.output)
        most = max(most, held + (max(0, made - done) if node.op_type in _IN_PLACE else made))
        unused = sum(sizes.get(name, 0) for name in node.output if name not in last_use)
        held += made - done - unused
    return float(most)


def join_terms(measured: Terms | None, learned: Terms | None) -> Terms | None:
    """The larger of the manifest's terms and those measured here, term by term; None if there are neither."""
    if measured is None or learned is None:
        return measured or learned
    fixed, linear, square = map(max, zip(measured, learned, strict=True))
    return fixed, linear, square


def _grow(graph: Graph, samples: Arrays) -> Iterator[Arrays]:
    """One row of the samples, as it is and with every free axis 2 and 4 times as long."""
    axes: Axes = {tensor.name: tensor.batch_axis for tensor in graph.inputs}
    row = samples if all(axis is None for axis in axes.values()) else take_rows(samples, 1, axes)
    for factor in _FACTORS:
        grown = {}
        for tensor in graph.inputs:
            if tensor.name in row:
                is_free = [isinstance(n, str) and axis != tensor.batch_axis for axis, n in enumerate(tensor.shape)]
                grown[tensor.name] = np.tile(row[tensor.name], np.where(is_free, factor, 1))
        yield grown
