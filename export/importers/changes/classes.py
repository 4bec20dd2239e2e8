"""Probabilities of scores."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from export.importers.changes.change import Arrays, add_output, dims_of, find_output


@dataclass(frozen=True)
class AddProbabilities:
    """Softmax over the labels, or the sigmoid of each score, as another output."""

    scores: str
    new: str
    how: Literal["softmax", "sigmoid"]

    def __str__(self) -> str:
        return f"{self.new!r}: {self.how} of {self.scores!r}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        scores = find_output(graph, self.scores)
        if self.how == "softmax":
            graph.node.append(onnx.helper.make_node("Softmax", [self.scores], [self.new], axis=1))
        else:
            graph.node.append(onnx.helper.make_node("Sigmoid", [self.scores], [self.new]))
        add_output(graph, self.new, scores.type.tensor_type.elem_type, dims_of(scores))

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        scores = outputs[self.scores]
        made = softmax(scores) if self.how == "softmax" else sigmoid(scores)
        return {**outputs, self.new: made.astype(scores.dtype)}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, float64."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """The sigmoid of each score, in float64."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * scores.astype(np.float64))))
