"""One ONNX file of a version: its rows, and the samples that are stored with it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.check import free_batch
from export.errors import ExportError, SpecError
from export.onnx_files.spec import OnnxSpec
from export.spec import Arrays, Progress
from model_store.errors import first_line
from model_store.golden import find_no_probability
from model_store.graph import MAIN, Graph
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import apply_analysis, batches, describe_verdict, has_single_rows, take_single_rows
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import make_samples, mark_any_shape
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.rows import Analysis


@dataclass(frozen=True)
class Analysed:
    """A graph with its batch axes, and a session. ``sizes`` are sizes of its free axes at which it ran."""

    name: str
    content: bytes
    external: Mapping[str, bytes]
    graph: Graph
    session: CpuSession
    sizes: Mapping[str, int] | None

    @property
    def where(self) -> str:
        """The graph's part of a message, after the name of the model."""
        return "" if self.name == MAIN else f", graph {self.name!r}"

    @property
    def axes(self) -> dict[str, int | None]:
        return {tensor.name: tensor.batch_axis for tensor in self.graph.inputs}

    @property
    def most_rows(self) -> int | None:
        """The most rows of a run; None: no limit."""
        return self.graph.max_rows

    def count_rows(self, inputs: Arrays) -> int:
        """The number of rows; 1 if the graph is not batched."""
        return next((inputs[n].shape[axis] for n, axis in self.axes.items() if axis is not None and n in inputs), 1)

    def check_samples(self, spec: OnnxSpec, given: Arrays) -> Arrays:
        """Real samples as arrays. Raises SpecError."""
        needed = {tensor.name for tensor in self.graph.inputs if not tensor.optional}
        known = {tensor.name for tensor in self.graph.inputs}
        field = f"{spec.name}{self.where}: samples"
        if not needed <= set(given) <= known:
            raise SpecError(f"{field}: expected the inputs {sorted(needed)}, got {sorted(given)}")
        samples = {name: np.asarray(array) for name, array in given.items()}
        rows = {samples[name].shape[axis] for name, axis in self.axes.items() if axis is not None and name in samples}
        if len(rows) > 1 or 0 in rows:
            raise SpecError(f"{field}: expected equally many rows in every input, at least one, got {rows}")
        return samples

    def make_up(self, spec: OnnxSpec) -> Arrays:
        """Made-up rows. Raises ExportError."""
        if self.sizes is None:
            raise ExportError(f"{spec.name}{self.where}: it ran on none of the made-up inputs: give samples")
        return make_samples(self.graph, self.sizes, spec.golden_rows)

    def run(self, spec: OnnxSpec, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name. Raises ExportError if the graph fails, SpecError for bad probabilities."""
        try:
            outputs = dict(zip(self.session.output_names, self.session.run(inputs), strict=True))
        except Exception as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise ExportError(
                f"{spec.name}{self.where}: ONNX Runtime fails on samples of {shapes} ({first_line(error)}): give "
                "samples that the model accepts"
            ) from error
        classes = spec.classes if self.name == MAIN else None
        reason = find_no_probability(classes, outputs, spec.golden_atol or 0.0) if classes else ""
        if reason:
            raise SpecError(f"{spec.name}: {reason}")
        return outputs


def analyse(spec: OnnxSpec, name: str, content: bytes, external: Mapping[str, bytes], progress: Progress) -> Analysed:
    """Find the rows of a graph. A batch fixed at 1 is freed if the task needs it. Raises ExportError."""
    progress("row analysis" if name == MAIN else f"row analysis: {name}")
    analysed, found = _analyse_once(name, content, external)
    if spec.task == "tensors" or batches(analysed.graph):
        return analysed
    why = ""
    if has_single_rows(analysed.graph):
        try:
            analysed, found = _analyse_once(name, free_batch(content, external), external)
            progress("note: its axis 0 was fixed at 1; it is free in the published version")
        except ExportError as error:
            why = str(error)
    graph = analysed.graph
    if batches(graph) or graph.rows is None:
        return analysed
    why = why or f"its rows are {describe_verdict(graph.rows)}"
    alone = take_single_rows(graph, found)
    if alone is None:
        raise ExportError(
            f"{spec.name}{analysed.where}: task {spec.task} needs inputs and outputs whose axis 0 is that of the rows, "
            f"but {why}: export it with a free axis 0, or publish it with the task tensors"
        )
    which = (
        "each row takes its steps alone" if spec.loop is not None and name == MAIN else "each row is a run of its own"
    )
    progress(f"note: {which}: {why}")
    return Analysed(name, analysed.content, external, alone, analysed.session, analysed.sizes)


def _analyse_once(name: str, content: bytes, external: Mapping[str, bytes]) -> tuple[Analysed, Analysis]:
    session = CpuSession(with_available_locale(content), external)
    declared = mark_any_shape(describe_session(session.raw, file_of(name)), content)
    with analyst.hold():
        found = analyst.analyse(with_available_locale(content), external, {})
    graph = apply_analysis(declared, found).model_copy(update={"external_data": tuple(external)})
    return Analysed(name, content, external, graph, session, found.sizes), found


def file_of(graph: str) -> str:
    return f"{graph}.onnx"
