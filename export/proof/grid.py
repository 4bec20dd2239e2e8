"""Chooses the cases of parity that the spec does not set, by the cost of a row."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from export.errors import NotPublished
from export.inputs import lengths_of, make_random
from export.original import Original
from export.proof.independence import count_runs
from export.proof.parity import count_grid_rows
from export.runtime import Runtime
from export.spec import BATCH, BATCHES, SEEDS, GraphSpec, Progress

_BUDGET_S = 60.0
"""The time for one graph without its real samples. The whole grid would take four minutes for a Whisper encoder."""
_SMALLER: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    (BATCHES, SEEDS),
    ((1, 2, 3, 17), SEEDS),
    ((1, 2, 3, 17), SEEDS[:1]),
    ((1, 2, 3, 5), SEEDS[:1]),
    ((1, 2, 3), SEEDS[:1]),
)
"""Batches and seeds, from the most to the fewest."""


def fit_grid(original: Original, runtime: Runtime, progress: Progress) -> Original:
    """The original with batches, seeds and lengths that fit the budget, where the spec does not set them.

    ``progress`` receives a note if these are fewer than usual.
    """
    spec = original.spec
    if not _is_open(spec):
        return original
    progress("cost of a row")
    try:
        torch_s, graph_s = _measure(original, runtime)
    except NotPublished:
        return original  # parity will report it with its case
    for chosen in _choices(spec):
        expected_s = count_grid_rows(chosen) * (torch_s + graph_s) + count_runs(chosen) * graph_s
        if expected_s <= _BUDGET_S:
            break
    if chosen is spec:
        return original
    progress(
        f"note: {spec.name}: a row takes {torch_s:.2g} s in PyTorch and {graph_s:.2g} s in ONNX Runtime, so it is "
        f"compared in batches of {_join(chosen.batches)}, with seeds {_join(chosen.seeds)}{_tell_lengths(chosen)}: "
        "set batches, seeds or lengths to change that"
    )
    return original.described_by(chosen)


def _is_open(spec: GraphSpec) -> bool:
    """Whether the spec leaves batches or seeds at the default. An equal value that the user gave does not count."""
    return bool(spec.batched) and (spec.batches is BATCHES or spec.seeds is SEEDS)


def _choices(spec: GraphSpec) -> Iterator[GraphSpec]:
    """The spec itself, then specs with fewer and fewer cases."""
    yield spec
    fields: dict[str, Any] = {}
    for batches, seeds in _SMALLER[1:]:
        fields = {} if spec.batches is not BATCHES else {"batches": batches}
        fields |= {} if spec.seeds is not SEEDS else {"seeds": seeds}
        yield replace(spec, **fields)
    lengths = lengths_of(spec)
    if spec.lengths is None and len(lengths) > 1:
        shortest = sorted(lengths, key=lambda sizes: sum(sizes.values()))[:2]
        yield replace(spec, **fields, lengths=tuple(shortest))


def _measure(original: Original, runtime: Runtime) -> tuple[float, float]:
    """Seconds for one row of the example's sizes in PyTorch and in ONNX Runtime; the better of two runs."""
    spec = original.spec
    inputs = make_random(spec, {**spec.example_sizes, BATCH: 1}, spec.seeds[0])
    found = []
    with original.evaluating():
        for run in (original.run, runtime.run):
            times = []
            for _ in range(2):
                began = time.perf_counter()
                run(inputs)
                times.append(time.perf_counter() - began)
            found.append(min(times))
    return found[0], found[1]


def _join(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _tell_lengths(spec: GraphSpec) -> str:
    if spec.lengths is None:
        return ""
    shown = (" ".join(f"{name}={size}" for name, size in sizes.items()) for sizes in spec.lengths)
    return f", at {' and '.join(shown)}"
