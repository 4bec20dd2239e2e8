"""Finds the sizes of its free axes at which a graph is right. The least and the largest are tried; the server refuses
all sizes outside that range.

The least size is 1 unless torch.export, the spec or PyTorch says otherwise. If a graph differs from its original at
size 1 only, it is published for size 2 and more, with a note: exporters trace what happens for two or more, and
``forward`` may treat a single step differently.
"""

import math
import time
from collections.abc import Mapping, Sequence

from export.errors import DependentRows, NotPublished, ParityError, SpecError
from export.inputs import lengths_of, make_random
from export.onnx.limits import Guard, Limits
from export.proof.trial import Case, Trial
from export.spec import BATCH, GraphSpec, Progress, Sizes
from model_store.graph import AxisRange

_ROWS = 2
_LONGEST_RUN_S = 20.0
"""A size is not tried if its run would take longer, assuming that time grows with the square of the size."""
_MOST_ELEMENTS = 2**23
"""A size is not tried if the inputs, or an attention matrix over one of the axes, would have more elements."""


class _Wrong(Exception):
    """The graph differs from the original; ``error`` says where."""

    def __init__(self, error: ParityError) -> None:
        super().__init__(str(error))
        self.error = error


def settle_sizes(trial: Trial, limits: Limits, progress: Progress) -> Mapping[str, AxisRange]:
    """The sizes that each free axis may have, except the batch. Raises ParityError if the graph is wrong.

    ``progress`` receives each size that is tried, and a note if the graph's least size is above that of the module.
    """
    spec = trial.spec
    tried = _Sizes(trial, progress)
    names = sorted({name for axes in spec.axes.values() for name in axes.values()} - {BATCH})
    ranges: dict[str, AxisRange] = {}
    if names:
        tried.expect(spec.example_sizes)
    for name in names:
        given = spec.bounds.get(name)
        limit = limits.ranges.get(name, AxisRange())
        _check_asked(spec, name, limit)
        known = limit & AxisRange(least=given[0], largest=given[1]) if given else limit
        known = _without_idle_factor(tried, name, known)
        ranges[name] = AxisRange(
            least=_find_least(tried, name, known, given is not None, progress),
            largest=_find_largest(tried, name, known, given is not None),
            multiple_of=known.multiple_of,
        )
    for guard in limits.guards:
        ranges |= _check_guard(tried, guard, ranges)
    return ranges


def lengths_within(spec: GraphSpec, ranges: Mapping[str, AxisRange]) -> tuple[Sizes, ...]:
    """The sizes for parity. Raises SpecError if the spec asks for sizes that the graph does not support."""
    found: list[Sizes] = []
    for sizes in lengths_of(spec):
        fitting = {name: _fit(size, ranges.get(name, AxisRange())) for name, size in sizes.items()}
        if spec.lengths is not None and fitting != dict(sizes):
            raise SpecError(
                f"{spec.name}: lengths: the exported graph holds for {_show(ranges)} only, got {dict(sizes)}: leave it "
                "out, or change the decision of forward by that size"
            )
        if fitting not in found:
            found.append(fitting)
    return tuple(found)


def _fit(size: int, limit: AxisRange) -> int:
    step = limit.multiple_of
    size = max(size, limit.least or 1)
    size = size if limit.largest is None else min(size, limit.largest)
    fitting = size // step * step
    return fitting if fitting >= (limit.least or 1) else fitting + step


def _show(ranges: Mapping[str, AxisRange]) -> str:
    return " and ".join(f"a size of {name!r} {limit}" for name, limit in ranges.items())


def _check_asked(spec: GraphSpec, name: str, limit: AxisRange) -> None:
    for size in [*spec.bounds.get(name, ()), *(sizes[name] for sizes in spec.lengths or ())]:
        if size is not None and not limit.allows(size):
            raise SpecError(
                f"{spec.name}: bounds or lengths ask for {name} = {size}, but forward takes another branch there: "
                f"torch.export found that the graph holds for a size {limit} only: ask for fewer sizes, or use "
                "torch.where or torch.cond instead of a Python decision"
            )


class _Sizes:
    """Compares the graph with its original at given sizes, and remembers the results."""

    def __init__(self, trial: Trial, progress: Progress) -> None:
        self.trial = trial
        self.example = trial.spec.example_sizes
        self._progress = progress
        self._known: dict[tuple[tuple[str, int], ...], Exception | None] = {}
        self._example_s = 0.0

    def takes(self, sizes: Sizes) -> bool:
        """Whether the original accepts these sizes. Raises _Wrong if the graph differs from it."""
        full = {**{name: _ROWS if name == BATCH else size for name, size in self.example.items()}, **sizes}
        key = tuple(sorted(full.items()))
        if key not in self._known:
            self._known[key] = self._try(full)
        error = self._known[key]
        if isinstance(error, ParityError):
            raise _Wrong(error)
        return error is None

    def expect(self, sizes: Sizes) -> None:
        """Raise ParityError unless the graph is right there, and SpecError if the original fails."""
        try:
            taken = self.takes(sizes)
        except _Wrong as wrong:
            raise wrong.error from None
        if not taken:
            raise next(error for error in self._known.values() if error is not None)

    def is_too_large(self, sizes: Sizes) -> bool:
        """Whether a trial at these sizes would take too much time or memory."""
        if not self._example_s:
            began = time.perf_counter()
            self._try(self.example)
            self._example_s = time.perf_counter() - began
        times = 1.0
        for name, size in sizes.items():
            times *= max(1.0, size / self.example[name]) ** 2
        full = {**self.example, **sizes}
        elements = [size**2 for name, size in sizes.items() if name != BATCH]
        for name, tensor in self.trial.spec.inputs.items():
            axes = self.trial.spec.axes[name]
            elements.append(math.prod(full[axes[at]] if at in axes else size for at, size in enumerate(tensor.shape)))
        return times * self._example_s > _LONGEST_RUN_S or max(elements, default=0) > _MOST_ELEMENTS

    def _try(self, sizes: Sizes) -> Exception | None:
        spec = self.trial.spec
        lengths = {name: size for name, size in sizes.items() if name != BATCH}
        source = " ".join(["random", *(f"{name}={size}" for name, size in lengths.items())])
        self._progress(f"sizes: {source}")
        try:
            inputs = make_random(spec, sizes, spec.seeds[0])
        except NotPublished as error:
            return error
        except Exception as error:  # noqa: BLE001  # random_inputs of the spec may not support these sizes
            return SpecError(f"{spec.name}: random_inputs for {dict(sizes)}: {type(error).__name__}: {error}")
        try:
            case = Case(sizes.get(BATCH, 1), spec.seeds[0], source, inputs)
            outcome = self.trial.run(case, whole=True)
        except (SpecError, ParityError) as error:
            return error
        # At a kink a gradient may differ; the grid counts how many do.
        return self.trial.disagreement(case, outcome) if outcome.outside and not spec.kinks else None


def _find_least(tried: _Sizes, name: str, known: AxisRange, is_asked: bool, progress: Progress) -> int:
    spec = tried.trial.spec
    least = _fit(known.least or 1, known)
    try:
        if tried.takes({name: least}):
            return least
        if is_asked:
            tried.expect({name: least})
        least = _bisect(tried, name, least, min(_known_sizes(spec, name)), known.multiple_of)
        tried.takes({name: least})
    except _Wrong as wrong:
        if least > 1 or is_asked:
            raise wrong.error from None
        tried.expect({name: 2})
        progress(
            f"note: {spec.name}: the graph differs from PyTorch where {name} is 1, so it is published for {name} of 2 "
            f"or more: forward takes another branch there ({wrong.error.worst or wrong.error})"
        )
        return 2
    return least


def _find_largest(tried: _Sizes, name: str, known: AxisRange, is_asked: bool) -> int | None:
    longest = max(_known_sizes(tried.trial.spec, name))
    beyond = known.largest or _fit(max([longest, *(sizes[name] for sizes in lengths_of(tried.trial.spec))]), known)
    if tried.is_too_large({name: beyond}):
        return known.largest
    try:
        if tried.takes({name: beyond}):
            return known.largest
        if is_asked and beyond == known.largest:
            tried.expect({name: beyond})
        largest = _bisect(tried, name, beyond, longest, known.multiple_of)
        tried.takes({name: largest})
    except _Wrong as wrong:
        raise wrong.error from None
    return largest


def _known_sizes(spec: GraphSpec, name: str) -> Sequence[int]:
    """Sizes that the user gave and that the module therefore accepts."""
    return [spec.example_sizes[name], *(sizes[name] for sizes in spec.lengths or ())]


def _bisect(tried: _Sizes, name: str, bad: int, good: int, step: int) -> int:
    """The size nearest to ``bad`` that the original accepts."""
    while abs(good - bad) > step:
        middle = (good + bad) // 2 // step * step
        if middle in (good, bad):
            middle += step
        if tried.takes({name: middle}):
            good = middle
        else:
            bad = middle
    return good


def _without_idle_factor(tried: _Sizes, name: str, known: AxisRange) -> AxisRange:
    """Drop the multiple that torch.export requires, if the graph is right for other sizes too."""
    if known.multiple_of == 1:
        return known
    free = known.model_copy(update={"multiple_of": 1})
    example = tried.example[name]
    others = [size for size in (example - 1, example + 1) if free.allows(size)]
    try:
        return free if others and all(tried.takes({name: size}) for size in others) else known
    except _Wrong:
        return known


def _check_guard(tried: _Sizes, guard: Guard, ranges: Mapping[str, AxisRange]) -> dict[str, AxisRange]:
    """Try sizes that violate the guard: if the original accepts them, the graph must be right there too.

    If the original refuses them, this returns a range of the axis that ends before them.
    """
    sizes = _find_breach(tried.example, guard, ranges)
    if sizes is None:
        return {}
    if tried.is_too_large(sizes):
        return {name: ranges[name] & AxisRange(largest=sizes[name] - 1) for name in guard.names & ranges.keys()}
    try:
        if tried.takes(sizes):
            return {}
        [name, *others] = guard.names
        longest = max(_known_sizes(tried.trial.spec, name))
        if others or name == BATCH or sizes[name] <= longest:
            return {}
        largest = _bisect(tried, name, sizes[name], longest, ranges[name].multiple_of)
        return {name: ranges[name] & AxisRange(largest=largest)}
    except _Wrong as wrong:
        shown = ", ".join(f"{name}={sizes[name]}" for name in sorted(guard.names))
        raise ParityError(
            f"{tried.trial.spec.name}: forward takes another branch where ({guard.text}) does not hold, for example at "
            f"{shown}, but the graph does not: use torch.where or torch.cond instead of deciding by a size in Python, "
            f"or set bounds that exclude such sizes ({wrong.error.worst or wrong.error})",
            wrong.error.case,
            wrong.error.worst,
        ) from None


def _find_breach(example: Sizes, guard: Guard, ranges: Mapping[str, AxisRange]) -> Sizes | None:
    """Sizes within the ranges that violate a guard: of one axis if possible, else of all of them together."""
    candidates = [*range(1, 130), *(2**power for power in range(8, 14))]
    for name in sorted(guard.names):
        for size in candidates:
            sizes = {**example, name: size}
            if ranges.get(name, AxisRange()).allows(size) and not guard.holds(sizes):
                return sizes
    for size in candidates:
        sizes = {**example, **{name: _fit(size, ranges.get(name, AxisRange())) for name in guard.names}}
        if not guard.holds(sizes):
            return sizes
    return None


def find_most_rows(trial: Trial, limits: Limits) -> int | None:
    """The most rows that the original accepts, for example in a program exported for a limited batch. None: any number.

    The server splits larger requests into batches. Raises DependentRows if forward takes another branch for more rows,
    because the server chooses how many rows share a batch.
    """
    limit = limits.ranges.get(BATCH)
    if limit is None or limit.largest is None:
        return None
    tried = _Sizes(trial, lambda step: None)
    rows = limit.largest + 1
    try:
        if tried.takes({BATCH: rows}):
            return None
        if tried.takes({BATCH: limit.largest}):
            return limit.largest
    except _Wrong:
        pass
    raise DependentRows(
        f"{trial.spec.name}: forward takes another branch for batches of {rows} rows or more: a row's answer must not "
        "depend on the number of rows: remove the batch size from its decisions",
        f"rows={rows}",
        (),
    )
