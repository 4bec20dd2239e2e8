"""Fidelity: how close pictures come to their references."""

import numpy as np


def measure_psnr(images: np.ndarray, references: np.ndarray, peak: float) -> np.ndarray:
    """The peak signal-to-noise ratio of each picture, in decibel; ``peak`` is the largest value of a pixel.

    Two arrays of one shape, [rows, ...] -> float64 [rows]; infinite where a picture equals its reference.
    """
    if images.shape != references.shape:
        raise ValueError(f"expected pictures like the references, {references.shape}, got {images.shape}")
    differences = images.astype(np.float64) - references
    errors = np.square(differences).reshape(len(images), -1).mean(axis=1)
    with np.errstate(divide="ignore"):
        psnr: np.ndarray = 10 * np.log10(peak**2 / errors)
    return psnr
