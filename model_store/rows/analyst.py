"""Runs one graph at several sizes and proves what follows from the runs."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx

from model_store.rows.facts import FIXED, Fact, Failed, Rows, Source
from model_store.rows.graph.branches import lengths_that_decide, read_conditions
from model_store.rows.graph.nodes import Axes, read_inputs
from model_store.rows.graph.ranges import find_ranges
from model_store.rows.graph.samples import Layout, Lengths, lengths_to_try, make_inputs, other_lengths
from model_store.rows.graph.unfolding import Unfolded, unfold
from model_store.rows.measures import Measures
from model_store.rows.measuring import Meter, Run, is_large
from model_store.rows.proof import Proof, prove
from model_store.rows.sizes import Size, solve

_ROWS = (3, 1, 5)
"""Numbers of rows of the measured runs. Three comes first: some kernels crash with several rows only."""
_FEW_ROWS = (2, 1)
"""The same for a graph with many weights, which is slow. The proof does not depend on the number of runs."""
_LONG_S = 0.5
"""If the first run takes longer, the graph runs only once more, and at no other lengths."""
_MOST_LEFT_OUT = 64
_PATIENCE = 6
"""The most lengths that are tried until every branch runs. After that, branches that do not run are left out."""
_MOST_SPLITS = 5
_MOST_FORCED = 40
_DECIDING_S = 3.0
"""The most time to look for lengths at which a condition has the other outcome."""
_LONGEST_RUN_S = 2.0
"""Runs that confirm how long an axis may be are skipped if they would take longer."""
_DEAD = 3
"""If a branch fails at so many lengths because a tensor has too many or too few axes, it fails at all lengths: the
number of axes does not depend on them."""
_WRONG_RANK = re.compile(r"dimensions only|\brank\b", re.IGNORECASE)
_OUT_OF_TABLE = re.compile(r"out of data bounds|out of range value in index", re.IGNORECASE)
_NEAR = 0.01
"""Floats a little above zero, so that indices computed from them are likely to lie in their table."""

Allow = Callable[[Lengths], bool]


class DoesNotRun(Exception):
    """A graph does not run at some lengths. ``part`` is the unfolded part that failed; None: the graph itself
    failed."""

    def __init__(self, reason: str, part: str | None = None) -> None:
        super().__init__(reason)
        self.part = part


@dataclass(frozen=True, slots=True)
class Setting:
    """Lengths that run, the measured runs, and their total time."""

    lengths: Lengths
    runs: Sequence[Run]
    seconds: float


@dataclass(slots=True)
class Case:
    """Settings that are proved together: with these outcomes of conditions, and one length of each ``pinned`` axis."""

    graph: Unfolded
    settings: list[Setting]
    assumed: dict[str, bool] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()
    exact: bool = False


class Analyst:
    """Analyses one graph. ``weights`` are the contents of the files that the model names as external data."""

    def __init__(
        self, model: onnx.ModelProto, weights: Mapping[str, bytes], hints: Sequence[Lengths], allow: Allow
    ) -> None:
        self.inputs = read_inputs(model.graph)
        self.ranges = find_ranges(model.graph)
        self.hints = hints
        self._model = model
        self._weights = weights
        self._allow = allow
        self._plain: Meter | None = None
        self._left_out: dict[frozenset[tuple[str, bool]], set[str]] = {}
        self._opened: dict[tuple[object, ...], tuple[Unfolded, Meter] | DoesNotRun] = {}

    @property
    def operators(self) -> int:
        return len(self._model.graph.node)

    def run_whole(self, lengths: Lengths) -> None:
        """Run the graph once without a batch axis. Raises whatever ONNX Runtime raises."""
        self._run(self._open_plain(), Layout({}), 1, lengths)

    def measure(self, layout: Layout) -> Case:
        """Run at two lengths of each free axis, or at one if no other runs. Raises DoesNotRun."""
        keys = layout.free(self.inputs)
        why = DoesNotRun("it does not run")
        running: list[Lengths] = []
        for lengths in lengths_to_try(keys, self.hints):
            try:
                return self._measure_from(layout, lengths, leave_out=False)
            except DoesNotRun as error:
                why = error
                if error.part is not None:
                    running.append(lengths)
            if len(running) == _PATIENCE:
                break
        for some in running:
            try:
                return self._measure_from(layout, some, leave_out=True)
            except DoesNotRun as error:
                why = error
        raise why

    def _measure_from(self, layout: Layout, lengths: Lengths, *, leave_out: bool) -> Case:
        began = time.perf_counter()
        settings = [self._measure_at(layout, lengths, {}, leave_out=leave_out)]
        if lengths and time.perf_counter() - began < 3 * _LONG_S:
            settings += self._measure_other(layout, lengths)
        if _find_alike(settings):
            settings = settings[:1]  # no other length runs, or it takes too long: prove this one only
        return Case(self._open({})[0], settings, exact=len(settings) == 1)

    def _measure_other(self, layout: Layout, lengths: Lengths) -> Iterator[Setting]:
        """Run at other lengths, if any run."""
        for leave_out in (False, True):
            for others in other_lengths(lengths):
                try:
                    yield self._measure_at(layout, others, {}, leave_out=leave_out)
                except DoesNotRun:
                    continue
                return
            if not self._open({})[0].parts:
                return

    def _measure_at(
        self, layout: Layout, lengths: Lengths, assumed: Mapping[str, bool], *, leave_out: bool, forced: bool = False
    ) -> Setting:
        """Raises DoesNotRun. ``leave_out`` leaves out what was written out of the graph and fails."""
        for _ in range(_MOST_LEFT_OUT):
            try:
                graph, meter = self._open(assumed, forced=forced)
                began = time.perf_counter()
                first, *rest = _FEW_ROWS if is_large(self._weights) else _ROWS
                runs = [self._run_part(graph, meter, layout, first, lengths)]
                if time.perf_counter() - began > _LONG_S:
                    del rest[1:]
                runs += [self._run_part(graph, meter, layout, count, lengths) for count in rest]
            except DoesNotRun as error:
                if error.part is None or not leave_out:
                    raise
                self._left_out.setdefault(frozenset(assumed.items()), set()).add(error.part)
                continue
            return Setting(lengths, runs, time.perf_counter() - began)
        raise DoesNotRun("too many of its branches fail")

    def _open(self, assumed: Mapping[str, bool], *, forced: bool = False) -> tuple[Unfolded, Meter]:
        """The unfolded graph and a session of it; each is made once. Raises DoesNotRun."""
        left_out = self._left_out.setdefault(frozenset(assumed.items()), set())
        while True:
            key = (frozenset(assumed.items()), frozenset(left_out), forced)
            found = self._opened.get(key)
            if isinstance(found, DoesNotRun):
                raise found
            if found is not None:
                return found
            graph = unfold(self._model, assumed, left_out, forced=forced)
            try:
                self._opened[key] = graph, Meter(graph.model, self._weights)
            except Exception as error:  # noqa: BLE001  # whatever ONNX Runtime raises
                part = graph.find_part(str(error))
                if part is None or part in left_out:
                    self._opened[key] = DoesNotRun(str(error))
                else:
                    left_out.add(part)

    def _run_part(self, graph: Unfolded, meter: Meter, layout: Layout, rows: int, lengths: Lengths) -> Run:
        """Run the unfolded graph. Raises DoesNotRun, with a part only if the graph runs without that part."""
        try:
            return self._run(meter, layout, rows, lengths)
        except Exception as error:  # whatever ONNX Runtime raises
            part = graph.find_part(str(error))
            if part is None:
                raise DoesNotRun(str(error)) from error
            failure = DoesNotRun(str(error), part)
        try:
            self._run(self._open_plain(), layout, rows, lengths)
        except Exception as error:  # whatever ONNX Runtime raises
            raise DoesNotRun(str(error)) from error
        raise failure

    def _open_plain(self) -> Meter:
        """A session of the graph without unfolding."""
        if self._plain is None:
            self._plain = Meter(self._model, self._weights, all_tensors=False)
        return self._plain

    def _run(self, meter: Meter, layout: Layout, rows: int, lengths: Lengths) -> Run:
        if not self._allow(lengths):
            raise ValueError(f"the process crashed at {dict(lengths)}")
        inputs = make_inputs(self.inputs, layout, rows, lengths, self.ranges)
        floats = {name: array for name, array in inputs.items() if array.dtype.kind == "f"}
        try:
            return meter.run(inputs, rows)
        except Exception as error:
            if not floats or not _OUT_OF_TABLE.search(str(error)):
                raise
        near = {name: (abs(array) * _NEAR).astype(array.dtype) for name, array in floats.items()}
        return meter.run({**inputs, **near}, rows)

    def settle(self, layout: Layout, case: Case, depth: int = 0) -> Proof:
        """The proof for a case. If a condition stands in its way, both of its outcomes are proved."""
        proof = self.prove(layout, case)
        if proof.failure is None or proof.undecided is None or depth == _MOST_SPLITS:
            return proof
        if proof.undecided in case.assumed:
            return proof
        found: Proof | None = None
        for truth in (True, False):
            try:
                branch = self._measure_branch(layout, case, {**case.assumed, proof.undecided: truth})
            except DoesNotRun:
                return proof
            if branch is None:
                continue
            settled = self.settle(layout, branch, depth + 1)
            if settled.failure is None and found is not None and found.axes != settled.axes:
                settled = Proof({}, Failed("unknown", "outputs are laid out differently for other sizes"))
            found = replace(settled, limits=proof.limits)
            if found.failure is not None:
                break
        return found or proof

    def _measure_branch(self, layout: Layout, case: Case, assumed: dict[str, bool]) -> Case | None:
        """Run at lengths at which conditions have these outcomes; None if all such runs fail. Raises DoesNotRun."""
        base = case.settings[0].lengths
        leading = list(self._lengths_with(layout, base, assumed))
        settings: list[Setting] = []
        failed = 0
        for lengths in leading:
            try:
                settings.append(self._measure_at(layout, lengths, assumed, leave_out=True))
            except DoesNotRun:
                failed += self._fails_alone(layout, lengths, assumed)
            if len(settings) == (1 if case.exact else 2) or (failed >= 2 * _DEAD and not settings):
                break
        if not settings and failed >= _DEAD:
            return None
        if not settings:
            return self._force_branch(layout, case, assumed)
        once = _find_alike(settings)
        if not case.exact and any(len({lengths[key] for lengths in leading}) > 1 for key in once):
            raise DoesNotRun("only one size that leads to a branch runs")
        return Case(self._open(assumed)[0], settings, assumed, case.pinned | once, case.exact)

    def _force_branch(self, layout: Layout, case: Case, assumed: dict[str, bool]) -> Case:
        """Replace the If by its branch, at lengths at which that runs. Raises DoesNotRun."""
        settings: list[Setting] = []
        for lengths in itertools.islice(lengths_that_decide(self._model, case.settings[0].lengths), _MOST_FORCED):
            try:
                settings.append(self._measure_at(layout, lengths, assumed, leave_out=True, forced=True))
            except DoesNotRun:
                continue
            if len(settings) == (1 if case.exact else 2):
                graph = self._open(assumed, forced=True)[0]
                if case.exact or not _find_alike(settings) - case.pinned:
                    return Case(graph, settings, assumed, case.pinned, case.exact)
                settings.pop()
        raise DoesNotRun("a branch runs at too few of the tried sizes")

    def _lengths_with(self, layout: Layout, base: Lengths, assumed: Mapping[str, bool]) -> Iterator[Lengths]:
        """Lengths at which the conditions have these outcomes, if they are tensors of the graph."""
        conditions = read_conditions(self._open(assumed)[0].model, list(assumed))
        if conditions is None:
            return
        meter, began = Meter(conditions, self._weights), time.perf_counter()
        for lengths in lengths_that_decide(self._model, base):
            if time.perf_counter() - began > _DECIDING_S:
                return
            try:
                values = self._run(meter, layout, 1, lengths).values
            except Exception:  # noqa: BLE001, S112  # lengths that do not fit
                continue
            if all(name in values and bool(values[name].reshape(-1)[0]) == truth for name, truth in assumed.items()):
                yield lengths

    def _fails_alone(self, layout: Layout, lengths: Lengths, assumed: Mapping[str, bool]) -> bool:
        """Whether the graph itself fails for a single row at any lengths. Unfolded parts that fail were left out
        before."""
        try:
            self._run_part(*self._open(assumed), layout, 1, lengths)
        except DoesNotRun as error:
            return error.part is None and _WRONG_RANK.search(str(error)) is not None
        return False

    def find_bounds(self, layout: Layout, case: Case, limits: Sequence[tuple[Size, int]]) -> dict[str, int]:
        """The longest that free axes may be, as far as quick runs confirm it.

        ``limits`` are sizes that fail above a number, see ``Proof``.
        """
        found: dict[str, int] = {}
        for size, most in limits:
            for name, largest in solve(size, most):
                found[name] = min(found.get(name, largest), largest)
        base = case.settings[0].lengths
        confirmed = {}
        for name, largest in found.items():
            if name not in base or case.settings[0].seconds * largest / base[name] > _LONGEST_RUN_S:
                continue
            try:
                self._run(self._open_plain(), layout, 1, {**base, name: largest})
            except Exception:  # noqa: BLE001, S112  # lengths that do not fit
                continue
            try:
                self._run(self._open_plain(), layout, 1, {**base, name: largest + 1})
            except Exception:  # noqa: BLE001  # the graph fails, as its limit says
                confirmed[name] = largest
        return confirmed

    def prove(self, layout: Layout, case: Case) -> Proof:
        """The proof for a case without splitting it."""
        runs = [run for setting in case.settings for run in setting.runs]
        places = [at for at, setting in enumerate(case.settings) for _ in setting.runs]
        measures = Measures(runs, places, exact=case.exact, pinned=case.pinned)
        counts = [case.settings[at].lengths for at in places]
        facts = {given.name: self._describe(given, layout, measures, counts) for given in self.inputs}
        constants = {tensor.name for tensor in self._model.graph.initializer}
        for value in self._model.graph.input:
            if value.name not in facts and value.name not in constants:
                facts[value.name] = Fact(FIXED, None, source=Source.CALLER)
        return prove(case.graph, facts, measures, case.assumed)

    def _describe(self, given: Axes, layout: Layout, measures: Measures, counts: Sequence[Lengths]) -> Fact:
        batch = layout.axes.get(given.name)
        shape = []
        for axis, size in enumerate(given.axes or ()):
            if isinstance(size, int):
                shape.append(Size.of(size))
            elif axis == batch:
                shape.append(measures.rows)
            else:
                key = layout.key(given, axis)
                shape.append(measures.symbol(key, tuple(lengths[key] for lengths in counts)))
        return Fact(FIXED if batch is None else Rows(batch), tuple(shape))


def _find_alike(settings: Sequence[Setting]) -> set[str]:
    """The free axes that have the same length in all settings."""
    return {key for key in settings[0].lengths if len({setting.lengths[key] for setting in settings}) == 1}
