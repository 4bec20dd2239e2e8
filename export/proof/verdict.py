"""What a manifest says of the rows of an exported graph: proved by its analysis, or by the trial that it has passed."""

from export.errors import DependentRows
from export.inputs import lengths_of
from export.onnx.weights import Files
from export.spec import BATCH, GraphSpec
from model_store.graph import AxisRange, Graph, RowVerdict
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import NO_BATCH, PROVED_BY_EXPORT, agrees, places_inputs, ranges_of
from model_store.rows import Analysis


def judge_rows(spec: GraphSpec, graph: Graph, files: Files) -> Graph:
    """The graph with the verdict on its rows, and with the sizes that its free axes may have.

    Its rows have passed their trial against the original. Raises DependentRows where the analysis names a node that
    mixes them all the same: a trial may miss what happens for few values only.
    """
    if not spec.batched:
        return graph.model_copy(update={"rows": NO_BATCH})
    sizes = {name: size for name, size in spec.example_sizes.items() if name != BATCH}
    with analyst.hold():
        found = analyst.analyse(files.content, files.external, sizes)
    return graph.model_copy(update={"rows": _judge(spec, graph, found), "axis_ranges": _find_ranges(spec, found)})


def _judge(spec: GraphSpec, graph: Graph, found: Analysis) -> RowVerdict:
    if found.rows == "proved" and agrees(graph, found) and not found.only_sizes:
        return RowVerdict(verdict="proved", reason=found.reason)
    if found.rows != "mixing" or not places_inputs(graph, found):  # else it has mixed rows that lie elsewhere
        return PROVED_BY_EXPORT
    if not spec.proved_by_trial:
        raise DependentRows(
            f"{spec.name}: the exported graph mixes rows, though no trial showed it: {found.reason}: compute nothing "
            "across the batch (BatchNorm with batch statistics, or attention, means or sorting over the batch), or set "
            "proved_by_trial=True if you know that its rows are independent",
            "row analysis",
            (),
        )
    return RowVerdict(verdict="proved", reason=f"{PROVED_BY_EXPORT.reason}, though by its analysis {found.reason}")


def _find_ranges(spec: GraphSpec, found: Analysis) -> dict[str, AxisRange]:
    """Of the axes that the spec names. A size that parity went through is within them."""
    names = {name for axes in spec.axes.values() for name in axes.values()} - {BATCH}
    known = {name: limits for name, limits in ranges_of(found).items() if name in names}
    ran = {name: [sizes[name] for sizes in lengths_of(spec) if name in sizes] for name in known}
    return {name: limits for name, limits in known.items() if all(limits.allows(size) for size in ran[name])}
