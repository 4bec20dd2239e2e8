"""Why a classifier chose a label: how much each part of a row counts for it.

Saliency (Simonyan et al., 2013) is the gradient that the model's graph ``explain`` gives. Integrated gradients
(Sundararajan et al., 2017) are the mean of gradients along a path, whose points run as rows. Occlusion (Zeiler and
Fergus, Visualizing and Understanding Convolutional Networks, 2014) needs the model alone, for it hides a part of the
row at a time and looks how the probability falls.
"""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.manifest import Manifest
from service.codecs.model_context import ModelContext
from service.codecs.rows import Group, shown_input
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.tasks.answer import check_finite
from service.tasks.work import Infer

Method = Literal["saliency", "integrated_gradients", "occlusion"]

EXPLAIN = "explain"
_LABEL = "label"
_GRADIENT, _INTEGRATED = "gradient", "integrated_gradients"
_BASELINE, _EPSILON = "baseline", "epsilon"
"""Inputs of graphs that integrate, from versions before the server did."""
_STEPS = 32
"""Points of the path from the baseline: on the digits classifier the attributions then sum to within 0.4 % of the
difference of the scores (16: 0.9 %, 64: 0.2 %)."""
_SHARE = 4
"""A window hides this part of the height and of the width; neighbouring windows overlap by half."""
_SERIES_SHARE = 32
"""The same of a row with one axis, whose neighbours need not have to do with each other."""
_CHUNK_ROWS = 256
_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Maps:
    """``values`` [rows, height, width], or [rows, length] for rows of one axis; channels are taken together.

    Saliency: the largest magnitude of the gradient. Integrated gradients: their sum, of either sign. Occlusion: how far
    the probability falls, as the mean over the windows that hide the place; ``window`` and ``stride`` are their sizes.
    """

    values: np.ndarray
    window: Sequence[int] | None = None
    stride: Sequence[int] | None = None


def choose_method(asked: bool | Method, context: ModelContext) -> Method | None:
    """The method for what was asked: True is saliency where the model has gradients, else occlusion.

    Raises InvalidInput where the model cannot be explained that way; the text says which way it can.
    """
    if asked is False:
        return None
    manifest = context.manifest
    tensor = shown_input(manifest)
    if tensor is None or DATATYPES[tensor.datatype].kind not in "iuf":
        raise InvalidInput(f"explain: expected a classifier of one input of numbers, model {context.name!r} is none")
    has_gradients = _has_gradients(manifest, tensor)
    if asked is True:
        return "saliency" if has_gradients else "occlusion"
    if asked != "occlusion" and not has_gradients:
        raise InvalidInput(
            f"explain: model {context.name!r} has no graph of gradients: expected occlusion, got {asked}"
        )
    return asked


def explain_rows(
    method: Method, group: Group, indices: np.ndarray, probabilities: np.ndarray, context: ModelContext
) -> Generator[Infer, Any, Maps]:
    """Explain the class ``indices`` [rows] of each row of a group; ``probabilities`` [rows, classes] are its own."""
    tensor = shown_input(context.manifest)
    assert tensor is not None  # noqa: S101  # asked by choose_method
    if method == "occlusion":
        return (yield from _hide(group.inputs, tensor.name, indices, probabilities, context))
    rows = group.inputs[tensor.name]
    if method == "saliency":
        found = yield from _differentiate(rows, indices, _GRADIENT, context)
    elif _integrates(context.manifest):
        found = yield from _differentiate(rows, indices, _INTEGRATED, context)
    else:
        found = yield from _integrate(rows, indices, context)
    channels = tuple(range(1, found.ndim - 2))
    return Maps(np.abs(found).max(axis=channels) if method == "saliency" else found.sum(axis=channels))


def _differentiate(
    rows: np.ndarray, indices: np.ndarray, output: str, context: ModelContext
) -> Generator[Infer, Any, np.ndarray]:
    """What the graph of gradients gives for each row and its class."""
    tensor = shown_input(context.manifest)
    assert tensor is not None  # noqa: S101  # asked by choose_method
    inputs = {
        tensor.name: rows,
        _LABEL: indices.astype(np.int64),
    }
    if _integrates(context.manifest):
        inputs |= {
            _BASELINE: np.full_like(rows, _baseline(context.manifest)),
            _EPSILON: np.zeros(len(rows), rows.dtype),
        }
    outputs: Arrays = yield Infer(inputs, EXPLAIN)
    found: np.ndarray = outputs[output]
    check_finite(context, output, found)
    return found


def _integrate(rows: np.ndarray, indices: np.ndarray, context: ModelContext) -> Generator[Infer, Any, np.ndarray]:
    """The mean gradient along the straight path to each row, by the midpoint rule, times the path."""
    baseline = np.asarray(_baseline(context.manifest), rows.dtype)
    sums = np.zeros(rows.shape)
    points = itertools.product(range(len(rows)), range(_STEPS))
    size = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // rows[0].nbytes))
    while chunk := list(itertools.islice(points, size)):
        chosen = [row for row, _ in chunk]
        shares = np.array([(step + 0.5) / _STEPS for _, step in chunk]).reshape(-1, *[1] * (rows.ndim - 1))
        path = baseline + (rows[chosen] - baseline) * shares.astype(rows.dtype)
        gradients = yield from _differentiate(path, indices[chosen], _GRADIENT, context)
        np.add.at(sums, chosen, gradients)
    integrated: np.ndarray = ((rows - baseline) * sums / _STEPS).astype(np.float32)
    return integrated


def _has_gradients(manifest: Manifest, tensor: Tensor) -> bool:
    graph = manifest.graphs.get(EXPLAIN)
    if graph is None:
        return False
    inputs, outputs = {t.name for t in graph.inputs}, {t.name for t in graph.outputs}
    expected = {tensor.name, _LABEL} | ({_BASELINE, _EPSILON} if _integrates(manifest) else set())
    return inputs == expected and _GRADIENT in outputs


def _integrates(manifest: Manifest) -> bool:
    """Whether the graph of gradients integrates them itself, as those of older versions do."""
    return any(output.name == _INTEGRATED for output in manifest.graphs[EXPLAIN].outputs)


def _baseline(manifest: Manifest) -> float:
    """What stands for nothing: the value of a black pixel, else 0."""
    return 0.0 if manifest.image is None else manifest.image.offset


def _hide(
    inputs: Arrays, name: str, indices: np.ndarray, probabilities: np.ndarray, context: ModelContext
) -> Generator[Infer, Any, Maps]:
    manifest = context.manifest
    assert manifest.classes is not None  # noqa: S101  # a manifest of the task classify has them
    rows = inputs[name]
    places = rows.shape[1:][-2:]
    window = [max(1, size // (_SHARE if len(places) == 2 else _SERIES_SHARE)) for size in places]
    stride = [max(1, size // 2) for size in window]
    windows = list(itertools.product(*(_cover(*sizes) for sizes in zip(places, window, stride, strict=True))))
    falls, hidden = np.zeros((len(rows), *places)), np.zeros(places)
    for part in windows:
        hidden[part] += 1
    cases = itertools.product(range(len(rows)), windows)
    size = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // rows[0].nbytes))
    while chunk := list(itertools.islice(cases, size)):
        chosen = [row for row, _ in chunk]
        covered = {key: array[chosen] for key, array in inputs.items()}
        for i, (_, part) in enumerate(chunk):
            covered[name][(i, ..., *part)] = _baseline(manifest)
        outputs: Arrays = yield Infer(covered)
        left = outputs[manifest.classes.probabilities]
        check_finite(context, manifest.classes.probabilities, left)
        fall = probabilities[chosen, indices[chosen]] - left[np.arange(len(chunk)), indices[chosen]]
        for (row, part), by in zip(chunk, fall, strict=True):
            falls[(row, *part)] += by
    return Maps((falls / hidden).astype(np.float32), window, stride)


def _cover(length: int, window: int, stride: int) -> list[slice]:
    """Windows over an axis, the last flush with its end, so that every place is hidden by one at least."""
    starts = [*range(0, length - window, stride), length - window]
    return [slice(start, start + window) for start in starts]
