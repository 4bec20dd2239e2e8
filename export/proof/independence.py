"""Independence: other rows in the batch do not change a row's answer.

ONNX Runtime is compared with itself in two ways:
- A row must keep its exact bits when all other rows are replaced and its place and the batch size stay the same.
  Nothing else changes, so any difference is caused by the other rows.
- A row run alone must equal the same row in every batch size of the grid, except for rounding. "Alone" means padded to
  two rows, because kernels sum in another order for a single row.
"""

from collections.abc import Callable, Mapping

import numpy as np

from export.errors import DependentRows, Element
from export.inputs import count_rows, lengths_of, take_rows
from export.original import Original
from export.proof.comparison import Rounding, measure_error
from export.proof.rounding import measure_rounding
from export.proof.trial import Trial
from export.runtime import Runtime
from export.spec import Arrays, GraphSpec
from model_store.golden import measure_magnitude

_ORIGINAL_ROWS = 5  # few, because PyTorch is slower and the graph was checked already
_NEIGHBOURHOOD_ROWS = 17  # the cost grows with the square; above the vector widths and no multiple of them


def check_rows(trial: Trial, runtime: Runtime, inputs: Arrays, replacements: Arrays, case: str) -> None:
    """Raise DependentRows, which names the rows that change and the rows that cause it.

    ``inputs`` has 2 rows or more. ``replacements`` has as many other rows of the same sizes. Shared inputs come from
    ``inputs``.
    """
    spec, few = trial.spec, slice(0, _NEIGHBOURHOOD_ROWS)
    _check_neighbours(spec, runtime.run_rows, take_rows(spec, inputs, few), take_rows(spec, replacements, few), case)
    _check_sizes(trial, runtime, inputs, case)


def count_runs(spec: GraphSpec) -> int:
    """About how many rows ``check_rows`` runs over all lengths. It grows with the square of the neighbours."""
    most = max(spec.batches)
    few = min(most, _NEIGHBOURHOOD_ROWS)
    return len(lengths_of(spec)) * (few + few**2 + 2 * most + sum(spec.batches))


def check_original_rows(original: Original, inputs: Arrays, replacements: Arrays, case: str) -> None:
    """The same check of the module itself, for faults that an export hides, such as a training mode that stays on.

    Raises DependentRows if rows influence each other by more than the tolerance for the graph.
    """
    spec, few = original.spec, slice(0, _ORIGINAL_ROWS)
    inputs, replacements = take_rows(spec, inputs, few), take_rows(spec, replacements, few)
    magnitudes = {name: measure_magnitude(array) for name, array in original.run_rows(inputs).items()}
    allowed = {name: spec.atol + spec.rtol * magnitude for name, magnitude in magnitudes.items()}
    _check_neighbours(spec, original.run_rows, inputs, replacements, f"in PyTorch, {case}", allowed)


def _check_neighbours(
    spec: GraphSpec,
    run: Callable[[Arrays], dict[str, np.ndarray]],
    inputs: Arrays,
    replacements: Arrays,
    case: str,
    allowed: Mapping[str, float] | None = None,
) -> None:
    rows = range(count_rows(spec, inputs))
    before = run(inputs)

    def find_change(row: int, replaced: list[int]) -> Element | None:
        after = run(_replace(spec, inputs, replacements, replaced))
        return _find_worst(before, after, row, row, allowed)

    found = {row: find_change(row, [other for other in rows if other != row]) for row in rows}
    changed = [row for row, worst in found.items() if worst is not None]
    if not changed:
        return
    row = changed[0]
    others = [other for other in rows if other != row]
    causes = [other for other in others if find_change(row, [other]) is not None] or others
    raise DependentRows(
        f"{spec.name}: rows influence each other: row {row} changes with {_name_rows(causes)}; of {len(rows)} rows, "
        f"{_name_rows(changed)} change with their neighbours ({case}; {found[row]}): compute nothing across the batch "
        "(BatchNorm with batch statistics, or attention, means or sorting over the batch)",
        case,
        tuple(changed),
        found[row],
    )


def _replace(spec: GraphSpec, inputs: Arrays, replacements: Arrays, rows: list[int]) -> dict[str, np.ndarray]:
    """The batch with the given rows replaced."""
    replaced = {name: np.array(array) for name, array in inputs.items()}
    for name, axis in spec.batch_axes.items():
        np.moveaxis(replaced[name], axis, 0)[rows] = np.moveaxis(replacements[name], axis, 0)[rows]
    return replaced


def _check_sizes(trial: Trial, runtime: Runtime, inputs: Arrays, case: str) -> None:
    spec = trial.spec
    count = count_rows(spec, inputs)
    alone = [runtime.run_rows(take_rows(spec, inputs, [row, row])) for row in range(count)]
    allowed = _allow_declared(spec, alone)
    rounding: Arrays | None = None
    for size in sorted({min(size, count) for size in spec.batches if size > 1}):
        batch = runtime.run_rows(take_rows(spec, inputs, slice(0, size)))
        found = {row: _find_worst(alone[row], batch, 0, row, allowed) for row in range(size)}
        if spec.row_atol is None and any(found.values()):
            rounding = measure_rounding(trial.original, inputs) if rounding is None else rounding
            limits = [{name: array[row] for name, array in rounding.items()} for row in range(size)]
            found = {row: _find_worst(alone[row], batch, 0, row, limits[row]) for row in range(size)}
        changed = [row for row, worst in found.items() if worst is not None]
        if changed:
            worst = max((found[row] for row in changed), key=lambda element: element.excess if element else 0.0)
            raise DependentRows(
                f"{spec.name}: {_name_rows(changed)} of {size} differ from the same rows run alone ({case}; {worst}): "
                "a row must not depend on the number of rows or on its place; if the difference is rounding, allow "
                "it with row_atol",
                case,
                tuple(changed),
                worst,
            )


def _allow_declared(spec: GraphSpec, alone: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """How much a row alone may differ, for each output: not at all unless the spec allows it."""
    allowed = {}
    for name in alone[0]:
        magnitude = max(measure_magnitude(one[name][0]) for one in alone) if spec.scale_tol else 0.0
        allowed[name] = (spec.row_atol or 0.0) + spec.scale_tol * magnitude
    return allowed


def _find_worst(
    before: Arrays, after: Arrays, row_before: int, row_after: int, allowed: Mapping[str, Rounding] | None = None
) -> Element | None:
    """The element of a row that differs most between two runs, or None if none differs by more than is allowed.

    ``allowed`` is one number for an output, or one for each element of the row.
    """
    worst, largest = None, 0.0
    for name in before:
        expected, got = before[name][row_before], after[name][row_after]
        if expected.shape != got.shape:  # for example, a loop that stops at the longest row of the batch
            return Element(name, (row_after,), float(expected.size), float(got.size), 0.0)
        error = measure_error(np.atleast_1d(expected), np.atleast_1d(got))
        limit = np.broadcast_to(allowed[name] if allowed else 0.0, error.shape)
        with np.errstate(invalid="ignore"):  # infinity may be allowed
            excess = np.where(error > limit, error - limit, 0.0)
        if error.size == 0 or excess.max() <= largest:
            continue
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), error.shape))
        index = place if np.ndim(expected) else ()
        largest = float(excess.max())
        worst = Element(name, (row_after, *index), float(expected[index]), float(got[index]), float(limit[place]))
    return worst


def _name_rows(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:8]) + (", …" if len(rows) > 8 else "")
    return f"row {shown}" if len(rows) == 1 else f"rows {shown}"
