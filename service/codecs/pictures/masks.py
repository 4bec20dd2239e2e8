"""Labels of the pixels of the caller's picture, from the output of a graph."""

import numpy as np
from PIL import Image as Pillow

from model_store.pictures.geometry import Placement
from model_store.tasks import Segmentation


def label_pixels(output: np.ndarray, facts: Segmentation, placement: Placement, size: tuple[int, int]) -> np.ndarray:
    """The label index of each pixel of the caller's picture, uint8 or uint16 [height, width].

    ``output`` is for one picture: scores [labels, height, width], or label indices [height, width]. Scores are
    interpolated before the best one is chosen. ``size`` is the height and width of the graph's picture.
    """
    height, width = output.shape[-2:]
    scales = (width / size[1], height / size[0]) * 2
    left, top, right, bottom = (edge * scale for edge, scale in zip(placement.covered, scales, strict=True))
    part = (max(0.0, left), max(0.0, top), min(right, float(width)), min(bottom, float(height)))
    wanted = (placement.width, placement.height)
    if output.ndim == 2:
        positions = Pillow.fromarray(output.astype(np.int32)).resize(wanted, Pillow.Resampling.NEAREST, part)
        return _shrink(np.asarray(positions), int(output.max(initial=0)))
    if len(output) == 1:
        return (_resize(output[0], wanted, part) >= np.float32(facts.threshold or 0)).astype(np.uint8)
    best = _resize(output[0], wanted, part)
    labels = np.zeros(best.shape, np.uint8 if len(output) <= 256 else np.uint16)
    for i, scores in enumerate(output[1:], start=1):
        resized = _resize(scores, wanted, part)
        np.copyto(labels, i, where=resized > best)
        np.maximum(best, resized, out=best)
    return labels


def _resize(scores: np.ndarray, wanted: tuple[int, int], part: tuple[float, float, float, float]) -> np.ndarray:
    picture = Pillow.fromarray(np.ascontiguousarray(scores, np.float32))
    return np.array(picture.resize(wanted, Pillow.Resampling.BILINEAR, part))


def _shrink(labels: np.ndarray, largest: int) -> np.ndarray:
    return labels.astype(np.uint8 if largest < 256 else np.uint16)
