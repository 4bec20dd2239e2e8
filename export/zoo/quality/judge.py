"""The judge of digit pictures: the published reference classifier, applied to generated pictures."""

import functools

import numpy as np

from export.errors import NotPublished
from export.runtime import Runtime
from export.zoo.data.digits import Part
from model_store import DEFAULT_ROOT, Store, StoreError

CLASSIFIER = "digits-classifier"
CLASSES = 10


@functools.cache
def _open_classifier() -> Runtime:
    try:
        manifest, files = Store(DEFAULT_ROOT).find(CLASSIFIER).read_all()
    except StoreError as error:
        raise NotPublished(f"the judge is missing ({error}): run `sluice train {CLASSIFIER}` first") from error
    return Runtime(files[manifest.graphs["main"].file])


def judge(images: np.ndarray) -> np.ndarray:
    """The label that the reference classifier gives each picture.

    ``images`` float32 [rows, 1, 8, 8] with values 0..16 -> int64 [rows]. Raises NotPublished where there is no judge.
    """
    labels: np.ndarray = _open_classifier().run({"image": images})["probabilities"].argmax(axis=1)
    return labels


def measure_agreement(images: np.ndarray, labels: np.ndarray) -> float:
    """The share of pictures that the judge puts in their class."""
    return float(np.mean(judge(images) == labels))


def measure_generation(images: np.ndarray, labels: np.ndarray, real: Part) -> dict[str, float]:
    """The quality of drawn digits: ``agreement``, ``least_class_agreement``, and ``diversity``.

    The diversity is the standard deviation of each pixel within a class, averaged over classes, relative to that of the
    real digits; 1 is equally varied. Every class must be among ``labels``.
    """
    right = judge(images) == labels
    made = float(np.mean([images[labels == c].std(axis=0).mean() for c in range(CLASSES)]))
    wanted = float(np.mean([real.images[real.labels == c].std(axis=0).mean() for c in range(CLASSES)]))
    return {
        "agreement": float(right.mean()),
        "least_class_agreement": float(min(right[labels == c].mean() for c in range(CLASSES))),
        "diversity": made / wanted,
    }
