"""A JPEG of a photograph, made from a seed, and what the models that take it have in common."""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from loadtests.bench.models.model import SEED, BenchModel

JPEG = "jpeg"
WIDTH, HEIGHT = 640, 480
QUALITY = 92
OCTAVES = 7
"""Clouds of colour from 2 to 128 spots across: half the contrast at twice the detail, as photographs have."""


@dataclass(frozen=True)
class PhotographModel(BenchModel):
    """A model of colour pictures. Its rows are a photograph's pixels, uint8 [480, 640, 3], before its own resizing."""

    def make_rows(self, rows: int) -> np.ndarray:
        return np.tile(make_photograph(), (rows, 1, 1, 1))


@cache
def make_photograph() -> np.ndarray:
    """Clouds of colour with sharp-edged discs and grain: about as large a JPEG as a photograph of this size."""
    rng = np.random.default_rng(SEED)
    levels = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for octave in range(OCTAVES):
        spots = rng.integers(0, 256, (3 << octave, 4 << octave, 3), dtype=np.uint8)
        layer = Image.fromarray(spots).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        levels += np.asarray(layer, np.float32) / 2 ** (octave + 1)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(12):
        centre_y, centre_x, radius = rng.integers((0, 0, 20), (HEIGHT, WIDTH, 90))
        inside = np.hypot(y - centre_y, x - centre_x) < radius
        levels[inside] = 0.5 * levels[inside] + 0.5 * rng.integers(0, 256, 3)
    levels += rng.normal(0, 8, levels.shape)
    picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6)))


def encode_jpeg(rows: np.ndarray) -> bytes:
    """One picture, uint8 [1, height, width, 3], as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(rows[0]).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def decode_jpeg(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")
