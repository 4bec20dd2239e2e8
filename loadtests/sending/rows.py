"""Example rows for any signature: pen strokes for pictures, plain numbers in [0, 1) for the rest."""

import numpy as np

from loadtests.signature import DYNAMIC, NoModel, Signature, Tensor
from loadtests.wire import DTYPES

DYNAMIC_AXIS_LENGTH = 16
"""The size of an axis, other than the batch, that the model leaves open."""

MIN_PICTURE_SIDE = 4
STROKE_POINTS = 24


def make_inputs(signature: Signature, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``rows`` rows for each input of ``signature``. The same generator state gives the same rows.

    Raises NoModel for a datatype without numbers (BYTES, BF16).
    """
    return {tensor.name: _make_tensor(signature.model, tensor, rows, rng) for tensor in signature.inputs}


def _make_tensor(model: str, tensor: Tensor, rows: int, rng: np.random.Generator) -> np.ndarray:
    if tensor.datatype not in DTYPES:
        raise NoModel(
            f"input {tensor.name!r} of model {model!r} is {tensor.datatype}: "
            f"a load test makes rows of {', '.join(DTYPES)} only; choose another model with --model"
        )
    dtype = DTYPES[tensor.datatype]
    shape = tuple(DYNAMIC_AXIS_LENGTH if size == DYNAMIC else size for size in tensor.row_shape)
    if dtype.kind == "f":
        values = np.stack([_draw_row(shape, rng) for _ in range(rows)])
    else:
        # 0 and 1 are valid for most integers: flags, tokens, masks, lengths.
        values = rng.integers(0, 2, (rows, *shape))
    return values.astype(dtype)


def _draw_row(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) < 2 or min(shape[-2:]) < MIN_PICTURE_SIDE:
        return rng.random(shape, dtype=np.float32)
    channels = int(np.prod(shape[:-2], dtype=np.int64))
    return np.stack([_draw_stroke(shape[-2], shape[-1], rng) for _ in range(channels)]).reshape(shape)


def _draw_stroke(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A bright, soft-edged curve on black, values in [0, 1]: a quadratic Bézier curve through random points."""
    start, bend, end = rng.random((3, 2)) * 0.8 + 0.1
    t = np.linspace(0.0, 1.0, STROKE_POINTS)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(y + 0.5) / height, (x + 0.5) / width], axis=-1)
    distance = np.sqrt(((pixels[:, :, None, :] - curve) ** 2).sum(axis=-1)).min(axis=-1)
    # Two decimals: enough grey levels for a picture, and JSON bodies as short as real clients send them.
    brightness = np.exp(-((distance / 0.06) ** 2))
    return np.asarray(np.round(brightness, 2), np.float32)
