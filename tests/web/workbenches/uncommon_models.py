"""Models that the reference store lacks: with masks, without labels, of sounds, of numbers, and one that fails."""

from pathlib import Path
from typing import Any

import numpy as np

from model_store import Store
from tests.support.driving import make
from tests.support.models.text import make_model

RATE = 8000
_COPY = make_model("float[batch,2] x => float[batch,2] y", "y = Identity(x)")
_HALF = make_model("float[batch,n] x => float[batch,n] y", "y = Mul(x, 0.5)")
_IMAGE = {"input": "x", "channels": 3, "height": 32, "width": 32, "resize": "fit"}
_NOISE = {"output": "row", "noise": "noise"}


def write_store(root: Path) -> Path:
    """Returns the root."""
    store = Store(root)
    _publish(store, "animals", _detector(0.9), task="detect", labels=("cat", "dog"), image=_IMAGE, detection=_MASKS)
    _publish(store, "nobody", _detector(0.0), task="detect", labels=("cat", "dog"), image=_IMAGE, detection={})
    _publish(store, "hundreds", _segmenter(), task="segment", labels=_MANY, image=_IMAGE, segmentation={"output": "y"})
    distance = {"output": "y", "normalise": False, "metric": "euclidean", "threshold": 1.5}
    _publish(store, "plane", _COPY, task="embed", embedding=distance)
    _publish(store, "rows", _HALF, task="reconstruct", reconstruction={"output": "y", "threshold": 10.0})
    sound = {"input": "x", "rate": RATE, "longest_s": 20.0}
    _publish(store, "quieter", _HALF, task="reconstruct", reconstruction={"output": "y"}, sound=sound)
    _publish(store, "unnamed", _noise(), task="generate", generation=_NOISE)
    _publish(store, "breaking", _breaking(), task="generate", loop=_LOOP, generation=_DIFFUSION)
    return root


def _publish(store: Store, name: str, content: bytes, **facts: Any) -> None:
    manifest = make({"main": content}, **facts).manifest.model_copy(update={"name": name})
    store.publish(manifest, {"main.onnx": content})


_MASKS = {"points": "points", "point_names": ("nose", "tail"), "coefficients": "coefficients", "prototypes": "masks"}
_MANY = tuple(f"label {i}" for i in range(300))


def _detector(score: float) -> bytes:
    """Sees a cat and a dog in every picture, with two points and a mask whose left half is inside."""
    left = np.where(np.arange(8) < 4, 9.0, -9.0).astype(np.float32)
    return make_model(
        """
        float[batch,3,32,32] x => float[batch,2,4] boxes, float[batch,2,2] scores, float[batch,2,2,2] points,
        float[batch,2,1] coefficients, float[batch,1,8,8] masks
        """,
        """
        rows = Shape<start=0, end=1>(x)
        three = Concat<axis=0>(rows, two_ones)
        four = Concat<axis=0>(three, one)
        boxes = Expand(all_boxes, three)
        scores = Expand(all_scores, three)
        points = Expand(all_points, four)
        coefficients = Expand(all_ones, three)
        masks = Expand(all_masks, four)
        """,
        two_ones=np.array([1, 1], np.int64),
        one=np.array([1], np.int64),
        all_boxes=np.array([[4, 10, 12, 20], [18, 12, 30, 22]], np.float32),
        all_scores=np.array([[score, 0], [0, score / 2]], np.float32),
        all_points=np.array([[[6, 12], [10, 18]], [[20, 14], [28, 20]]], np.float32),
        all_ones=np.ones((2, 1), np.float32),
        all_masks=np.tile(left, (1, 8, 1)),
    )


def _segmenter() -> bytes:
    """The upper half of every picture has the last of the labels, the lower half the first."""
    same = np.where(np.arange(32)[:, None] < 16, len(_MANY) - 1, 0) + np.zeros((1, 32), np.int64)
    return make_model(
        "float[batch,3,32,32] x => int64[batch,32,32] y",
        "rows = Shape<start=0, end=1>(x) all = Concat<axis=0>(rows, ones) y = Expand(same, all)",
        ones=np.array([1, 1], np.int64),
        same=same,
    )


def _noise() -> bytes:
    return make_model("float[batch,2] noise => float[batch,2] row", "row = Mul(noise, 2.0)")


_CARRY = {"input": "sample", "output": "next"}
_LOOP = {"carries": (_CARRY,), "max_steps": 50}
_DIFFUSION = {
    "output": "preview",
    "noise": "sample",
    "diffusion": {"time": "time", "next_time": "next_time", "times": 50, "preview": "preview", "steps": 10},
}


def _breaking() -> bytes:
    """A diffusion of rows of two numbers that fails at level 5, after a few steps."""
    return make_model(
        """
        float[batch,2] sample, int64[batch] time, int64[batch] next_time =>
        float[batch,2] next, float[batch,2] preview
        """,
        """
        is_five = Equal(time, 5)
        beyond = Where(is_five, 9, 0)
        factor = Gather(factors, beyond)
        column = Unsqueeze(factor, [1])
        next = Mul(sample, column)
        later = Cast<to=1>(next_time)
        shift = Unsqueeze(later, [1])
        preview = Add(next, shift)
        """,
        factors=[0.9],
    )
