"""Adds probabilities to the original and to the exported graph of a classifier that only gives logits."""

from dataclasses import replace

import numpy as np
import torch

from export.errors import SpecError
from export.onnx.probabilities import append_probabilities
from export.onnx.tracing import Traced, trace_module
from export.original import Original
from export.spec import Arrays, ExportSpec, lacks_probabilities
from model_store.tasks import Classes


class _WithProbabilities(Original):
    """An original whose outputs are followed by the probabilities of its logits."""

    def __init__(self, bare: Original, spec: ExportSpec, classes: Classes) -> None:
        own = {name: value for name, value in vars(bare).items() if name != "output_axes"}  # it has one more output
        vars(self).update(own)
        self.bare, self.classes = bare, classes
        self.spec = replace(spec, outputs=(*spec.outputs, classes.probabilities))

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
    """The original with an output of probabilities if its spec only names logits; else unchanged."""
    spec = original.spec
    if not isinstance(spec, ExportSpec) or spec.classes is None or not lacks_probabilities(spec):
        return original
    return _WithProbabilities(original, spec, spec.classes)


def trace_scores(original: Original, unfit: str | None = None) -> Traced:
    """As ``trace_module``, with the probabilities that ``complete_probabilities`` added."""
    if not isinstance(original, _WithProbabilities):
        return trace_module(original, unfit)
    traced = trace_module(original.bare, unfit)
    append_probabilities(traced.model.graph, original.classes, original.spec.name)
    return traced
