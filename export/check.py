"""``sluice check``: what the server would do with an ONNX file; and copies of files with a free batch axis.

The findings come from ``model_store.graphs``, which the server uses too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from export.errors import ExportError
from model_store import ModelVersion, StoreError
from model_store.errors import first_line
from model_store.files.links import Boundary
from model_store.graph import Graph
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import apply_analysis
from model_store.graphs.bits import cut, find_rounding, limit_of, take_rows
from model_store.graphs.inspection import Inspection, inspect
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import make_samples
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.listing import NAME, NUMBER
from model_store.plain import is_onnx
from model_store.rows import Analysis
from model_store.rows.graph.division import with_safe_division

BATCH = "batch"
_SIZES = (1, 2, 3, 5)
_AGAIN = "export the model again with a dynamic axis 0"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found. ``fixable``: every axis 0 is 1, so the file does not batch, and ``free_batch`` may help."""

    found: Inspection
    fixable: bool = False


def check_file(path: Path) -> Verdict:
    """Check a file. Raises ExportError if it cannot be read or loaded."""
    try:
        path.stat()
        found = inspect(as_version(path))
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}{_advise(path)}") from error
    except StoreError as error:
        raise ExportError(f"{path}: {str(error).rstrip('.')}{_advise(path)}") from error
    given = [value for value in found.declared if not value.optional]
    fixed = bool(given) and all(value.shape and value.shape[0] == 1 for value in given)
    return Verdict(found, fixed and found.serves == "whole")


def _advise(path: Path) -> str:
    """What to do about a path that is no file, but names a spec."""
    source, _, name = str(path).rpartition(":")
    if name.isidentifier() and Path(source).is_file():
        return f": this command is for ONNX files; `sluice export {path}` proves and publishes what a spec describes"
    return ""


def as_version(path: Path) -> ModelVersion:
    """The file as a version of a plain repository: ``name/1/model.onnx``, or alone in a folder.

    Weights and ``config.pbtxt`` are found where the server would look for them.
    """
    path = path.absolute()
    folder = path.parent.parent if is_onnx(path.parent.name) else path.parent
    is_version = bool(NUMBER.fullmatch(folder.name))
    model = folder.parent if is_version else folder
    name = model.name if NAME.fullmatch(model.name) else "model"
    number = int(folder.name) if is_version else 1
    return ModelVersion(name, number, folder, Boundary(model.parent, follow_links=True), str(path.relative_to(folder)))


def write_free_batch(path: Path, out: Path) -> None:
    """Write a copy whose axis 0, now fixed at 1, is free. Raises ExportError or OSError, and then writes nothing."""
    try:
        plain = as_version(path).read_plain()
        if plain.external and out.absolute().parent != path.absolute().parent:
            raise ExportError(f"{path} has weights in other files: write the copy beside them, in {path.parent}")
        changed = free_batch(plain.content, plain.external)
    except StoreError as error:
        raise ExportError(f"{path}: {error}") from error
    out.write_bytes(changed)


def free_batch(content: bytes, external: Mapping[str, bytes] | None = None) -> bytes:
    """The graph with a free axis 0. Raises ExportError if that changes its answers, BadGraph.

    The analysis must prove that the copy's rows are independent, and one row is compared with the original. If the
    analysis cannot tell, rows of several batches are compared instead.
    """
    external = external or {}
    before = CpuSession(with_safe_division(with_available_locale(content)), external)
    declared = describe_session(before.raw, "model.onnx")
    if not all(t.shape and t.shape[0] == 1 for t in (*declared.inputs, *declared.outputs) if not t.optional):
        raise ExportError("expected axis 0 of every input and output to be 1: see the shapes that `sluice check` lists")
    changed = _free(content)
    with analyst.hold():
        found = analyst.analyse(changed, external, {})
    if found.rows == "mixing":
        raise ExportError(f"with a free axis 0 its rows influence each other: {found.reason}: {_AGAIN}")
    after = CpuSession(with_safe_division(with_available_locale(changed)), external)
    graph = _with_batch(describe_session(after.raw, "model.onnx"), found)
    proved = found.rows == "proved" and set(found.axes.values()) == {0}
    _compare(before, after, graph, found, _SIZES[:1] if proved else _SIZES)
    return changed


def _free(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in {tensor.name for tensor in model.graph.initializer}:
            dimension = value.type.tensor_type.shape.dim[0]
            dimension.Clear()
            dimension.dim_param = BATCH
    del model.graph.value_info[:]
    _free_reshapes(model.graph)
    changed: bytes = model.SerializeToString()
    return changed


def _with_batch(graph: Graph, found: Analysis) -> Graph:
    """The graph with all its rows on axis 0, and with the ranges of its indices."""
    graph = apply_analysis(graph, found)
    inputs, outputs = (
        tuple(tensor if tensor.optional else tensor.model_copy(update={"batch_axis": 0}) for tensor in tensors)
        for tensors in (graph.inputs, graph.outputs)
    )
    return graph.model_copy(update={"inputs": inputs, "outputs": outputs})


def _compare(before: CpuSession, after: CpuSession, graph: Graph, found: Analysis, sizes: tuple[int, ...]) -> None:
    """Raise ExportError unless each row of a batch gives what the original gives for the row alone."""
    samples = make_samples(graph, found.sizes or {}, max(_SIZES))
    axes = {tensor.name: tensor.batch_axis for tensor in graph.inputs}
    for size in sizes:
        try:
            together = after.run(take_rows(samples, size, axes))
            alone = [before.run(take_rows(samples, 1, axes, row)) for row in range(size)]
        except Exception as error:
            raise ExportError(f"the batch of 1 is built into the graph ({first_line(error)}): {_AGAIN}") from error
        for tensor, output in zip(graph.outputs, together, strict=True):
            if output.ndim == 0 or len(output) != size:
                raise ExportError(f"with {size} rows, output {tensor.name!r} has shape {list(output.shape)}: {_AGAIN}")
        for row, expected in enumerate(alone):
            error_of, name = find_rounding(expected, cut(together, row, 1, graph), graph)
            if error_of > limit_of(graph, name):
                raise ExportError(f"with {size} rows, row {row} of {name!r} differs from the row alone: {_AGAIN}")


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """Free the first size of constant reshapes: a 1 there was the batch."""
    constants: Mapping[str, onnx.TensorProto] = {
        **{tensor.name: tensor for tensor in graph.initializer},
        **{
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        },
    }
    for node in graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None:
            continue
        sizes = numpy_helper.to_array(shape).copy()
        if sizes.size and sizes[0] == 1:
            sizes[0] = 0 if -1 in sizes else -1
            shape.CopyFrom(numpy_helper.from_array(sizes, shape.name))
