"""Inputs to try a model on, as NumPy arrays by name: random ones of any size, and the real samples."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from export.calling.nesting import take_tensors
from export.errors import SpecError
from export.spec import BATCH, Arrays, GraphSpec, Sizes

if TYPE_CHECKING:
    import torch


def lengths_of(spec: GraphSpec) -> tuple[Sizes, ...]:
    """The sizes of the dynamic axes, except the batch, at which parity compares; one empty set if there are none.

    The example's sizes alone would not reveal a loop that was unrolled for them.
    """
    if spec.lengths is not None:
        return spec.lengths
    example = {name: size for name, size in spec.example_sizes.items() if name != BATCH}
    if not example:
        return ({},)
    of_rows = {called for name in spec.batched or spec.inputs for called in spec.axes[name].values()}
    # An axis of shared tables only is not made shorter, because the samples' ids must stay inside the table.
    shorter = {name: max(1, size // 2) if name in of_rows else size + 1 for name, size in example.items()}
    # Axes of one size in the example differ here, to reveal code that confuses them.
    longer = {name: 2 * size + 1 + number for number, (name, size) in enumerate(example.items())}
    return (example, shorter, longer)


def make_random(spec: GraphSpec, sizes: Sizes, seed: int) -> dict[str, np.ndarray]:
    """Random inputs with these sizes of the dynamic axes, equal for equal sizes and seed. Raises SpecError."""
    if spec.random_inputs is not None:
        return _check_made(spec, sizes, _to_arrays(take_tensors(spec.random_inputs(sizes, seed))))
    generator = np.random.default_rng([seed, *sizes.values()])
    made = {}
    lengths = _draw_lengths(spec, sizes, generator)
    for name, sample in _to_arrays(spec.inputs).items():
        if name in lengths:
            made[name] = lengths[name]
            continue
        shape = [sizes.get(spec.axes[name].get(axis, ""), size) for axis, size in enumerate(sample.shape)]
        seen = sample if spec.samples is None else to_array(spec.samples[name])
        made[name] = _draw(spec, name, seen, shape, generator)
    return made


def _draw_lengths(spec: GraphSpec, sizes: Sizes, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Random int64 lengths [batch] for each padded input, from 1 to its size; the first row is full."""
    longest: dict[str, int] = {}
    for name, lengths in spec.padded.items():
        size = sizes[spec.axes[name][spec.padded_axes[name]]]
        longest[lengths] = min(size, longest.get(lengths, size))
    drawn = {name: generator.integers(1, size, sizes[BATCH], endpoint=True) for name, size in longest.items()}
    for name, size in longest.items():
        drawn[name][0] = size
    return drawn


def _draw(spec: GraphSpec, name: str, seen: np.ndarray, shape: list[int], generator: np.random.Generator) -> np.ndarray:
    """Random values over the range of ``seen``, with the same share of NaN. A single shared float lies between half of
    its value and its value; a single integer is kept, because the model may accept only a few."""
    if seen.size == 1 and not spec.axes[name]:
        share = generator.uniform(0.5, 1) if seen.dtype.kind == "f" else 1
        return np.asarray(seen * share, seen.dtype)
    if (pair := read_mask(seen)) is not None:
        return _draw_mask(seen, pair, shape, generator)
    missing = np.isnan(seen) if seen.dtype.kind == "f" else np.zeros(seen.shape, bool)
    seen, share = seen[~missing], float(missing.mean()) if missing.size else 0.0
    if not seen.size or not np.isfinite(seen.astype(np.float64)).all() or seen.min() == seen.max():
        raise SpecError(
            f"{spec.name}: input {name!r}: its samples are constant or not finite, so their range does not show what "
            "the model accepts: give varied samples, or random_inputs"
        )
    if seen.dtype.kind in "iu":
        least, largest = spec.ranges.get(name, (seen.min(), seen.max()))
        low, high = max(least, seen.min()), min(largest, seen.max())
        return generator.integers(low, max(low, high), size=shape, endpoint=True, dtype=seen.dtype)
    low, high = float(seen.min()), float(seen.max())
    drawn = (low + (high - low) * generator.random(shape)).astype(seen.dtype)
    if share:
        drawn[generator.random(shape) < share] = np.nan
    return drawn


_HIDDEN = -1e3
"""To hide a position, a mask adds this or less, such as -inf, to attention scores."""
_FEW = 8  # fewer floats may be 0 and 1 by chance


def read_mask(seen: np.ndarray) -> tuple[Any, Any] | None:
    """The two values of a mask: booleans, 0 and 1, or 0 and a number that hides a position. None if it is no mask."""
    if seen.dtype.kind == "b":
        return False, True
    values = np.unique(seen)
    if len(values) > 2 or not len(values):
        return None
    low, high = values[0], values[-1]
    if seen.dtype.kind == "f" and high == 0 and low <= _HIDDEN:
        return low, high
    if high != 1 or not set(values) <= {0, 1} or (seen.dtype.kind == "f" and (low == high or seen.size < _FEW)):
        return None
    return seen.dtype.type(0), seen.dtype.type(1)


def _draw_mask(seen: np.ndarray, pair: tuple[Any, Any], shape: list[int], generator: np.random.Generator) -> np.ndarray:
    """Both values at random. If every row of the samples has a value somewhere along the last axis, every random row
    gets it too: attention over no positions would give NaN.
    """
    made: np.ndarray = np.where(generator.random(shape) < 0.5, *reversed(pair)).astype(seen.dtype)
    if seen.ndim < 2 or not shape[-1]:
        return made
    places = np.stack([generator.permutation(shape[-1])[:2] for _ in range(made.size // shape[-1])])
    rows = made.reshape(-1, shape[-1])
    for value, place in zip(pair, (places[:, -1], places[:, 0]), strict=True):  # of a single place, the last wins
        if (seen == value).any(axis=-1).all():
            rows[np.arange(len(rows)), place] = value
    return made


def _check_made(spec: GraphSpec, sizes: Sizes, made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if set(made) != set(spec.inputs):
        raise SpecError(f"{spec.name}: random_inputs: expected {sorted(spec.inputs)}, got {sorted(made)}")
    for name, sample in _to_arrays(spec.inputs).items():
        axes = spec.axes[name]
        shape = tuple(sizes.get(axes.get(axis, ""), size) for axis, size in enumerate(sample.shape))
        if made[name].shape != shape or made[name].dtype != sample.dtype:
            raise SpecError(
                f"{spec.name}: random_inputs for {dict(sizes)}: {name!r}: expected {sample.dtype} {shape}, "
                f"got {made[name].dtype} {made[name].shape}"
            )
    return {name: made[name] for name in spec.inputs}


def real_samples(spec: GraphSpec) -> dict[str, np.ndarray] | None:
    return None if spec.samples is None else {name: to_array(spec.samples[name]) for name in spec.inputs}


def integer_inputs(spec: GraphSpec) -> list[str]:
    """Integer inputs for which the spec gives no range and which are not lengths."""
    said = {*spec.ranges, *spec.padded.values()}
    arrays = {name: to_array(tensor) for name, tensor in spec.inputs.items() if name not in said}
    return [name for name, array in arrays.items() if array.dtype.kind in "iu"]


def count_rows(spec: GraphSpec, inputs: Arrays) -> int:
    """The rows of ``inputs``; 1 if the graph has no batch."""
    return next((int(inputs[name].shape[axis]) for name, axis in spec.batch_axes.items()), 1)


def sizes_of(spec: GraphSpec, inputs: Arrays) -> dict[str, int]:
    """The sizes of the dynamic axes in these inputs, by name."""
    return {
        axis_name: int(inputs[name].shape[axis]) for name, axes in spec.axes.items() for axis, axis_name in axes.items()
    }


def take_rows(spec: GraphSpec, inputs: Arrays, rows: slice | list[int]) -> dict[str, np.ndarray]:
    """Some rows of every batched input. Shared inputs stay whole."""
    on = spec.batch_axes
    return {name: array[(slice(None),) * on[name] + (rows,)] if name in on else array for name, array in inputs.items()}


def rows_first(axes: Mapping[str, int], arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays with their rows moved to axis 0."""
    return {name: np.moveaxis(array, axes[name], 0) if name in axes else array for name, array in arrays.items()}


def in_chunks(spec: GraphSpec, inputs: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """The rows in batches of at most the largest in the parity grid, to bound the memory."""
    step = max(spec.batches)
    for start in range(0, count_rows(spec, inputs), step):
        yield take_rows(spec, inputs, slice(start, start + step))


def _to_arrays(tensors: Mapping[str, "torch.Tensor"]) -> dict[str, np.ndarray]:
    return {name: to_array(tensor) for name, tensor in tensors.items()}


def to_array(tensor: "torch.Tensor") -> np.ndarray:
    """A tensor as an array of the same datatype. Raises SpecError for datatypes that NumPy lacks."""
    try:
        array: np.ndarray = tensor.detach().cpu().contiguous().numpy()
    except TypeError:
        raise SpecError(
            f"datatype {tensor.dtype} has no NumPy equivalent: cast the tensor, for example to float32"
        ) from None
    return array
