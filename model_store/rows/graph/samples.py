"""Inputs to try a graph on: candidate batch axes, lengths of other free axes, and suitable values."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx

from model_store.rows.graph.nodes import Axes
from model_store.rows.graph.ranges import Range

LADDER = (8, 32, 64, 96, 16, 224, 512, 128, 256, 1, 20, 1024, 4096, 16000)
"""Lengths that are tried for free axes, in order. Short ones are cheap, and many graphs need multiples."""
_SUMS = (3, 5, 8, 2)
"""Different lengths, some of which are sums of others, as for a decoder's cache and its new tokens."""

MOST_ELEMENTS = 1 << 25
"""Most elements of an input that is made for trying lengths."""
UNKNOWN_NAMES = ("", "?", "-1")
"""What exporters write for an unknown size."""


def name_axis(tensor: str, axis: int, name: int | str | None) -> str:
    """The name of a free axis. An axis without a name is named after its tensor, because it equals no other axis."""
    return name if isinstance(name, str) and name.strip() not in UNKNOWN_NAMES else f"{tensor}_{axis}"


Lengths = Mapping[str, int]
"""The length of each free axis except the batch, by its key."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The batch axis of each input. An input that is missing here is the same for all rows."""

    axes: Mapping[str, int]

    def key(self, given: Axes, axis: int) -> str:
        """The key of a free axis: its name, or its place if it has none."""
        return name_axis(given.name, axis, given.axes[axis] if given.axes is not None else None)

    def free(self, inputs: Sequence[Axes]) -> list[str]:
        """The keys of the free axes except the batch, in order."""
        keys = [
            self.key(given, axis)
            for given in inputs
            for axis, size in enumerate(given.axes or ())
            if not isinstance(size, int) and axis != self.axes.get(given.name)
        ]
        return list(dict.fromkeys(keys))


def layouts(inputs: Sequence[Axes]) -> list[Layout]:
    """Candidate layouts of the batch, the likeliest first."""
    found: list[dict[str, int]] = []
    for name in _batch_names(inputs):
        named = {i.name: i.axes.index(name) for i in inputs if i.axes is not None and i.axes.count(name) == 1}
        joining = {i.name: 0 for i in inputs if i.name not in named and _is_free(i, 0)}
        found += [{**joining, **named}, named] if joining else [named]
    if not found:
        first = {i.name: 0 for i in inputs if _is_free(i, 0)}
        states = {i.name: 1 for i in inputs if i.name not in first and _is_free(i, 1)}
        found += [first, {**first, **states}] if first and states else [first]
    if not any(found):  # states of several layers: [layers, batch, width]
        found.append({i.name: 1 for i in inputs if _is_free(i, 1)})
    unique = [axes for at, axes in enumerate(found) if axes and axes not in found[:at]]
    return [Layout(axes) for axes in unique[:6]]


def _is_free(given: Axes, axis: int) -> bool:
    return given.axes is not None and len(given.axes) > axis and not isinstance(given.axes[axis], int)


def _batch_names(inputs: Sequence[Axes]) -> list[str]:
    """Axis names that mean a batch; if there are none, the names of the first axes."""
    names = dict.fromkeys(
        a for i in inputs for a in i.axes or () if isinstance(a, str) and a.strip() not in UNKNOWN_NAMES
    )
    first = {i.axes[0] for i in inputs if i.axes}
    ranks = {name: (0 if "batch" in name.lower() else 1 if name in ("N", "n", "B", "b") else 2) for name in names}
    likeliest = min((rank for name, rank in ranks.items() if rank < 2 or name in first), default=2)
    return [name for name, rank in ranks.items() if rank == likeliest and (rank < 2 or name in first)]


def lengths_to_try(keys: Sequence[str], hints: Sequence[Lengths]) -> Iterator[dict[str, int]]:
    """Lengths for all free axes, until some run: known ones, all alike, all different."""
    for hint in hints:
        if all(key in hint for key in keys):
            yield {key: hint[key] for key in keys}
    for length in LADDER if keys else (1,):
        yield dict.fromkeys(keys, length)
    if 1 < len(keys) <= len(_SUMS):
        for chosen in itertools.permutations(_SUMS, len(keys)):
            yield dict(zip(keys, chosen, strict=True))


def other_lengths(lengths: Lengths) -> Iterator[dict[str, int]]:
    """Lengths unlike those that were found to run: multiples of them, each axis different, then the rest."""
    yield {key: length * (2 + at) for at, (key, length) in enumerate(lengths.items())}
    yield {key: length * 2 for key, length in lengths.items()}
    yield {key: length + 3 + 2 * at for at, (key, length) in enumerate(lengths.items())}
    for length in LADDER:
        if length not in lengths.values():
            yield dict.fromkeys(lengths, length)
    if len(lengths) > 1:
        for chosen in itertools.permutations((*_SUMS, 13), len(lengths)):
            if chosen != tuple(lengths.values()):
                yield dict(zip(lengths, chosen, strict=True))


def make_inputs(
    inputs: Sequence[Axes], layout: Layout, rows: int, lengths: Lengths, ranges: Mapping[str, Range]
) -> dict[str, np.ndarray]:
    """Arrays of these sizes. ``ranges`` has the numbers that an integer input may have.

    Raises ValueError for inputs that would take too much of the server's memory.
    """
    draw = np.random.default_rng(rows)
    arrays = {}
    for given in inputs:
        shape: list[int] = []
        for axis, size in enumerate(given.axes if given.axes is not None else (1,)):
            if isinstance(size, int):
                shape.append(size)
            else:
                shape.append(rows if axis == layout.axes.get(given.name) else lengths[layout.key(given, axis)])
        if math.prod(shape) > MOST_ELEMENTS and any(not isinstance(size, int) for size in given.axes or ()):
            raise ValueError(f"input {given.name!r} of {shape} is too large to try")
        arrays[given.name] = fill(given.type, shape, draw, ranges.get(given.name))
    return arrays


def fill(kind: int, shape: Sequence[int], draw: np.random.Generator, among: Range | None = None) -> np.ndarray:
    """Values that most graphs accept: small floats, ones, truth values, and texts that are also numbers."""
    if kind == onnx.TensorProto.STRING:
        return np.full(shape, "1", object)
    if kind == onnx.TensorProto.BFLOAT16:
        return draw.standard_normal(shape).astype(ml_dtypes.bfloat16)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    if dtype.kind == "f":
        return draw.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return np.ones(shape, bool)
    least, largest = among or (1, 1)
    return np.full(shape, min(max(1, least), largest), dtype)
