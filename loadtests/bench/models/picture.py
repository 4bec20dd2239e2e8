"""A PNG picture to classify, with a reference model of the store."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from loadtests.bench.models.model import BenchModel, Graph, open_session

PNG = "png"
SIDE, MODEL_SIDE = 28, 8
SCALE = 16 / 255
"""The digits have values from 0 to 16."""


@dataclass(frozen=True)
class StoredClassifier(BenchModel):
    """A classifier of grey pictures in a file.

    Its rows are pixels, uint8 [1, 28, 28], which the server scales to the model's 8 x 8. Its scores are the position
    and the probability of the likeliest class.
    """

    file: Path = Path()

    def build(self) -> bytes:
        return self.file.read_bytes()

    def make_rows(self, rows: int) -> np.ndarray:
        """A zero, drawn with a broad pen."""
        y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        ring = np.clip(1.6 - np.abs(np.hypot(x / 0.75, y) - 9.5) / 2.5, 0, 1)
        return np.tile((ring * 255).astype(np.uint8), (rows, 1, 1))

    def score(self, rows: np.ndarray) -> np.ndarray:
        small = [Image.fromarray(row).resize((MODEL_SIDE, MODEL_SIDE), Image.Resampling.BILINEAR) for row in rows]
        inputs = {"image": np.stack([np.asarray(one) for one in small])[:, None] * np.float32(SCALE)}
        probabilities = open_session(self.build()).run(["probabilities"], inputs)[0]
        return np.stack([probabilities.argmax(1), probabilities.max(1)], axis=1).astype(np.float32)


def make_classifier(store: Path) -> StoredClassifier:
    """``digits-classifier`` of the store's folder."""
    name = "digits-classifier"
    return StoredClassifier(name, (SIDE, SIDE), 64, _grow_nothing, store / name / "1" / "main.onnx")


def encode_png(rows: np.ndarray) -> bytes:
    """One picture, uint8 [1, height, width], as a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(rows[0]).save(buffer, "PNG")
    return buffer.getvalue()


def _grow_nothing(_: Graph) -> None:
    """The graph is in a file."""
