"""Probabilities of a classifier whose module gives logits alone: softmax, or sigmoid where a row may have several labels.

They are a further output of the graph, and of the original that the graph is compared with.
"""

from dataclasses import replace

import numpy as np
import onnx
import torch

from export.errors import ExportError, SpecError
from export.inputs import in_chunks, make_random, real_samples
from export.onnx.tracing import Traced, trace_module
from export.original import Original
from export.runtime import Runtime
from export.spec import BATCH, Arrays, ExportSpec, lacks_probabilities
from model_store.golden import find_no_probability
from model_store.tasks import Classes


class _WithProbabilities(Original):
    """An original that gives the probabilities of its logits after its own outputs."""

    def __init__(self, bare: Original, spec: ExportSpec, classes: Classes) -> None:
        vars(self).update(vars(bare))
        self.bare, self.classes = bare, classes
        self.spec = replace(spec, module=bare.module, outputs=(*spec.outputs, classes.probabilities))

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        outputs = self.bare.run(inputs)
        logits = torch.from_numpy(outputs[self.classes.logits or ""])
        if not logits.is_floating_point() or logits.dim() != 2:
            raise SpecError(
                f"{self.spec.name}: classes.logits: expected floats [batch, labels], got {logits.dtype} "
                f"{tuple(logits.shape)}"
            )
        found = torch.sigmoid(logits) if self.classes.multi_label else torch.softmax(logits, dim=1)
        return {**outputs, self.classes.probabilities: found.numpy()}


def complete_probabilities(original: Original) -> Original:
    """The original with an output of probabilities, where its spec names logits alone; else as it is."""
    spec = original.spec
    if not isinstance(spec, ExportSpec) or spec.classes is None or not lacks_probabilities(spec):
        return original
    return _WithProbabilities(original, spec, spec.classes)


def trace_scores(original: Original) -> Traced:
    """As ``trace_module``; with the probabilities that ``complete_probabilities`` has added."""
    if not isinstance(original, _WithProbabilities):
        return trace_module(original)
    traced = trace_module(original.bare)
    _append(traced.model.graph, original.classes, original.spec.name)
    return traced


def check_probabilities(spec: ExportSpec, runtime: Runtime) -> None:
    """Raises SpecError where what the spec calls probabilities are none, on the samples or on random rows."""
    if spec.classes is None:
        return
    samples = real_samples(spec)
    if samples is None:
        samples = make_random(spec, {**spec.example_sizes, BATCH: spec.golden_rows}, spec.seeds[0])
    for chunk in in_chunks(spec, samples):
        reason = find_no_probability(spec.classes, runtime.run(chunk), spec.scale_tol)
        if reason:
            raise SpecError(f"{spec.name}: {reason}")


def _append(graph: onnx.GraphProto, classes: Classes, name: str) -> None:
    logits = next(value for value in graph.output if value.name == classes.logits)
    taken = {tensor.name for tensor in graph.initializer} | {made for node in graph.node for made in node.output}
    if classes.probabilities in taken:
        raise ExportError(
            f"{name}: the graph has a tensor called {classes.probabilities!r}, as the output of probabilities is to be "
            "called: rename that parameter or buffer"
        )
    output = graph.output.add()
    output.CopyFrom(logits)
    output.name = classes.probabilities
    operator, attributes = ("Sigmoid", {}) if classes.multi_label else ("Softmax", {"axis": 1})
    graph.node.append(onnx.helper.make_node(operator, [logits.name], [output.name], output.name, **attributes))
