"""One case of parity: the same inputs through the original and the exported graph, element by element."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.errors import ExportError, ParityError
from export.inputs import count_rows, in_chunks, make_random, real_samples
from export.original import Original
from export.proof.comparison import NO_DIFFERENCE, Difference, compare, count_outside
from export.proof.rounding import measure_rounding
from export.runtime import Runtime
from export.spec import BATCH, Arrays
from model_store.golden import measure_magnitude

_UNSTABLE = 0.02
"""A share of an output's largest magnitude, about two steps of 8 bits. Rounding may move only a few rows by more than
this: see ``Outcome.unstable``."""

_ALL = sys.maxsize  # more rows than any budget allows


@dataclass(frozen=True, slots=True)
class Case:
    """The inputs of one case. ``source`` is ``random``, with lengths if there are any, or ``samples``.

    ``stretched``: the numbers go beyond those for which the model is made; nothing is compared where the original gives
    no finite number. ``ties``: many values are equal, as in saturated scores, so several indices are right.
    ``scale``: the factor by which the numbers are larger, and so their errors.
    """

    rows: int
    seed: int
    source: str
    inputs: Arrays
    stretched: bool = False
    ties: bool = False
    scale: float = 1.0

    def __str__(self) -> str:
        return f"rows={self.rows}, seed={self.seed}, inputs={self.source}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The worst difference of a case, and the number of rows with an element outside its tolerance.

    ``unstable`` rows are within their tolerance only because rounding moves them by more than a fiftieth of the largest
    magnitude.
    """

    difference: Difference
    outside: int = 0
    unstable: int = 0


class Trial:
    """Compares a graph with its original. Use it inside ``original.evaluating()``."""

    def __init__(self, original: Original, runtime: Runtime) -> None:
        self.original = original
        self.spec = original.spec
        self._runtime = runtime
        self._atol = self._find_tolerances()

    def _find_tolerances(self) -> Mapping[str, float]:
        """The absolute tolerance of each output: ``atol``, plus a share of the largest magnitude over the samples.

        Without samples, the magnitude is that over the largest random batch.
        """
        spec = self.spec
        if not spec.scale_tol:
            return dict.fromkeys(spec.outputs, spec.atol)
        inputs = real_samples(spec)
        if inputs is None:
            inputs = make_random(spec, {**spec.example_sizes, BATCH: max(spec.batches)}, spec.seeds[0])
        largest = dict.fromkeys(spec.outputs, 0.0)
        for chunk in in_chunks(spec, inputs):
            for name, output in self.original.run(chunk).items():
                largest[name] = max(largest[name], measure_magnitude(output))
        return {name: spec.atol + spec.scale_tol * magnitude for name, magnitude in largest.items()}

    def run(self, case: Case, whole: bool = False) -> Outcome:
        """Run and compare a case. Raises SpecError if the original fails, ParityError if the graph fails or gives other
        shapes.

        ``whole``: all rows in one batch.
        """
        found = Outcome(NO_DIFFERENCE)
        first_row = 0
        for chunk in [case.inputs] if whole else in_chunks(self.spec, case.inputs):
            expected = self.original.run(chunk)
            try:
                got = self._runtime.run(chunk)
            except ExportError as error:
                raise ParityError(f"{self.spec.name}: case {case}: {error}", str(case)) from error
            part = self._compare(case, chunk, expected, got, first_row)
            found = Outcome(
                found.difference.join(part.difference), found.outside + part.outside, found.unstable + part.unstable
            )
            first_row += count_rows(self.spec, chunk)
        return found

    def _compare(self, case: Case, inputs: Arrays, expected: Arrays, got: Arrays, first_row: int) -> Outcome:
        for name in self.spec.outputs:
            self._check_form(case, name, expected[name], got[name], first_row)
        if case.stretched:
            expected, got = _keep_finite(expected, got)
        difference = self._measure(case, expected, got, first_row)
        if difference.worst is None:
            return Outcome(difference)
        rounding = measure_rounding(self.original, inputs, case.ties)
        few = {name: np.minimum(rounding[name], self._most_rounding(expected[name])) for name in rounding}
        outside = self._count(case, expected, got, rounding)
        if outside and any(self._is_beyond(expected[name], got[name]) for name in self.spec.outputs):
            outside = _ALL
        difference = self._measure(case, expected, got, first_row, rounding if outside else few)
        return Outcome(difference, outside, self._count(case, expected, got, few))

    def _is_beyond(self, expected: np.ndarray, got: np.ndarray) -> bool:
        """Whether an element differs by more than rounding at a kink can explain."""
        if math.isinf(self.spec.kink_tol):
            return False
        return count_outside(expected, got, self.spec.kink_tol * measure_magnitude(expected), self.spec.rtol) > 0

    def _measure(
        self, case: Case, expected: Arrays, got: Arrays, first_row: int, rounding: Arrays | None = None
    ) -> Difference:
        found = NO_DIFFERENCE
        for name in self.spec.outputs:
            also = 0.0 if rounding is None else rounding[name]
            part = compare(
                name, expected[name], got[name], self._atol[name] * case.scale, self.spec.rtol, first_row, also
            )
            found = found.join(part)
        return found

    def _count(self, case: Case, expected: Arrays, got: Arrays, rounding: Arrays) -> int:
        return max(
            count_outside(expected[name], got[name], self._atol[name] * case.scale, self.spec.rtol, rounding[name])
            for name in self.spec.outputs
        )

    @staticmethod
    def _most_rounding(expected: np.ndarray) -> float:
        return _UNSTABLE * measure_magnitude(expected) if expected.dtype.kind == "f" else 0.0

    def _check_form(self, case: Case, name: str, expected: np.ndarray, got: np.ndarray, first_row: int) -> None:
        if expected.shape != got.shape or expected.dtype != got.dtype:
            raise ParityError(
                f"{self.spec.name}: output {name!r} at {case}: expected {expected.dtype} {expected.shape}, got "
                f"{got.dtype} {got.shape}: the graph fixes a size, or loses a type; take sizes from tensor.shape and "
                "cast explicitly",
                str(case),
            )
        if not case.stretched:
            for array, whose in ((expected, "the PyTorch original"), (got, "the exported graph")):
                self._refuse_not_finite(case, name, array, whose, first_row)

    def _refuse_not_finite(self, case: Case, name: str, array: np.ndarray, whose: str, first_row: int) -> None:
        if array.dtype.kind != "f" or np.isfinite(array).all():
            return
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        shown = [index[0] + first_row, *index[1:]] if index else []
        raise ParityError(
            f"{self.spec.name}: {whose} gives {array[index]} at {name}{shown} ({case}): guard the division or "
            "logarithm that makes it with clamp(min=1e-7) (the exporter drops x + 1e-8), or give inputs of the kind "
            "that the model was trained on",
            str(case),
        )

    def disagreement(self, case: Case, outcome: Outcome) -> ParityError:
        worst = outcome.difference.worst
        return ParityError(
            f"{self.spec.name}: the exported graph disagrees with PyTorch at {case}; worst element {worst}: find what "
            "behaves differently in the export (torch.compiler.is_exporting(), sizes as numbers, x + 1e-8), or widen "
            "atol and rtol if the difference is rounding",
            str(case),
            worst,
        )


def _keep_finite(expected: Arrays, got: Arrays) -> tuple[Arrays, Arrays]:
    """Both arrays with zeros where the original gives no number."""
    kept = {name: np.isfinite(array) if array.dtype.kind == "f" else True for name, array in expected.items()}
    return (
        {name: np.where(kept[name], array, np.zeros_like(array)) for name, array in expected.items()},
        {name: np.where(kept[name], got[name], np.zeros_like(got[name])) for name in expected},
    )
