"""Writes arrays as PNG pictures: one row, a grid of rows, a map of numbers over a picture."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from model_store.tasks import Picture

MEDIA_TYPE = "image/png"
_CELL = 64  # small rows are enlarged until the longer side has this many pixels
_SIDE = 4096  # but a grid does not become larger than this
_GAP = 2  # pixels between the cells of a grid
_GAP_GREY = 128  # visible beside black and beside white
_LINES = 256  # a map is coloured so many lines at a time, because a pixel takes a hundred bytes meanwhile
_LEVEL = 1  # of compression: photographs take half the time of Pillow's default, and 5 % more bytes
# The colours of maps can be told apart by people who do not see the difference between red and green.
_POSITIVE = np.array([255, 96, 0], np.float32)
_NEGATIVE = np.array([0, 144, 255], np.float32)
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2


def to_pixels(array: np.ndarray, picture: Picture) -> np.ndarray:
    """Pixel values, uint8, of the same shape: (array - offset) / scale, rounded and clipped to 0..255.

    NaN becomes 0. Arrays of uint8 already have pixel values and stay as they are.
    """
    if array.dtype == np.uint8:
        return array
    values = (np.asarray(array, np.float32) - picture.spread(picture.offset)) / picture.spread(picture.scale)
    pixels: np.ndarray = np.nan_to_num(values.round().clip(0, 255)).astype(np.uint8)
    return pixels


def to_picture(array: np.ndarray, picture: Picture) -> np.ndarray:
    """Rows of a tensor as pixel values, uint8 [..., channels, height, width], in grey or RGB.

    Rows of uint8 already have pixel values. They too have the channel order and the layout of the tensor.
    """
    pixels = to_pixels(array, picture)
    if picture.layout == "NHWC":
        pixels = np.moveaxis(pixels, -1, -3)
    return pixels[..., ::-1, :, :] if picture.order == "BGR" else pixels


def encode_png(array: np.ndarray, picture: Picture) -> bytes:
    """One row, with 1 or 3 channels, as a PNG of height x width."""
    return _save(to_picture(array, picture).transpose(1, 2, 0))


def encode_grid(rows: np.ndarray, picture: Picture) -> bytes:
    """Rows [n, ...], n >= 1, as one PNG, line by line.

    There are ceil(sqrt(n)) columns, with a thin grey gap between the cells. Small rows are enlarged by a whole factor.
    """
    pixels = to_picture(rows, picture).transpose(0, 2, 3, 1)
    count, height, width, channels = pixels.shape
    columns = math.isqrt(count - 1) + 1
    lines = -(-count // columns)
    factor = min(_enlargement(height, width), max(1, _SIDE // (columns * max(height, width))))
    tall, wide = height * factor + _GAP, width * factor + _GAP
    sheet = np.full((lines * tall, columns * wide, channels), _GAP_GREY, np.uint8)
    for i, sample in enumerate(pixels):
        top, left = i // columns * tall, i % columns * wide
        sheet[top : top + tall - _GAP, left : left + wide - _GAP] = _enlarge(sample, factor)
    return _save(sheet[:-_GAP, :-_GAP])


def encode_heat(values: np.ndarray, over: np.ndarray | None = None) -> bytes:
    """A map [height, width] as a PNG: orange for positive numbers, blue for negative ones, transparent at 0.

    It is drawn over the luminance of ``over``, uint8 [channels, height, width] (see `to_picture`), or over black. The
    largest magnitude has the strongest colour. NaN and infinities count as 0. Small maps are enlarged as in a grid.
    """
    values = np.asarray(values)
    parts = [slice(top, top + _LINES) for top in range(0, len(values), _LINES)]
    strongest = max(float(np.abs(_finite(values[lines])).max()) for lines in parts)
    pixels = np.empty((*values.shape, 3), np.uint8)
    for lines in parts:
        pixels[lines] = _colour(_finite(values[lines]), strongest, None if over is None else over[:, lines])
    return _save(_enlarge(pixels, _enlargement(*values.shape)))


def encode_mask(inside: np.ndarray) -> bytes:
    """bool [height, width] as a black and white PNG, white inside."""
    return write_png(Pillow.fromarray(inside))


def encode_labels(labels: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> bytes:
    """Label indices [height, width] as a PNG whose pixel values they are.

    ``colours``, one for each label, become the palette. Arrays of uint16 become 16-bit grey.
    """
    if labels.dtype != np.uint8:
        return write_png(Pillow.fromarray(labels.astype(np.uint16)))
    picture = Pillow.fromarray(labels).convert("P")
    picture.putpalette([level for colour in colours for level in colour])
    return write_png(picture)


def as_image(content: bytes) -> dict[str, str]:
    """A PNG as a JSON value, in the form that rows of requests also have."""
    return {"image": base64.b64encode(content).decode()}


def _finite(values: np.ndarray) -> np.ndarray:
    finite: np.ndarray = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return finite


def _colour(values: np.ndarray, strongest: float, over: np.ndarray | None) -> np.ndarray:
    """The pixels [height, width, 3] of a map of finite numbers."""
    strength = np.zeros(values.shape, np.float32)
    if strongest > 0:
        strength = (values.astype(np.float64) / strongest).clip(-1, 1).astype(np.float32)
    if over is None:
        grey = np.zeros(values.shape, np.float32)
    else:
        shown = over.astype(np.float32)
        grey = shown[0] if len(over) == 1 else np.tensordot(_LUMINANCE, shown, 1)
    opacity = np.abs(strength)[..., None]
    hue = np.where(strength[..., None] < 0, _NEGATIVE, _POSITIVE)
    pixels: np.ndarray = (grey[..., None] * (1 - opacity) + hue * opacity).round().astype(np.uint8)
    return pixels


def _enlargement(height: int, width: int) -> int:
    return -(-_CELL // max(height, width))


def _enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of [height, width, channels] becomes factor x factor of its colour."""
    return pixels if factor == 1 else pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _save(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [height, width, 1 or 3]."""
    shown = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return write_png(Pillow.fromarray(np.ascontiguousarray(shown)))


def write_png(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_LEVEL)
    return buffer.getvalue()
