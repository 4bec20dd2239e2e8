"""The batch axis of each tensor, from the row analysis. Only proved graphs and single rows get one."""

from collections.abc import Callable, Sequence

from model_store.graph import AxisRange, Graph, RowVerdict, Tensor
from model_store.graphs.analyst import analyst
from model_store.rows import Analysis

PROVED_BY_EXPORT = RowVerdict(verdict="proved", reason="by its export, against the PyTorch original")
NO_BATCH = RowVerdict(verdict="unknown", reason="it was published without a batch")


def batches(graph: Graph) -> bool:
    """Whether rows of several requests may share a run."""
    return any(t.batch_axis is not None for t in graph.inputs) and any(t.batch_axis is not None for t in graph.outputs)


def apply_analysis(graph: Graph, found: Analysis) -> Graph:
    """The graph with its batch, if that is proved, and with the ranges that follow from the analysis."""
    proved = found.rows == "proved"
    return graph.model_copy(
        update={
            "inputs": tuple(_limit(_place(tensor, found, proved), found) for tensor in graph.inputs),
            "outputs": tuple(_place(tensor, found, proved) for tensor in graph.outputs),
            "axis_ranges": ranges_of(found),
            "proved_sizes": dict(found.sizes or {}) if proved and found.only_sizes else {},
            "rows": RowVerdict(verdict=found.rows, reason=found.reason),
        }
    )


def batch_anyway(graph: Graph, found: Analysis) -> Graph | None:
    """The graph with the batch that was measured but not proved; None if there is none."""
    outputs = {tensor.name for tensor in graph.outputs}
    if found.rows != "unknown" or not outputs <= found.axes.keys():
        return None
    return graph.model_copy(
        update={
            "inputs": tuple(_place(tensor, found, True) for tensor in graph.inputs),
            "outputs": tuple(_place(tensor, found, True) for tensor in graph.outputs),
        }
    )


def without_batch(graph: Graph) -> Graph:
    """The graph without a batch: requests run one by one."""

    def alone(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(tensor.model_copy(update={"batch_axis": None}) for tensor in tensors)

    return graph.model_copy(update={"inputs": alone(graph.inputs), "outputs": alone(graph.outputs)})


def has_single_rows(graph: Graph) -> bool:
    """Whether axis 0 of every tensor is fixed at 1, but for optional inputs."""
    tensors = _find_required(graph)
    return bool(tensors) and all(tensor.shape and tensor.shape[0] == 1 for tensor in tensors)


def take_single_rows(graph: Graph, found: Analysis) -> Graph | None:
    """The graph with its rows on axis 0, each a run of its own, because they are not proved independent.

    None if axis 0 is not fixed at 1 and the analysis did not find the rows on it either.
    """
    required = _find_required(graph)
    if not all(t.shape and (t.shape[0] == 1 or found.axes.get(t.name) == 0) for t in required):
        return None

    def place(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(t if t.optional else t.model_copy(update={"batch_axis": 0}) for t in tensors)

    return graph.model_copy(update={"inputs": place(graph.inputs), "outputs": place(graph.outputs), "max_rows": 1})


def take_steps_alone(graph: Graph, rows: RowVerdict) -> Graph:
    """The graph of a loop, whose tensors have their rows on axis 0, with one row a step: they are not independent."""
    return graph.model_copy(update={"rows": rows, "max_rows": 1})


def _find_required(graph: Graph) -> list[Tensor]:
    return [tensor for tensor in (*graph.inputs, *graph.outputs) if not tensor.optional]


def settle_published(graph: Graph, has_parity: bool, read: Callable[[str], bytes]) -> Graph:
    """The graph of a manifest, with the verdict on its rows. It keeps its batch only if that is proved, or of one row.

    Manifests from before the row analysis have no verdict. If such a graph was compared with its original
    (``has_parity``), its rows are proved too; otherwise it is analysed now. ``read`` returns the content of a file of
    the version.
    """
    if graph.rows is not None:
        return graph if graph.rows.verdict == "proved" or graph.max_rows == 1 else without_batch(graph)
    if not batches(graph):
        return graph.model_copy(update={"rows": NO_BATCH})
    if has_parity:
        return graph.model_copy(update={"rows": PROVED_BY_EXPORT})
    found = analyst.analyse(read(graph.file), {file: read(file) for file in graph.external_data}, {})
    settled = graph if found.rows == "proved" and agrees(graph, found) else without_batch(graph)
    return settled.model_copy(update={"rows": RowVerdict(verdict=found.rows, reason=found.reason)})


def places_inputs(graph: Graph, found: Analysis) -> bool:
    """Whether the analysis looked for the rows of the inputs on the axes that the graph names."""
    return all(found.axes.get(tensor.name) == tensor.batch_axis for tensor in graph.inputs)


def agrees(graph: Graph, found: Analysis) -> bool:
    """Whether the analysis found the rows on the axes that the graph names."""
    return all(found.axes.get(tensor.name) == tensor.batch_axis for tensor in (*graph.inputs, *graph.outputs))


def ranges_of(found: Analysis) -> dict[str, AxisRange]:
    """The sizes that free axes may have, by name."""
    names = {*found.least, *found.bounds}
    return {name: AxisRange(least=found.least.get(name), largest=found.bounds.get(name)) for name in sorted(names)}


def _place(tensor: Tensor, found: Analysis, proved: bool) -> Tensor:
    axis = found.axes.get(tensor.name) if proved else None
    return tensor.model_copy(update={"batch_axis": axis})


def _limit(tensor: Tensor, found: Analysis) -> Tensor:
    """The tensor with the least and largest number that the graph accepts."""
    if tensor.name not in found.ranges:
        return tensor
    least, largest = found.ranges[tensor.name]
    return tensor.model_copy(update={"least": least, "largest": largest})


def describe_verdict(found: RowVerdict) -> str:
    """The verdict and its reason, for people."""
    return f"{found.verdict} ({found.reason})" if found.reason else str(found.verdict)
