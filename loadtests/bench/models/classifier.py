"""A classifier of photographs with 1,000 labels: half of MobileNet's channels, at 224 x 224."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from loadtests.bench.models.mobilenet import grow_mobilenet
from loadtests.bench.models.model import ABSOLUTE_TOLERANCE, INPUT, OUTPUT, RELATIVE_TOLERANCE, Graph, open_session
from loadtests.bench.models.photograph import PhotographModel, decode_jpeg, encode_jpeg

LABELS, TOP = 1000, 5
SIDE, SHORTEST = 224, 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH = 0.5
CONTRAST = 0.05
"""Makes the random scores as different as those of a trained network, so that some labels are likelier than others."""


@dataclass(frozen=True)
class PhotographClassifier(PhotographModel):
    """Its scores are the positions and the probabilities of the likeliest labels, [5, 2], best first."""

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {OUTPUT: (LABELS,)}

    def score(self, rows: np.ndarray) -> np.ndarray:
        scores = open_session(self.build()).run(None, {INPUT: prepare(decode_jpeg(encode_jpeg(rows)))})[0][0]
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return np.stack([best, probabilities[best]], axis=1).astype(np.float32)

    def agrees(self, got: np.ndarray, expected: np.ndarray) -> bool:
        """The same labels in the same order, with the same probabilities."""
        return (
            got.shape == expected.shape
            and np.array_equal(got[:, 0], expected[:, 0])
            and np.allclose(got[:, 1], expected[:, 1], RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE)
        )


def prepare(picture: Image.Image) -> np.ndarray:
    """As torchvision does: the shortest side to 256, the centre cut out, numbers by mean and standard deviation."""
    factor = SHORTEST / min(picture.size)
    picture = picture.resize([int(side * factor) for side in picture.size], Image.Resampling.BILINEAR)
    left, top = (round((side - SIDE) / 2) for side in picture.size)
    levels = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)), np.float32) / np.float32(255)
    rows = (levels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(rows.transpose(2, 0, 1)[None])


def _grow(graph: Graph) -> None:
    features, channels = grow_mobilenet(graph, INPUT, WIDTH)[-1]
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", features))
    scores = graph.add_dense(pooled, channels, LABELS)
    graph.add("Mul", scores, graph.add_constant(np.float32(CONTRAST)), output=OUTPUT)


CLASSIFIER = PhotographClassifier("photograph-classifier", (3, SIDE, SIDE), 16, _grow)
