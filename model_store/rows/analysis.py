"""Whether the rows of any ONNX file are independent, and what a caller may send to it.

The graph runs with every tensor exposed, with several numbers of rows and lengths of its other free axes. Then one pass
follows the rows from the inputs to the outputs, operator by operator (``proof.py``).
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx
from onnx import inliner

from model_store.rows.facts import FIXED, Fact, Failed, Rows, Source
from model_store.rows.measures import Measures
from model_store.rows.measuring import Meter, Run
from model_store.rows.nodes import Axes, flatten_branches, read_inputs
from model_store.rows.operators import find_fragile_operator
from model_store.rows.proof import Proof, prove
from model_store.rows.ranges import find_tables
from model_store.rows.samples import Layout, Lengths, layouts, lengths_to_try, make_inputs, other_lengths
from model_store.rows.sizes import Size
from model_store.rows.weights import strip_weights

_ROWS = (3, 1, 5)
"""Numbers of rows of the measured runs."""
_LONG_S = 0.5
"""A graph that takes longer for three rows runs with fewer sizes: the proof does not rest on how many there are."""
_MOST_NESTED = 8


@dataclass(frozen=True, slots=True)
class Analysis:
    """``rows``: "proved" independent, "mixing" where rows influence each other, "unknown" where neither is known.

    ``axes`` has the axis of the rows of each input and output; a tensor that is not in it is the same for all rows.
    For unproved ones these are the axes that were measured to be as long as the batch. ``sizes`` are lengths of the
    other free axes, by name, at which the graph ran, None if it ran at none of the tried ones; ``only_sizes`` says that
    no other lengths did, so the proof holds for these. ``tables``: how many entries the table has that an input picks
    from. ``least``: a free axis that is shorter ends the process that runs the graph. ``bounds``: on one that is longer
    the graph fails.
    """

    rows: Literal["proved", "mixing", "unknown"]
    reason: str
    axes: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] | None = None
    only_sizes: bool = False
    tables: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Analysis":
        return cls(**json.loads(text))


def analyse(
    content: bytes,
    external: Mapping[str, bytes] | None = None,
    *,
    hints: Sequence[Lengths] = (),
    allow: Callable[[Lengths], bool] = lambda _: True,
) -> Analysis:
    """Analyse an ONNX file. ``external`` has the content of the files that it names as external data.

    ``hints`` are lengths of free axes that are known to run, by the name of the axis. ``allow`` is asked before the
    graph runs at other lengths. Never raises for what is in the file: what cannot be analysed is "unknown", with the
    reason. But a graph with fragile operators may end the process: see ``is_risky`` and ``AnalystProcess``.
    """
    try:
        model, weights = strip_weights(content)
        if model.functions:
            _write_out_defaults(model)
            model = inliner.inline_local_functions(model)
        return _Analyst(model, {**(external or {}), **weights}, hints, allow).conclude()
    except Exception as error:  # noqa: BLE001  # parsers and runtimes raise many types
        return Analysis("unknown", f"it could not be analysed: {first_line(error)}")


def _write_out_defaults(model: onnx.ModelProto) -> None:
    """Give each call of a function the attributes that it leaves out: the inliner forgets their defaults."""
    defaults = {(f.domain, f.name): f.attribute_proto for f in model.functions if f.attribute_proto}
    for graph in (model.graph, *model.functions):
        for node in _every_node(graph.node):
            given = {attribute.name for attribute in node.attribute}
            missing = [a for a in defaults.get((node.domain, node.op_type), ()) if a.name not in given]
            node.attribute.extend(missing)


def _every_node(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _every_node(graph.node)


def is_risky(content: bytes) -> bool:
    """Whether the analysis may end the process: the graph has fragile operators and free axes besides the batch."""
    model = strip_weights(content)[0]
    free = [axis for given in read_inputs(model.graph) for axis in given.axes or () if not isinstance(axis, int)]
    names = {axis for axis in free if axis is not None}
    return (len(names) > 1 or len(free) > 1) and find_fragile_operator(model) is not None


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


@dataclass(slots=True)
class _Setting:
    """Lengths that run, the graph with the branches that they take, and the measured runs."""

    lengths: Lengths
    model: onnx.ModelProto
    guards: Mapping[str, str]
    taken: Mapping[str, bool]
    runs: list[Run]


class _Analyst:
    def __init__(
        self,
        model: onnx.ModelProto,
        weights: Mapping[str, bytes],
        hints: Sequence[Lengths],
        allow: Callable[[Lengths], bool],
    ) -> None:
        self._allow = allow
        self._model = model
        self._weights = weights
        self._hints = hints
        self._inputs = read_inputs(model.graph)
        self._tables = find_tables(model.graph)
        self._meters: dict[frozenset[tuple[str, bool]], tuple[onnx.ModelProto, dict[str, str], Meter]] = {}

    def conclude(self) -> Analysis:
        """The first layout of the batch that is proved; else what was found of the likeliest."""
        if any(given.axes is None for given in self._inputs):
            name = next(given.name for given in self._inputs if given.axes is None)
            return self._unknown(f"input {name!r} has no declared rank")
        first: Analysis | None = None
        for layout in layouts(self._inputs):
            found = self._try(layout)
            if found.rows == "proved":
                return found
            if first is None or (first.sizes is None and found.sizes is not None):
                first = found
        if first is None or first.sizes is None:
            return self._try_whole(first)
        return first

    def _try_whole(self, found: Analysis | None) -> Analysis:
        """Look for sizes at which a graph runs that has no batch, or does not run with three rows."""
        whole = Layout({})
        reason = found.reason if found is not None else "no axis of an input is free for the batch"
        if not self._inputs:
            reason = "it has no inputs"
        for lengths in lengths_to_try(whole.free(self._inputs), self._hints):
            try:
                self._run(self._open({})[2], whole, 1, lengths)
            except Exception as error:  # noqa: BLE001  # whatever ONNX Runtime raises: other lengths may run
                reason = f"{reason.partition(' (')[0]} ({first_line(error)})"
                continue
            return Analysis("unknown", reason, sizes=lengths, tables=self._tables)
        return self._unknown(reason)

    def _unknown(self, reason: str) -> Analysis:
        return Analysis("unknown", reason, tables=self._tables)

    def _try(self, layout: Layout) -> Analysis:
        settings, why = self._measure(layout)
        if not settings:
            return self._unknown(why)
        alike = any(len({setting.lengths[key] for setting in settings}) == 1 for key in settings[0].lengths)
        if alike:  # no other length of an axis runs, or it takes too long: what is found holds for the first sizes only
            settings = settings[:1]
        exact = len(settings) == 1
        sizes, only = settings[0].lengths, exact and bool(settings[0].lengths)
        axes: Mapping[str, int | None] = {}
        for group in _group(settings):
            proof = self._prove(layout, group, exact)
            failure = proof.failure or self._find_untried(group, settings, proof)
            if failure is None and axes and axes != proof.axes:
                failure = Failed("unknown", "outputs lie otherwise for other sizes")
            if failure is not None:
                seen = {**layout.axes, **_measured_axes(settings)}
                return Analysis(failure.verdict, failure.reason, seen, sizes, only, self._tables)
            axes = proof.axes
        lies = {**layout.axes, **{name: axis for name, axis in axes.items() if axis is not None}}
        count = len(settings[0].model.graph.node)
        reason = f"each of {count} operators keeps rows apart"
        return Analysis("proved", reason, lies, sizes, only, self._tables)

    def _measure(self, layout: Layout) -> tuple[list[_Setting], str]:
        """Runs at one setting of the free axes, or two; none and the reason where it does not run."""
        why = "it does not run"
        keys = layout.free(self._inputs)
        for lengths in lengths_to_try(keys, self._hints):
            try:
                began = time.perf_counter()
                setting = self._measure_at(layout, lengths)
            except Exception as error:  # noqa: BLE001  # whatever ONNX Runtime raises: other lengths may run
                why = f"it runs at none of the tried sizes with {_ROWS[0]} rows ({first_line(error)})"
                continue
            settings = [setting]
            if keys and time.perf_counter() - began < len(_ROWS) * _LONG_S:
                settings += self._measure_others(layout, setting)
            return settings, ""
        return [], why

    def _measure_others(self, layout: Layout, first: _Setting) -> Iterator[_Setting]:
        """Another setting, and a third where a branch was taken that other lengths may not take."""
        wanted = 2 if first.taken else 1
        for lengths in other_lengths(first.lengths):
            try:
                found = self._measure_at(layout, lengths)
            except Exception:  # noqa: BLE001, S112  # lengths that do not fit
                continue
            yield found
            wanted -= 1
            if not wanted:
                return

    def _measure_at(self, layout: Layout, lengths: Lengths) -> _Setting:
        """Raises whatever ONNX Runtime raises at these lengths."""
        taken: dict[str, bool] = {}
        runs: list[Run] = []
        for _ in range(_MOST_NESTED):
            model, guards, meter = self._open(taken)
            began = time.perf_counter()
            runs = [self._run(meter, layout, _ROWS[0], lengths)]
            conditions = [n.input[0] for n in model.graph.node if n.op_type == "If"]
            decided = {c: bool(runs[0].values[c].reshape(-1)[0]) for c in conditions if c in runs[0].values}
            if not decided:
                break
            taken |= decided
        rows = _ROWS[1:] if time.perf_counter() - began < _LONG_S else _ROWS[1:2]
        runs += [self._run(meter, layout, count, lengths) for count in rows]
        return _Setting(lengths, model, guards, taken, runs)

    def _open(self, taken: Mapping[str, bool]) -> tuple[onnx.ModelProto, dict[str, str], Meter]:
        """The graph with these branches taken, its guards, and a session of it; each is made once."""
        key = frozenset(taken.items())
        found = self._meters.get(key)
        if found is None:
            model, guards = self._model, dict[str, str]()
            while any(n.op_type == "If" and n.input[0] in taken for n in model.graph.node):
                model, more = flatten_branches(model, taken)
                guards |= more
            found = self._meters[key] = model, guards, Meter(model, self._weights)
        return found

    def _run(self, meter: Meter, layout: Layout, rows: int, lengths: Lengths) -> Run:
        if not self._allow(lengths):
            raise ValueError(f"the process ended at {dict(lengths)}")
        return meter.run(make_inputs(self._inputs, layout, rows, lengths, self._tables), rows)

    def _prove(self, layout: Layout, group: Sequence[_Setting], exact: bool) -> Proof:
        runs = [run for setting in group for run in setting.runs]
        measures = Measures(runs, [at for at, setting in enumerate(group) for _ in setting.runs], exact=exact)
        counts = [setting.lengths for setting in group for _ in setting.runs]
        facts = {given.name: self._describe(given, layout, measures, counts) for given in self._inputs}
        for value in self._model.graph.input:
            if value.name not in facts and value.name not in {t.name for t in self._model.graph.initializer}:
                facts[value.name] = Fact(FIXED, None, source=Source.CALLER)
        return prove(group[0].model, group[0].guards, facts, measures)

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

    def _find_untried(self, group: Sequence[_Setting], settings: Sequence[_Setting], proof: Proof) -> Failed | None:
        """A branch that other lengths may take and none of the tried ones took."""
        for condition, truth in group[0].taken.items():
            fact = proof.facts.get(condition)
            known = fact is not None and fact.values is not None and fact.values.reshape(-1)[0] is not None
            if not known and {s.taken.get(condition, truth) for s in settings} != {True, False}:
                return Failed("unknown", f"If {condition!r}: no tried size takes its other branch")
        return None


def _measured_axes(settings: Sequence[_Setting]) -> dict[str, int]:
    """The axis of each output that was as long as the batch in every run, where there is one such axis."""
    runs = [run for setting in settings for run in setting.runs]
    found = {}
    for output in settings[0].model.graph.output:
        shapes = [run.shapes.get(output.name, ()) for run in runs]
        ranks = {len(shape) for shape in shapes}
        axes = [
            axis
            for axis in range(min(ranks))
            if all(shape[axis] == run.rows for shape, run in zip(shapes, runs, strict=True))
        ]
        if len(ranks) == 1 and len(axes) == 1:
            found[output.name] = axes[0]
    return found


def _group(settings: Sequence[_Setting]) -> list[list[_Setting]]:
    """Settings that take the same branches, together."""
    groups: dict[frozenset[tuple[str, bool]], list[_Setting]] = {}
    for setting in settings:
        groups.setdefault(frozenset(setting.taken.items()), []).append(setting)
    return list(groups.values())
