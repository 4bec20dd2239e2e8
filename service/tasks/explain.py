"""Explains why a classifier chose a label: how much each part of a row counts for it.

Saliency (Simonyan et al., 2013) is the gradient that the model's graph ``explain`` gives. Integrated gradients
(Sundararajan et al., 2017) are the mean of the gradients along a path; each point of the path is run as a row.
Occlusion (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014) needs no gradients: it hides
one part of the row after another and measures how much the probability falls.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.manifest import Manifest
from service.codecs.model_context import known
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
"""Inputs of graphs that integrate the gradients themselves, as older versions do."""
_STEPS = 32
"""Points of the path. With 32, attributions on the digits classifier add up to the difference of the scores within
0.4 % (16: 0.9 %, 64: 0.2 %)."""
_WINDOWS_A_SIDE = 4
"""An occlusion window is 1/4 as high and wide as the row. Neighbouring windows overlap by half."""
_WINDOWS_A_SERIES = 32
"""On rows with one axis, a window is 1/32 as long as the row."""
_CHUNK_ROWS = 256
_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Maps:
    """``values`` [rows, height, width], or [rows, length] for rows with one axis. Channels are combined.

    Saliency: the largest magnitude of the gradient over the channels. Integrated gradients: the sum over the channels,
    positive or negative. Occlusion: how far the probability falls, as the mean over the windows that hide the position.
    ``window`` and ``stride`` are the sizes and steps of these windows.
    """

    values: np.ndarray
    window: Sequence[int] | None = None
    stride: Sequence[int] | None = None


def choose_method(asked: bool | Method, manifest: Manifest) -> Method:
    """The method to use. True means saliency if the model has gradients, else occlusion.

    Raises InvalidInput if the model cannot be explained by this method; the text says which one can be used.
    """
    if manifest.tokens is not None:
        raise InvalidInput(f"explain: model {manifest.name!r} takes texts, which are not explained: ask without it")
    tensor = shown_input(manifest)
    if tensor is None or DATATYPES[tensor.datatype].kind not in "iuf":
        raise InvalidInput(f"explain: expected a classifier of one input of numbers, model {manifest.name!r} is none")
    has_gradients = _has_gradients(manifest, tensor)
    if isinstance(asked, bool):
        return "saliency" if has_gradients else "occlusion"
    if asked != "occlusion" and not has_gradients:
        raise InvalidInput(
            f"explain: model {manifest.name!r} has no graph of gradients: expected occlusion, got {asked}"
        )
    return asked


async def explain_rows(
    method: Method, group: Group, indices: np.ndarray, probabilities: np.ndarray, manifest: Manifest
) -> Maps:
    """Explain one class of each row: ``indices`` [rows]. ``probabilities`` are [rows, classes]."""
    name = known(shown_input(manifest)).name
    if method == "occlusion":
        return await _hide(group.inputs, name, indices, probabilities, manifest)
    rows = group.inputs[name]
    if method == "saliency":
        found = await _differentiate(rows, indices, _GRADIENT, manifest)
    elif _integrates(manifest):
        found = await _differentiate(rows, indices, _INTEGRATED, manifest)
    else:
        found = await _integrate(rows, indices, manifest)
    found = _channels_first(found, manifest)
    channels = tuple(range(1, found.ndim - 2))
    return Maps(np.abs(found).max(axis=channels) if method == "saliency" else found.sum(axis=channels))


def _channels_first(array: np.ndarray, manifest: Manifest) -> np.ndarray:
    """A view whose last two axes are height and width, if the rows are pictures."""
    image = manifest.image
    return array if image is None or image.layout == "NCHW" else np.moveaxis(array, -1, -3)


async def _differentiate(rows: np.ndarray, indices: np.ndarray, output: str, manifest: Manifest) -> np.ndarray:
    """An output of the graph of gradients, for each row and its class."""
    inputs = {known(shown_input(manifest)).name: rows, _LABEL: indices.astype(np.int64)}
    if _integrates(manifest):
        inputs[_BASELINE] = np.full_like(rows, _baseline(manifest))
        inputs[_EPSILON] = np.zeros(len(rows), rows.dtype)
    outputs = await Infer(inputs, EXPLAIN)
    return check_finite(manifest.name, output, outputs[output])


async def _integrate(rows: np.ndarray, indices: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Integrated gradients by the midpoint rule: the mean gradient on the straight path to each row, times the path."""
    baseline = np.asarray(_baseline(manifest), rows.dtype)
    sums = np.zeros(rows.shape)
    points = itertools.product(range(len(rows)), range(_STEPS))
    while chunk := list(itertools.islice(points, _chunk_rows(rows))):
        chosen = [row for row, _ in chunk]
        shares = np.array([(step + 0.5) / _STEPS for _, step in chunk]).reshape(-1, *[1] * (rows.ndim - 1))
        path = baseline + (rows[chosen] - baseline) * shares.astype(rows.dtype)
        gradients = await _differentiate(path, indices[chosen], _GRADIENT, manifest)
        np.add.at(sums, chosen, gradients)
    integrated: np.ndarray = ((rows - baseline) * sums / _STEPS).astype(np.float32)
    return integrated


def _chunk_rows(rows: np.ndarray) -> int:
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // int(rows[0].nbytes)))


def _has_gradients(manifest: Manifest, tensor: Tensor) -> bool:
    graph = manifest.graphs.get(EXPLAIN)
    if graph is None:
        return False
    expected = {tensor.name, _LABEL} | ({_BASELINE, _EPSILON} if _integrates(manifest) else set())
    return {t.name for t in graph.inputs} == expected and _GRADIENT in {t.name for t in graph.outputs}


def _integrates(manifest: Manifest) -> bool:
    """Whether the graph integrates the gradients itself, as older versions do."""
    return any(output.name == _INTEGRATED for output in manifest.graphs[EXPLAIN].outputs)


def _baseline(manifest: Manifest) -> float | np.ndarray:
    """The value that stands for no information: a black pixel, else 0."""
    return 0.0 if manifest.image is None else manifest.image.spread(manifest.image.offset)


async def _hide(inputs: Arrays, name: str, indices: np.ndarray, probabilities: np.ndarray, manifest: Manifest) -> Maps:
    """Occlusion: replace each window of each row by the baseline."""
    output = known(manifest.classes).probabilities
    rows = inputs[name]
    places = _channels_first(rows, manifest).shape[1:][-2:]
    nothing = np.broadcast_to(_baseline(manifest), rows[:1].shape)
    window = [max(1, size // (_WINDOWS_A_SIDE if len(places) == 2 else _WINDOWS_A_SERIES)) for size in places]
    stride = [max(1, size // 2) for size in window]
    windows = list(itertools.product(*(_cover(*sizes) for sizes in zip(places, window, stride, strict=True))))
    falls, hidden = np.zeros((len(rows), *places)), np.zeros(places)
    for part in windows:
        hidden[part] += 1
    cases = itertools.product(range(len(rows)), windows)
    while chunk := list(itertools.islice(cases, _chunk_rows(rows))):
        chosen = [row for row, _ in chunk]
        covered = {key: array[chosen] for key, array in inputs.items()}
        for i, (_, part) in enumerate(chunk):
            view = _channels_first(covered[name], manifest)
            view[(i, ..., *part)] = _channels_first(nothing, manifest)[(0, ..., *part)]
        outputs = await Infer(covered)
        left = check_finite(manifest.name, output, outputs[output])
        fall = probabilities[chosen, indices[chosen]] - left[np.arange(len(chunk)), indices[chosen]]
        for (row, part), by in zip(chunk, fall, strict=True):
            falls[(row, *part)] += by
    return Maps((falls / hidden).astype(np.float32), window, stride)


def _cover(length: int, window: int, stride: int) -> list[slice]:
    """Windows over an axis. The last one ends at the end of the axis, so that every position is hidden."""
    starts = [*range(0, length - window, stride), length - window]
    return [slice(start, start + window) for start in starts]
