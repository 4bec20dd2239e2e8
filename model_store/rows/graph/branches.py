"""Finds lengths at which the conditions of a graph have the other outcome."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from model_store.rows.graph.nodes import read_names
from model_store.rows.graph.samples import LADDER, Lengths

_SHORT = (1, 2, 3, 4, 5, 6, 7)
_LONGEST = 20_000
_MOST_LENGTHS = 64


def read_conditions(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto | None:
    """The part of the model that computes these tensors; None if one of them is not in the model."""
    made = {name for node in model.graph.node for name in node.output}
    if not made.issuperset(names):
        return None
    wanted = set(names)
    kept = []
    waiting = list(model.graph.node)
    while True:
        needed = [node for node in waiting if not wanted.isdisjoint(node.output)]
        if not needed:
            break
        waiting = [node for node in waiting if wanted.isdisjoint(node.output)]
        kept += needed
        for node in needed:
            wanted |= read_names(node)
    small = onnx.ModelProto()
    small.CopyFrom(model)
    del small.graph.node[:], small.graph.output[:]
    small.graph.node.extend(kept)
    small.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return small


def lengths_that_decide(model: onnx.ModelProto, base: Lengths) -> Iterator[Lengths]:
    """The given lengths, then others: each axis alone, and all alike. These are short ones, those near the integers in
    the graph, and common ones."""
    yield base
    near = [number + step for number in sorted(set(_read_numbers(model.graph))) for step in (0, 1, -1)]
    tried = list(dict.fromkeys(n for n in (*_SHORT, *near, *LADDER) if 0 < n <= _LONGEST))[:_MOST_LENGTHS]
    for length in tried:
        for key in base:
            if length != base[key]:
                yield {**base, key: length}
        if len(base) > 1:
            yield dict.fromkeys(base, length)


def _read_numbers(graph: onnx.GraphProto) -> Iterator[int]:
    """Integers that may be limits of lengths: constants of a single element."""
    for tensor in graph.initializer:
        yield from _read_number(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield from _read_number(attribute.t)
            elif attribute.name == "value_int":
                yield attribute.i
            if attribute.HasField("g"):
                yield from _read_numbers(attribute.g)


def _read_number(tensor: onnx.TensorProto) -> Iterator[int]:
    count = int(np.prod(tensor.dims)) if tensor.dims else 1
    whole = tensor.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    if count == 1 and whole and tensor.data_location != onnx.TensorProto.EXTERNAL:
        yield int(numpy_helper.to_array(tensor).reshape(-1)[0])
