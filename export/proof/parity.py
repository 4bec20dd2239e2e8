"""Parity: the exported graph computes what its PyTorch original computes, element by element, at every size.

A grid of batch sizes, lengths and seeds, and the real samples; the worst element over everything decides.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from export.errors import Element, ExportError, ParityError
from export.inputs import count_rows, in_chunks, lengths_of, make_random, real_samples, sizes_of, take_rows
from export.original import Original
from export.proof.comparison import NO_DIFFERENCE, Difference, compare, count_outside
from export.proof.independence import check_original_rows, check_rows
from export.proof.padding import check_padding
from export.runtime import Runtime
from export.spec import BATCH, Arrays, GraphSpec, Progress
from model_store.golden import measure_magnitude
from model_store.manifest import Parity, ParityCase

_STRANGERS = 1_000_003  # added to a seed: rows that are none of the grid's


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs of one case. ``source`` is ``random``, with the lengths where there are any, or ``samples``."""

    rows: int
    seed: int
    source: str
    inputs: Arrays

    def __str__(self) -> str:
        return f"rows={self.rows}, seed={self.seed}, inputs={self.source}"


def check_parity(original: Original, runtime: Runtime, progress: Progress) -> Parity:
    """Check every case. Raises ParityError at the first that fails, DependentRows where rows change each other."""
    spec = original.spec
    if spec.batched:
        _check_independence(spec, runtime, progress)
    rungs = []
    with original.evaluating():
        if spec.batched:
            check_original_rows(original, *next(_make_companies(spec)))
        atol = _tolerances(original)
        total = count_cases(spec)
        spare = int(spec.kinks * count_grid_rows(spec))
        for number, case in enumerate(make_cases(spec), start=1):
            progress(f"parity with PyTorch: {number} of {total} ({case})")
            difference, outside = _climb(original, runtime, case, atol)
            spare -= outside
            if spare < 0 and difference.worst is not None:
                raise _disagreement(spec, case, difference.worst)
            rungs.append(
                ParityCase(
                    rows=case.rows,
                    seed=case.seed,
                    inputs=case.source,
                    max_abs_error=difference.max_abs,
                    max_rel_error=difference.max_rel,
                )
            )
    return Parity(atol=spec.atol, rtol=spec.rtol, scale_tol=spec.scale_tol, rungs=tuple(rungs))


def make_cases(spec: GraphSpec) -> Iterator[Case]:
    """The grid: lengths x batch sizes x seeds, then all real samples. A graph of fixed batch has one size."""
    for lengths in lengths_of(spec):
        source = " ".join(["random", *(f"{name}={size}" for name, size in lengths.items())])
        for rows in spec.batches if spec.batched else (1,):
            sizes = {BATCH: rows, **lengths} if spec.batched else lengths
            for seed in spec.seeds:
                yield Case(rows, seed, source, make_random(spec, sizes, seed))
    samples = real_samples(spec)
    if samples is not None:
        yield Case(count_rows(spec, samples), spec.seed or 0, "samples", samples)


def count_cases(spec: GraphSpec) -> int:
    batches = len(spec.batches) if spec.batched else 1
    return len(lengths_of(spec)) * batches * len(spec.seeds) + (spec.samples is not None)


def count_grid_rows(spec: GraphSpec) -> int:
    """The rows of the whole grid."""
    samples = real_samples(spec)
    batches = sum(spec.batches) if spec.batched else 1
    return len(lengths_of(spec)) * batches * len(spec.seeds) + (count_rows(spec, samples) if samples else 0)


def _tolerances(original: Original) -> Mapping[str, float]:
    """The absolute tolerance of each output: ``atol``, and a share of the largest magnitude over the samples.

    Without samples the magnitude is that over the largest random batch.
    """
    spec = original.spec
    if not spec.scale_tol:
        return dict.fromkeys(spec.outputs, spec.atol)
    inputs = real_samples(spec)
    if inputs is None:
        inputs = make_random(spec, {**spec.example_sizes, BATCH: max(spec.batches)}, spec.seeds[0])
    largest = dict.fromkeys(spec.outputs, 0.0)
    for chunk in in_chunks(spec, inputs):
        for name, output in original.run(chunk).items():
            largest[name] = max(largest[name], measure_magnitude(output))
    return {name: spec.atol + spec.scale_tol * magnitude for name, magnitude in largest.items()}


def _climb(original: Original, runtime: Runtime, case: Case, atol: Mapping[str, float]) -> tuple[Difference, int]:
    """The difference of one case, and how many of its rows have an element outside the tolerance."""
    spec = original.spec
    difference = NO_DIFFERENCE
    first_row = outside = 0
    for chunk in in_chunks(spec, case.inputs):
        try:
            got = runtime.run(chunk)
        except ExportError as error:
            raise ParityError(f"{spec.name}: case {case}: {error}", str(case)) from error
        expected = original.run(chunk)
        found = _compare_all(spec, case, expected, got, first_row, atol)
        if found.worst is not None:
            outside += max(count_outside(expected[n], got[n], atol[n], spec.rtol) for n in spec.outputs)
            if any(_is_beyond(spec, expected[n], got[n]) for n in spec.outputs):
                outside = count_grid_rows(spec) + 1
        difference = difference.join(found)
        first_row += count_rows(spec, chunk)
    return difference, outside


def _is_beyond(spec: GraphSpec, expected: np.ndarray, got: np.ndarray) -> bool:
    """Whether an element differs by more than rounding at a kink can do."""
    if math.isinf(spec.kink_tol):
        return False
    return count_outside(expected, got, spec.kink_tol * measure_magnitude(expected), spec.rtol) > 0


def _disagreement(spec: GraphSpec, case: Case, worst: Element) -> ParityError:
    return ParityError(
        f"{spec.name}: the exported graph disagrees with PyTorch at {case}; worst element {worst}: find what behaves "
        "differently in the export (torch.compiler.is_exporting(), sizes as numbers, x + 1e-8), or widen atol and rtol "
        "if the difference is rounding",
        str(case),
        worst,
    )


def _compare_all(
    spec: GraphSpec, case: Case, expected: Arrays, got: Arrays, first_row: int, atol: Mapping[str, float]
) -> Difference:
    difference = NO_DIFFERENCE
    for name in spec.outputs:
        e, g = expected[name], got[name]
        if e.shape != g.shape or e.dtype != g.dtype:
            raise ParityError(
                f"{spec.name}: output {name!r} at {case}: expected {e.dtype} {e.shape}, got {g.dtype} {g.shape}: a "
                "size is baked into the graph, or a type is lost; take sizes from tensor.shape and cast explicitly",
                str(case),
            )
        for array, whose in ((e, "the PyTorch original"), (g, "the exported graph")):
            _refuse_not_finite(spec, case, name, array, whose, first_row)
        difference = difference.join(compare(name, e, g, atol[name], spec.rtol, first_row))
    return difference


def _refuse_not_finite(spec: GraphSpec, case: Case, name: str, array: np.ndarray, whose: str, first_row: int) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    shown = [index[0] + first_row, *index[1:]] if index else []
    raise ParityError(
        f"{spec.name}: {whose} gives {array[index]} at {name}{shown} ({case}): guard the division or logarithm that "
        "makes it with clamp(min=1e-7) (the exporter drops x + 1e-8), or give inputs that the model is meant for",
        str(case),
    )


def _check_independence(spec: GraphSpec, runtime: Runtime, progress: Progress) -> None:
    for rows, strangers, case in _make_companies(spec):
        progress(f"rows alone and in company: {case}")
        check_rows(spec, runtime, rows, strangers, case)
        if spec.padded:
            progress(f"rows without and with padding: {case}")
            check_padding(spec, runtime, rows, strangers, case)


def _make_companies(spec: GraphSpec) -> Iterator[tuple[Arrays, Arrays, str]]:
    """``(rows, others of the same sizes, case)`` for each set of lengths, and for the samples."""
    seed = spec.seeds[0]
    for lengths in lengths_of(spec):
        sizes = {BATCH: max(spec.batches), **lengths}
        case = ", ".join([f"seed={seed}", "inputs=random", *(f"{name}={size}" for name, size in lengths.items())])
        yield make_random(spec, sizes, seed), make_random(spec, sizes, seed + _STRANGERS), case
    samples = real_samples(spec)
    if samples is not None and count_rows(spec, samples) > 1:
        rows = take_rows(spec, samples, slice(0, max(spec.batches)))
        yield rows, make_random(spec, sizes_of(spec, rows), seed + _STRANGERS), "inputs=samples"
