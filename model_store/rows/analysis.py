"""Decides whether the rows of an ONNX file are independent, and what callers may send to it.

The graph runs with every tensor exposed, with several numbers of rows and lengths of its other free axes. Then one pass
follows the rows from the inputs to the outputs, operator by operator (``proof.py``).
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from model_store.errors import first_line
from model_store.rows.analyst import Analyst, Case, DoesNotRun
from model_store.rows.graph.functions import write_out_functions
from model_store.rows.graph.inner import every_node
from model_store.rows.graph.nodes import read_inputs
from model_store.rows.graph.operators import find_fragile_operator
from model_store.rows.graph.samples import Layout, Lengths, layouts, lengths_to_try
from model_store.rows.graph.weights import embed_small, strip_weights

LONGEST_REASON = 300
"""Most characters of an ONNX Runtime error that a reason repeats."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The result of an analysis.

    ``rows`` is "proved" (independent), "mixing" (rows influence each other) or "unknown". ``axes`` has the axis of the
    rows of each input and output; a tensor that is missing there is the same for all rows. If nothing is proved, these
    are the axes that were measured to be as long as the batch.

    ``sizes`` are lengths of the other free axes, by name, at which the graph ran; None if it ran at none.
    ``only_sizes``: no other lengths ran, so the proof holds for these only. ``ranges``: the least and largest number of
    an integer input; others always fail. ``least``: a shorter axis crashes the process. ``bounds``: the graph fails on
    a longer axis.
    """

    rows: Literal["proved", "mixing", "unknown"]
    reason: str
    axes: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] | None = None
    only_sizes: bool = False
    ranges: Mapping[str, Sequence[int]] = field(default_factory=dict)
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

    ``hints`` are lengths of free axes that are known to run, by name. ``allow`` is asked before the graph runs at other
    lengths. Never raises for the content of the file: if it cannot be analysed, the verdict is "unknown" with the
    reason. But a graph with fragile operators may crash the process: see ``is_risky`` and ``AnalystProcess``.
    """
    try:
        model, weights = strip_weights(content)
        if external:
            embed_small(model, external)
        if model.functions:
            model = write_out_functions(model)
        return _conclude(Analyst(model, {**(external or {}), **weights}, hints, allow))
    except Exception as error:  # noqa: BLE001  # parsers and runtimes raise many types
        return Analysis("unknown", f"it could not be analysed: {first_line(error)[:LONGEST_REASON]}")


def is_risky(content: bytes) -> bool:
    """Whether the analysis may crash the process or never end, so that it should run in another process.

    It may crash if the graph has fragile operators and free axes besides the batch. It may not end if the graph has a
    Loop, which decides by itself when to stop.
    """
    model = strip_weights(content)[0]
    if any(node.op_type == "Loop" for graph in (model.graph, *model.functions) for node in every_node(graph.node)):
        return True
    free = [axis for given in read_inputs(model.graph) for axis in given.axes or () if not isinstance(axis, int)]
    names = {axis for axis in free if axis is not None}
    return (len(names) > 1 or len(free) > 1) and find_fragile_operator(model) is not None


def _conclude(analyst: Analyst) -> Analysis:
    """The first layout of the batch that is proved; otherwise the result for the likeliest one."""
    for given in analyst.inputs:
        if given.axes is None:
            return Analysis("unknown", f"input {given.name!r} has no declared rank", ranges=analyst.ranges)
    first: Analysis | None = None
    for layout in layouts(analyst.inputs):
        found = _try(analyst, layout)
        if found.rows == "proved" and not found.only_sizes:
            return found
        if first is None or _rank(found) > _rank(first):
            first = found
    if first is None or first.sizes is None:
        return _try_whole(analyst, first)
    return first


def _rank(found: Analysis) -> int:
    """How much is known: a proof for some sizes beats none, and a graph that runs beats one that does not."""
    return 2 if found.rows == "proved" else int(found.sizes is not None)


def _try_whole(analyst: Analyst, found: Analysis | None) -> Analysis:
    """Look for sizes at which a graph runs that has no batch, or does not run with three rows."""
    reason = found.reason if found is not None else "no axis of an input is free for the batch"
    if not analyst.inputs:
        reason = "it has no inputs"
    for lengths in lengths_to_try(Layout({}).free(analyst.inputs), analyst.hints):
        try:
            analyst.run_whole(lengths)
        except Exception as error:  # noqa: BLE001  # whatever ONNX Runtime raises: other lengths may run
            reason = f"{reason.partition(' (')[0]} ({first_line(error)[:LONGEST_REASON]})"
            continue
        return Analysis("unknown", reason, sizes=lengths, ranges=analyst.ranges)
    return Analysis("unknown", reason, ranges=analyst.ranges)


def _try(analyst: Analyst, layout: Layout) -> Analysis:
    try:
        case = analyst.measure(layout)
    except DoesNotRun as error:
        why = f"it runs at none of the tried sizes with several rows ({first_line(error)[:LONGEST_REASON]})"
        return Analysis("unknown", why, ranges=analyst.ranges)
    sizes = case.settings[0].lengths
    only = case.exact and bool(sizes)
    proof = analyst.settle(layout, case)
    bounds = analyst.find_bounds(layout, case, proof.limits)
    if proof.failure is not None:
        seen = {**layout.axes, **_measured_axes(case)}
        failure = proof.failure
        return Analysis(failure.verdict, failure.reason, seen, sizes, only, analyst.ranges, bounds=bounds)
    lies = {**layout.axes, **{name: axis for name, axis in proof.axes.items() if axis is not None}}
    count = analyst.operators
    reason = f"{'its only operator' if count == 1 else f'each of its {count} operators'} keeps rows apart"
    return Analysis("proved", reason, lies, sizes, only, analyst.ranges, bounds=bounds)


def _measured_axes(case: Case) -> dict[str, int]:
    """The axis of each output that was as long as the batch in every run, if there is exactly one."""
    runs = [run for setting in case.settings for run in setting.runs]
    found = {}
    for output in case.graph.model.graph.output:
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
