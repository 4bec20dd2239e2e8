"""Calibration: a probability of 0.9 should be right nine times in ten.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017: one temperature for all logits. Platt, Probabilistic
Outputs for Support Vector Machines, 1999: targets short of 0 and 1 by an amount that depends on the number of rows.
"""

import numpy as np

_COOLEST, _HOTTEST = 0.05, 20.0
_STEPS = 80  # each narrows the bracket by 0.618: far below the resolution of float32


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels most likely; ``logits`` [rows, classes], ``labels`` integers [rows].

    The targets are Platt's: without them, a validation part without errors would give a temperature of zero. The
    likelihood is concave in 1/temperature, so a golden-section search finds its only maximum.
    """
    golden = (5**0.5 - 1) / 2
    low, high = 1 / _HOTTEST, 1 / _COOLEST
    targets = _soften(labels, logits.shape[1])
    for _ in range(_STEPS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _measure_loss(logits * left, targets) < _measure_loss(logits * right, targets):
            high = right
        else:
            low = left
    return 2 / (low + high)


def _soften(labels: np.ndarray, classes: int) -> np.ndarray:
    rows = len(labels)
    targets = np.full((rows, classes), 1 / (rows + 2) / (classes - 1))
    targets[np.arange(rows), labels] = (rows + 1) / (rows + 2)
    return targets


def _measure_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean cross-entropy in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * log_probabilities).sum(axis=1).mean())


def measure_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error of the top class, 0..1: the gap of confidence and accuracy, over equal bins.

    ``probabilities`` [rows, classes], ``labels`` integers [rows].
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (bin_of == b).mean() * abs(confidence[bin_of == b].mean() - correct[bin_of == b].mean())
        for b in np.unique(bin_of)
    ]
    return float(sum(gaps))
