"""Which sizes of its free axes a graph is right for: both ends are tried, and the server refuses what lies beyond.

The least size is 1 unless torch.export, the spec or PyTorch says otherwise. Where a graph differs from its original at
1 only, it is published for sizes from 2 on: exporters trace what happens for two or more, and ``forward`` may well take
a single step, or the first one of a loop, by another way. A request of size 1 is then refused, and a note says so.
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
_PATIENCE_S = 20.0
"""Ends are not tried where a run would take longer, if time goes with the square of a size."""
_MOST_ELEMENTS = 2**23
"""Nor where the inputs would have more, or a matrix of attention over one of the axes."""


class _Wrong(Exception):
    """The graph is not what the original is; ``error`` says where."""

    def __init__(self, error: ParityError) -> None:
        super().__init__(str(error))
        self.error = error


def settle_sizes(trial: Trial, limits: Limits, progress: Progress) -> Mapping[str, AxisRange]:
    """The sizes that each free axis may have, apart from the batch. Raises ParityError where the graph is wrong.

    ``progress`` is told what is tried, and of a least size that the module itself does not have.
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
    """The sizes that parity goes through. Raises SpecError where the spec asks for others than the graph has."""
    found: list[Sizes] = []
    for sizes in lengths_of(spec):
        fitting = {name: _fit(size, ranges.get(name, AxisRange())) for name, size in sizes.items()}
        if spec.lengths is not None and fitting != dict(sizes):
            raise SpecError(
                f"{spec.name}: lengths: the exported graph holds for {_show(ranges)} only, got {dict(sizes)}: leave it "
                "out, or change what forward decides by that size"
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
                f"{spec.name}: {name} = {size} is asked for in bounds or lengths, but forward takes another way there: "
                f"the graph holds for a size {limit} only, by what torch.export found: ask for less, or use "
                "torch.where or torch.cond instead of deciding in Python"
            )


class _Sizes:
    """Tries the graph at sizes, each once."""

    def __init__(self, trial: Trial, progress: Progress) -> None:
        self.trial = trial
        self.example = trial.spec.example_sizes
        self._progress = progress
        self._known: dict[tuple[tuple[str, int], ...], Exception | None] = {}
        self._example_s = 0.0

    def takes(self, sizes: Sizes) -> bool:
        """Whether the original does anything at these sizes. Raises _Wrong where the graph does something else."""
        full = {**{name: _ROWS if name == BATCH else size for name, size in self.example.items()}, **sizes}
        key = tuple(sorted(full.items()))
        if key not in self._known:
            self._known[key] = self._try(full)
        error = self._known[key]
        if isinstance(error, ParityError):
            raise _Wrong(error)
        return error is None

    def expect(self, sizes: Sizes) -> None:
        """Raises ParityError unless the graph is right there, and SpecError where the original fails."""
        try:
            taken = self.takes(sizes)
        except _Wrong as wrong:
            raise wrong.error from None
        if not taken:
            raise next(error for error in self._known.values() if error is not None)

    def is_too_large(self, sizes: Sizes) -> bool:
        """Whether a trial at these sizes would take too long, or too much memory."""
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
        return times * self._example_s > _PATIENCE_S or max(elements, default=0) > _MOST_ELEMENTS

    def _try(self, sizes: Sizes) -> Exception | None:
        spec = self.trial.spec
        lengths = {name: size for name, size in sizes.items() if name != BATCH}
        source = " ".join(["random", *(f"{name}={size}" for name, size in lengths.items())])
        self._progress(f"sizes: {source}")
        try:
            inputs = make_random(spec, sizes, spec.seeds[0])
        except NotPublished as error:
            return error
        except Exception as error:  # noqa: BLE001  # random_inputs of the spec may not know of such sizes
            return SpecError(f"{spec.name}: random_inputs for {dict(sizes)}: {type(error).__name__}: {error}")
        try:
            case = Case(sizes.get(BATCH, 1), spec.seeds[0], source, inputs)
            outcome = self.trial.run(case, whole=True)
        except (SpecError, ParityError) as error:
            return error
        # At a kink a gradient may be another one; how many are is for the grid to count.
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
            f"note: {spec.name}: the graph is not what PyTorch gives where {name} is 1, so it is published for {name} "
            f"of 2 or more: forward takes another way there ({wrong.error.worst or wrong.error})"
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
    """Sizes that the user gives as such that the module takes."""
    return [spec.example_sizes[name], *(sizes[name] for sizes in spec.lengths or ())]


def _bisect(tried: _Sizes, name: str, bad: int, good: int, step: int) -> int:
    """The size next to ``bad`` that the original takes."""
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
    """Without the number whose multiples torch.export asks for, where the graph is right for other sizes too."""
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
    """Sizes for which the trace need not hold: where the original takes them the graph must be right all the same.

    Returns the range of an axis that ends below them, for the original takes no more.
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
            f"{tried.trial.spec.name}: forward takes another way where not ({guard.text}), such as at {shown}, and the "
            "graph does not: use torch.where or torch.cond instead of deciding by a size in Python, or set bounds that "
            f"leave such sizes out ({wrong.error.worst or wrong.error})",
            wrong.error.case,
            wrong.error.worst,
        ) from None


def _find_breach(example: Sizes, guard: Guard, ranges: Mapping[str, AxisRange]) -> Sizes | None:
    """Sizes within the ranges for which a guard does not hold; the first of one axis, else of all of them together."""
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
    """The most rows that the original takes, where it refuses more, as a program does that was exported for so many.

    The server cuts larger requests into batches. None: any number. Raises DependentRows where more rows are taken by
    another way: the server chooses how many share a batch, so forward must not decide by it.
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
        f"{trial.spec.name}: forward takes another way for batches of {rows} rows or more: the answer for a row must "
        "not depend on how many rows there are: take the batch's size out of its decisions",
        f"rows={rows}",
        (),
    )
