"""The handwritten digits that ship inside scikit-learn: 1,797 grey pictures of 8 x 8, split once and for all."""

from dataclasses import dataclass

import numpy as np

SOURCE = "scikit-learn load_digits (UCI optical recognition of handwritten digits, test part), 1,797 pictures of 8 x 8"
LICENCE = "Apache-2.0 (weights); digits by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0"
"""The licence of models that learned from these digits."""
LARGEST_PIXEL = 16
TEST_ROWS = 450
VALIDATION_ROWS = 225
_SPLIT_SEED = 0  # a seed of the data: every version of every model is measured on the same rows


@dataclass(frozen=True, slots=True)
class Part:
    """``images`` float32 [rows, 1, 8, 8] with values 0..16, ``labels`` int64 [rows] with values 0..9."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Digits:
    """Train to fit, validation to choose and calibrate, test only to report; stratified by label."""

    train: Part
    validation: Part
    test: Part


def load_digits() -> Digits:
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    data = load()
    labels = data.target.astype(np.int64)
    rows = np.arange(len(labels))
    rest, test = train_test_split(rows, test_size=TEST_ROWS, random_state=_SPLIT_SEED, stratify=labels)
    train, validation = train_test_split(
        rest, test_size=VALIDATION_ROWS, random_state=_SPLIT_SEED, stratify=labels[rest]
    )
    images = data.images.astype(np.float32)[:, None]
    return Digits(*(Part(images[part], labels[part]) for part in (train, validation, test)))
