"""The classification extension of the protocol: the highest values of an output as texts ``value:index[:label]``."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.manifest import Manifest
from service.errors import InvalidInput

MAX_ELEMENTS = 1_000_000
_UNSUPPORTED = ("BOOL", "FP16", "BF16", "BYTES")


def check_classification(wanted: Iterable[str], outputs: Mapping[str, Tensor]) -> None:
    """Raises InvalidInput, which names the output, if its datatype cannot be classified."""
    for name in wanted:
        datatype = outputs[name].datatype
        if datatype in _UNSUPPORTED:
            choices = ", ".join(choice for choice in DATATYPES if choice not in _UNSUPPORTED)
            raise InvalidInput(f"output {name!r}: expected one of {choices} for a classification, got {datatype}")


def classify_outputs(
    outputs: Mapping[str, np.ndarray], wanted: Mapping[str, int], manifest: Manifest, batches: bool
) -> Mapping[str, np.ndarray]:
    """The outputs, of which those in ``wanted`` are replaced by that number of classes. Raises InvalidInput."""
    classified = {
        name: classify(name, outputs[name], number, _labels_of(manifest, name), batches)
        for name, number in wanted.items()
    }
    return {**outputs, **classified}


def _labels_of(manifest: Manifest, output: str) -> Sequence[str]:
    scores = (manifest.classes.probabilities, manifest.classes.logits) if manifest.classes else ()
    return manifest.labels if output in scores else manifest.output_labels.get(output, ())


def classify(name: str, scores: np.ndarray, number: int, labels: Sequence[str], batches: bool) -> np.ndarray:
    """The ``number`` highest values, highest first: texts of shape [rows, number], or [number] without a batch.

    Of equal values the lower index comes first; NaN is last. All axes but the batch are classes. If there are fewer
    classes than ``number``, all are returned. ``labels`` are by index, or empty. Raises InvalidInput if there are too
    many values.
    """
    if scores.size > MAX_ELEMENTS:
        expected = f"at most {MAX_ELEMENTS} elements for a classification"
        raise InvalidInput(f"output {name!r}: expected {expected}, got {scores.size}")
    rows = scores.reshape(len(scores), math.prod(scores.shape[1:])) if batches else scores.reshape(1, -1)
    falling = -rows if scores.dtype.kind == "f" else ~rows  # which never overflows for integers
    order = np.argsort(falling, axis=1, kind="stable")[:, :number]
    texts = np.empty(order.shape, object)
    for place, value in np.ndenumerate(np.take_along_axis(rows, order, axis=1)):
        index = int(order[place])
        text = f"{value:f}:{index}" if scores.dtype.kind == "f" else f"{value}:{index}"
        texts[place] = f"{text}:{labels[index]}" if labels else text
    return texts if batches else texts[0]
