"""The two photographs that ship inside scikit-learn, in fixed splits, and how they are degraded for restoring."""

from dataclasses import dataclass

import numpy as np

SOURCE = "scikit-learn load_sample_images, two photographs of 427 x 640"
LICENCE = "photographs by danielbuechele (china) and vultilion (flower), CC BY 2.0"
LARGEST_PIXEL = 255
BLUR_SIGMA = 1.0  # pixels: a lens slightly out of focus
NOISE_SIGMA = 20.0  # of 255: a sensor in dim light
VALIDATION_COLUMNS = 128
_BLUR_REACH = 4  # in sigmas; what lies beyond weighs less than 1e-4


@dataclass(frozen=True, slots=True)
class Photos:
    """float32 [3, height, width] with values 0..255. Train and validation are parts of one photograph, test is the
    other.

    The parts share no pixel, and are degraded after they were cut, so that no blur crosses from one into the next.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def load_photos() -> Photos:
    from sklearn.datasets import load_sample_image

    china, flower = (
        np.ascontiguousarray(load_sample_image(f"{name}.jpg").transpose(2, 0, 1), dtype=np.float32)
        for name in ("china", "flower")
    )
    return Photos(china[:, :, :-VALIDATION_COLUMNS], china[:, :, -VALIDATION_COLUMNS:], flower)


def spoil(photo: np.ndarray, seed: int) -> np.ndarray:
    """Blur, add Gaussian noise, and clip to 0..255; the same for the same seed.

    float32 [..., height, width] of 0..255 -> the same.
    """
    noise = np.random.default_rng(seed).normal(0.0, NOISE_SIGMA, photo.shape)
    spoilt: np.ndarray = np.clip(blur(photo, BLUR_SIGMA) + noise, 0, LARGEST_PIXEL).astype(np.float32)
    return spoilt


def blur(photo: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; border values continue beyond the border. [..., height, width], sigma in pixels -> float32
    alike."""
    reach = int(np.ceil(_BLUR_REACH * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    blurred = photo
    for _ in range(2):  # along the width, then, with the axes exchanged, along the height
        padded = np.pad(blurred, [(0, 0)] * (photo.ndim - 1) + [(reach, reach)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=-1)
        blurred = (windows @ weights).swapaxes(-1, -2)
    return blurred.astype(np.float32)


def cut_patches(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """Patches side by side, from the top left; what is left over at the edges is dropped.

    [channels, h, w] -> [rows, channels, height, width].
    """
    channels, down, across = photo.shape[0], photo.shape[1] // height, photo.shape[2] // width
    grid = photo[:, : down * height, : across * width].reshape(channels, down, height, across, width)
    return grid.transpose(1, 3, 0, 2, 4).reshape(-1, channels, height, width)
