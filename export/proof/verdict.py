"""What a manifest says of the rows of an exported graph: proved by its analysis, or by the trial that it has passed."""

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

    Its rows have passed their trial against the original. Where the analysis names a node that mixes them all the same
    they are not proved, for a trial may miss what happens for few values only: each request will run alone. Raises
    DependentRows where that cannot be, for the steps of a loop.
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
    if found.rows != "mixing" or not places_inputs(graph, found):  # else it has mixed rows that lie elsewhere
        return PROVED_BY_EXPORT
    if spec.proved_by_trial:
        return RowVerdict(verdict="proved", reason=f"{PROVED_BY_EXPORT.reason}, though by its analysis {found.reason}")
    if isinstance(spec, ExportSpec) and spec.loop is not None:
        raise DependentRows(
            f"{spec.name}: the exported graph mixes rows, though no trial showed it: {found.reason}: {_ADVICE}",
            "row analysis",
            (),
        )
    return RowVerdict(verdict="mixing", reason=found.reason)


def tell_alone(graph: Graph) -> str | None:
    """What a user should know of a graph whose requests will not share batches though the spec names a batch."""
    if graph.rows is None or graph.rows.verdict != "mixing":
        return None
    return f"each request will run alone, for its rows may change each other: {graph.rows.reason}: {_ADVICE}"


def _find_ranges(spec: GraphSpec, graph: Graph, found: Analysis) -> dict[str, AxisRange]:
    """Of the axes that the spec names: what the proof has found, and the analysis. What parity ran is within them."""
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
    """Without those that say nothing: an axis of no places has rules of its own in the server."""
    return {name: limit for name, limit in ranges.items() if limit not in (AxisRange(), AxisRange(least=1))}


def describe_proof(graph: Graph, proof: Proof) -> Graph:
    """The graph with the sizes, the rows and the integers that its proof has found it to take."""

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
