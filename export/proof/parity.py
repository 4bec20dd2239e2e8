"""Parity: the exported graph computes what its PyTorch original computes, element by element, at every size.

It compares a grid of batch sizes, lengths and seeds, the real samples, and inputs beyond them. The worst element
decides.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from export.errors import ParityError, SpecError
from export.inputs import count_rows, lengths_of, make_random, real_samples, sizes_of, take_rows
from export.onnx.limits import Limits
from export.original import Original
from export.proof.domain.arithmetic import advise_on_integers
from export.proof.domain.combinations import narrow_together
from export.proof.domain.numbers import Bounds, bound_lengths, find_bounds
from export.proof.domain.sizes import find_most_rows, lengths_within, settle_sizes
from export.proof.domain.stretching import LARGE, POWERS, large_case, stretched_cases
from export.proof.independence import check_original_rows, check_rows
from export.proof.padding import check_padding
from export.proof.trial import Case, Outcome, Trial
from export.runtime import Runtime
from export.spec import BATCH, Arrays, GraphSpec, Progress
from model_store.graph import AxisRange, Graph
from model_store.manifest import Parity, ParityCase

_OTHER_SEED = 1_000_003  # added to a seed, for rows that are not in the grid
_UNSTABLE_SHARE = 0.02
"""The share of the grid's rows that rounding may decide, such as an index of two nearly equal scores."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found about a graph: its parity, and the sizes and integers that its inputs may have."""

    parity: Parity
    axis_ranges: Mapping[str, AxisRange] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    max_rows: int | None = None
    """The most rows of a batch, if the original has a limit."""


def prove_graph(original: Original, runtime: Runtime, graph: Graph, limits: Limits, progress: Progress) -> Proof:
    """Find which inputs the graph accepts, and check every case. Raises ParityError, DependentRows, SpecError."""
    original = _with_fewer_rows(original, limits.ranges.get(BATCH))
    with original.evaluating():
        trial = Trial(original, runtime)
        try:
            ranges = settle_sizes(trial, limits, progress)
        except ParityError:
            if original.spec.batched:  # dependent rows cause many other failures: report them first
                _check_independence(trial, runtime, progress)
                check_original_rows(original, *next(_make_row_cases(original.spec)))
            raise
        max_rows = find_most_rows(trial, limits)
        original = original.described_by(replace(original.spec, lengths=lengths_within(original.spec, ranges)))
        bounds: Mapping[str, Bounds] = narrow_together(original, find_bounds(original, _hints(graph)))
        if not original.spec.kinks:
            bounds = _bound_integers(Trial(original, runtime), bounds, progress)
    parity = check_parity(original, runtime, progress, bounds)
    return Proof(parity, ranges, {**bounds, **bound_lengths(original.spec, ranges)}, max_rows)


def _with_fewer_rows(original: Original, limit: AxisRange | None) -> Original:
    """Limit batches to the number of rows for which the graph is known to be right. Larger ones are tried later."""
    if limit is None or limit.largest is None:
        return original
    batches = dict.fromkeys(min(rows, limit.largest) for rows in original.spec.batches)
    return original.described_by(replace(original.spec, batches=tuple(batches)))


def _bound_integers(trial: Trial, bounds: Mapping[str, Bounds], progress: Progress) -> Mapping[str, Bounds]:
    """Limit integers that PyTorch accepts in any size, if the graph is right only for smaller ones."""
    for power in POWERS:
        case = large_case(trial.spec, bounds, power)
        if case is None or not any(None in limits for limits in bounds.values()):
            return bounds
        progress(f"integers up to 2^{power}")
        try:
            right = not trial.run(case).outside
        except (SpecError, ParityError):
            right = False
        if right and power == POWERS[0]:
            return bounds
        if right:
            progress(
                f"note: {trial.spec.name}: the graph is right for integers up to 2^{power}; larger ones are refused"
            )
            return {
                name: (-(2**power) if least is None else least, 2**power if largest is None else largest)
                for name, (least, largest) in bounds.items()
            }
    return bounds  # parity will report what is wrong


def _hints(graph: Graph) -> Mapping[str, tuple[int, int]]:
    return {
        tensor.name: (tensor.least, tensor.largest)
        for tensor in graph.inputs
        if tensor.least is not None and tensor.largest is not None
    }


def check_parity(
    original: Original, runtime: Runtime, progress: Progress, bounds: Mapping[str, Bounds] | None = None
) -> Parity:
    """Check every case. Raises ParityError at the first that fails, DependentRows if rows change each other.

    ``bounds`` are those of integer inputs.
    """
    spec = original.spec
    rungs = []
    with original.evaluating():
        trial = Trial(original, runtime)
        if spec.batched:
            _check_independence(trial, runtime, progress)
            check_original_rows(original, *next(_make_row_cases(spec)))
        budget = _Budget(spec)
        total = count_cases(spec)
        for number, case in enumerate(make_cases(spec), start=1):
            progress(f"parity with PyTorch: {number} of {total} ({case})")
            outcome = trial.run(case)
            if not budget.covers(outcome):
                raise trial.disagreement(case, outcome)
            rungs.append(_describe_case(case, outcome))
        stretched: list[ParityCase] = []
        if not spec.kinks and not spec.scale_tol:  # gradients and low precision are compared on ordinary inputs only
            stretched += _check_stretched(trial, runtime, bounds or {}, progress)
    return Parity(
        atol=spec.atol, rtol=spec.rtol, scale_tol=spec.scale_tol, rungs=tuple(rungs), stretched=tuple(stretched)
    )


class _Budget:
    """How many rows of the grid may still differ by more than the tolerance."""

    def __init__(self, spec: GraphSpec) -> None:
        rows = count_grid_rows(spec)
        self._outside = int(spec.kinks * rows)
        self._unstable = 1 + int(max(_UNSTABLE_SHARE, spec.kinks) * rows)

    def covers(self, outcome: Outcome) -> bool:
        self._outside -= outcome.outside
        self._unstable -= outcome.unstable
        return self._outside >= 0 and self._unstable >= 0


def _check_stretched(
    trial: Trial, runtime: Runtime, bounds: Mapping[str, Bounds], progress: Progress
) -> Iterator[ParityCase]:
    """Check each stretched case that the original accepts."""
    for case in stretched_cases(trial.spec, bounds):
        progress(f"parity with PyTorch: {case}")
        try:
            outcome = trial.run(case)
        except SpecError:
            continue  # the original itself refuses it
        if outcome.outside:
            large = case.source == LARGE
            raise _explain_large(trial, runtime, case, outcome) if large else trial.disagreement(case, outcome)
        yield _describe_case(case, outcome)


def _explain_large(trial: Trial, runtime: Runtime, case: Case, outcome: Outcome) -> ParityError:
    worst = outcome.difference.worst
    names = ", ".join(repr(name) for name in trial.spec.inputs if case.inputs[name].dtype.kind in "iu")
    return ParityError(
        f"{trial.spec.name}: the exported graph loses digits of large integers in {names} ({case}; worst element "
        f"{worst}): {advise_on_integers(runtime.content)}; or set ranges, if the numbers are never that large",
        str(case),
        worst,
    )


def _describe_case(case: Case, outcome: Outcome) -> ParityCase:
    absolute, relative = outcome.difference.max_abs, outcome.difference.max_rel
    return ParityCase(
        rows=case.rows,
        seed=case.seed,
        inputs=case.source,
        max_abs_error=absolute if math.isfinite(absolute) else 0.0,
        max_rel_error=relative if math.isfinite(relative) else 0.0,
    )


def make_cases(spec: GraphSpec) -> Iterator[Case]:
    """The grid (lengths x batch sizes x seeds), then all real samples. Without a batch there is one size."""
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


def _check_independence(trial: Trial, runtime: Runtime, progress: Progress) -> None:
    spec = trial.spec
    for rows, replacements, case in _make_row_cases(spec):
        progress(f"rows alone and in batches: {case}")
        trial.original.run_rows(rows)  # if the original fails, the graph is not to blame
        check_rows(trial, runtime, rows, replacements, case)
        if spec.padded:
            progress(f"rows without and with padding: {case}")
            check_padding(spec, runtime, rows, replacements, case)


def _make_row_cases(spec: GraphSpec) -> Iterator[tuple[Arrays, Arrays, str]]:
    """``(rows, other rows of the same sizes, case)`` for each set of lengths, and for the samples."""
    seed = spec.seeds[0]
    for lengths in lengths_of(spec):
        sizes = {BATCH: max(spec.batches), **lengths}
        case = ", ".join([f"seed={seed}", "inputs=random", *(f"{name}={size}" for name, size in lengths.items())])
        yield make_random(spec, sizes, seed), make_random(spec, sizes, seed + _OTHER_SEED), case
    samples = real_samples(spec)
    if samples is not None and count_rows(spec, samples) > 1:
        rows = take_rows(spec, samples, slice(0, max(spec.batches)))
        yield rows, make_random(spec, sizes_of(spec, rows), seed + _OTHER_SEED), "inputs=samples"
