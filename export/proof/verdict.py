"""The manifest's verdict on the rows of an exported graph: proved by the analysis, or by its trials."""

from collections.abc import Mapping

from export.errors import DependentRows
from export.onnx.weights import Files
from export.proof.domain.sizes import lengths_within
from export.proof.parity import Proof
from export.spec import BATCH, ExportSpec, GraphSpec
from model_store.graph import AxisRange, Graph, RowVerdict, Tensor
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import NO_BATCH, PROVED_BY_EXPORT, agrees, places_inputs, ranges_of
from model_store.rows import Analysis

_ADVICE = (
    "to share batches compute nothing across the batch (BatchNorm with batch statistics, or attention, means or "
    "sorting over the batch), or set proved_by_trial=True if you know that its rows are independent"
)


def judge_rows(spec: GraphSpec, graph: Graph, files: Files) -> Graph:
    """The graph with the verdict on its rows, and with the sizes that its free axes may have.

    The rows have passed all comparisons with the original. If the analysis still names a node that mixes them, they are
    not proved, because the comparisons may miss rare values: then each request runs alone. Raises DependentRows for the
    steps of a loop, which cannot run alone.
    """
    if not spec.batched:
        return graph.model_copy(update={"rows": NO_BATCH, "axis_ranges": _keep_limits(graph.axis_ranges)})
    sizes = {name: size for name, size in spec.example_sizes.items() if name != BATCH}
    with analyst.hold():
        found = analyst.analyse(files.content, files.external, sizes)
    return graph.model_copy(
        update={"rows": _judge(spec, graph, found), "axis_ranges": _find_ranges(spec, graph, found)}
    )


def _judge(spec: GraphSpec, graph: Graph, found: Analysis) -> RowVerdict:
    if found.rows == "proved" and agrees(graph, found) and not found.only_sizes:
        return RowVerdict(verdict="proved", reason=found.reason)
    if found.rows != "mixing" or not places_inputs(graph, found):  # the analysis may see rows on other axes
        return PROVED_BY_EXPORT
    if spec.proved_by_trial:
        return RowVerdict(
            verdict="proved", reason=f"{PROVED_BY_EXPORT.reason}, although by its analysis {found.reason}"
        )
    if isinstance(spec, ExportSpec) and spec.loop is not None:
        raise DependentRows(
            f"{spec.name}: the exported graph mixes rows, although no trial showed it: {found.reason}: {_ADVICE}",
            "row analysis",
            (),
        )
    return RowVerdict(verdict="mixing", reason=found.reason)


def tell_alone(graph: Graph) -> str | None:
    """A note if requests will not share batches although the spec names a batch axis."""
    if graph.rows is None or graph.rows.verdict != "mixing":
        return None
    return f"each request will run alone, because its rows may change each other: {graph.rows.reason}: {_ADVICE}"


def _find_ranges(spec: GraphSpec, graph: Graph, found: Analysis) -> dict[str, AxisRange]:
    """The ranges of the axes that the spec names, from the proof and the analysis. Parity ran within them."""
    names = {name for axes in spec.axes.values() for name in axes.values()} - {BATCH}
    ranges = dict(graph.axis_ranges)
    sizes = lengths_within(spec, ranges)
    for name, limits in ranges_of(found).items():
        ran = [size[name] for size in sizes if name in size]
        proved = ranges.get(name, AxisRange())
        ran += [size for size in (proved.least, proved.largest) if size is not None]
        if name in names and all(limits.allows(size) for size in ran):
            ranges[name] = proved & limits
    return _keep_limits(ranges)


def _keep_limits(ranges: Mapping[str, AxisRange]) -> dict[str, AxisRange]:
    """The ranges that limit something. The server has its own rules for empty axes."""
    return {name: limit for name, limit in ranges.items() if limit not in (AxisRange(), AxisRange(least=1))}


def describe_proof(graph: Graph, proof: Proof) -> Graph:
    """The graph with the sizes, rows and integers that its proof found it to accept."""

    def limit(tensor: Tensor) -> Tensor:
        if tensor.name not in proof.bounds:
            return tensor
        least, largest = proof.bounds[tensor.name]
        return tensor.model_copy(update={"least": least, "largest": largest})

    return graph.model_copy(
        update={
            "inputs": tuple(map(limit, graph.inputs)),
            "axis_ranges": dict(proof.axis_ranges),
            "max_rows": min((rows for rows in (graph.max_rows, proof.max_rows) if rows is not None), default=None),
        }
    )
