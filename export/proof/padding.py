"""Padding: values beyond a row's length must not change its answer.

Each row runs alone, cut to its length, and then in a batch with rows of other lengths and other values in its padding.
"""

import numpy as np

from export.errors import ParityError, SpecError
from export.inputs import count_rows, take_rows
from export.proof.comparison import NO_DIFFERENCE, compare
from export.runtime import Runtime
from export.spec import Arrays, GraphSpec
from model_store.golden import measure_magnitude

_ROWS = 17  # each of another length, so each is a run of its own


def check_padding(spec: GraphSpec, runtime: Runtime, inputs: Arrays, replacements: Arrays, case: str) -> None:
    """Raise ParityError, with the worst element, if padding changes an answer.

    ``replacements`` have the shapes of ``inputs`` and supply the values of the padding.
    """
    _check_lengths(spec, inputs, case)
    inputs, replacements = (take_rows(spec, arrays, slice(0, _ROWS)) for arrays in (inputs, replacements))
    batch = runtime.run_rows(_fill(spec, inputs, replacements))
    magnitudes = {name: measure_magnitude(array) for name, array in batch.items()}
    difference = NO_DIFFERENCE
    for row in range(count_rows(spec, inputs)):
        alone = runtime.run_rows(_cut(spec, inputs, row))
        for name, twice in alone.items():
            got = _cut_output(spec, name, twice[0], batch[name][row], case)
            atol = spec.atol + spec.scale_tol * magnitudes[name]
            # As a batch of one row, so that the worst element is shown at its place in the batch.
            difference = difference.join(compare(name, twice[:1], got[None], atol, spec.rtol, row))
    if difference.worst is not None:
        row = difference.worst.index[0]
        lengths = ", ".join(f"{name}={inputs[name][row]}" for name in dict.fromkeys(spec.padded.values()))
        raise ParityError(
            f"{spec.name}: padding changes answers: row {row} ({lengths}), with other values beyond its length and in "
            f"a batch of other lengths, differs from the row alone ({case}; worst element {difference.worst}): mask "
            "everything beyond the length wherever forward looks along that axis (backward recurrence, means, "
            "attention)",
            case,
            difference.worst,
        )


def _check_lengths(spec: GraphSpec, inputs: Arrays, case: str) -> None:
    for name, lengths in spec.padded.items():
        given, size = inputs[lengths], inputs[name].shape[spec.padded_axes[name]]
        if given.min() < 1 or given.max() > size:
            raise SpecError(
                f"{spec.name}: {lengths!r} ({case}): expected lengths from 1 to {size}, the size of {name!r}, got "
                f"{given.min()} to {given.max()}: give samples and random_inputs whose lengths fit"
            )


def _fill(spec: GraphSpec, inputs: Arrays, replacements: Arrays) -> dict[str, np.ndarray]:
    """The batch with the values of the replacements beyond the length of each row."""
    filled = {name: np.array(array) for name, array in inputs.items()}
    for name, lengths in spec.padded.items():
        axes = (spec.batch_axes[name], spec.padded_axes[name])
        beyond = np.arange(filled[name].shape[axes[1]]) >= inputs[lengths][:, None]
        others = [axis for axis in range(filled[name].ndim) if axis not in axes]
        beyond = beyond if axes[0] < axes[1] else beyond.T
        filled[name] = np.where(np.expand_dims(beyond, others), replacements[name], filled[name])
    return filled


def _cut(spec: GraphSpec, inputs: Arrays, row: int) -> dict[str, np.ndarray]:
    """One row without its padding, twice: a row alone is padded to two rows, see ``independence``."""
    alone = take_rows(spec, inputs, [row, row])
    for name, lengths in spec.padded.items():
        index = [slice(None)] * alone[name].ndim
        index[spec.padded_axes[name]] = slice(0, int(inputs[lengths][row]))
        alone[name] = alone[name][tuple(index)]
    return alone


def _cut_output(spec: GraphSpec, name: str, alone: np.ndarray, got: np.ndarray, case: str) -> np.ndarray:
    """The part of an output in a batch that the row alone has too. Outputs for padding have no meaning."""
    if alone.ndim != got.ndim or any(a > b for a, b in zip(alone.shape, got.shape, strict=True)):
        raise ParityError(
            f"{spec.name}: output {name!r} has the shape {alone.shape} for a row alone, {got.shape} in a batch "
            f"({case}): let its sizes follow the inputs",
            case,
        )
    return got[tuple(slice(0, size) for size in alone.shape)]
