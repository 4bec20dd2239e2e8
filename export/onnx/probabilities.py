"""Adds an output with probabilities to a classifier that only gives logits: softmax, or sigmoid for several labels."""

import onnx

from export.errors import ExportError, SpecError
from export.inputs import in_chunks, make_random, real_samples
from export.runtime import Runtime
from export.spec import BATCH, ExportSpec
from model_store.golden import find_no_probability
from model_store.tasks import Classes


def check_probabilities(spec: ExportSpec, runtime: Runtime) -> None:
    """Raise SpecError if the output with probabilities has other numbers, on the samples or on random rows."""
    if spec.classes is None:
        return
    samples = real_samples(spec)
    if samples is None:
        samples = make_random(spec, {**spec.example_sizes, BATCH: spec.golden_rows}, spec.seeds[0])
    for chunk in in_chunks(spec, samples):
        reason = find_no_probability(spec.classes, runtime.run(chunk), spec.scale_tol)
        if reason:
            raise SpecError(f"{spec.name}: {reason}")


def append_probabilities(graph: onnx.GraphProto, classes: Classes, name: str) -> None:
    """Add the output. ``name`` is the model's. Raises ExportError if the graph already has a tensor of that name."""
    logits = next(value for value in graph.output if value.name == classes.logits)
    taken = {tensor.name for tensor in graph.initializer} | {made for node in graph.node for made in node.output}
    if classes.probabilities in taken:
        raise ExportError(
            f"{name}: the graph already has a tensor called {classes.probabilities!r}, the name of the output for "
            "probabilities: rename that parameter or buffer"
        )
    output = graph.output.add()
    output.CopyFrom(logits)
    output.name = classes.probabilities
    if classes.multi_label:
        graph.node.append(onnx.helper.make_node("Sigmoid", [logits.name], [output.name]))
    else:
        graph.node.append(onnx.helper.make_node("Softmax", [logits.name], [output.name], axis=1))
