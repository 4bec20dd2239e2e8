"""Resizes, crops and pads pixels for a model."""

import math
from typing import NamedTuple, Self

import numpy as np
from PIL import Image as Pillow

from model_store.pictures.geometry import Plan, Size
from model_store.tasks import Image

_FILTERS = {
    "nearest": Pillow.Resampling.NEAREST,
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "box": Pillow.Resampling.BOX,
    "lanczos": Pillow.Resampling.LANCZOS,
}
_REACH = 3
"""No filter reads further than this many pixels, of the picture or of the result, whichever are larger."""
_MOST_WHOLE = 1 << 22
"""In pixels. Of a larger result only the part that is kept is computed: its sides may differ a thousandfold."""
_LINE_PIXELS = 1 << 18
"""Pixels that are interpolated at a time: each takes 30 bytes meanwhile."""
_CUBIC = -0.75
"""The steepness of OpenCV's and PyTorch's cubic interpolation (Keys, 1981)."""

Window = tuple[int, int, int, int]


def resize(picture: Pillow.Image, plan: Plan, facts: Image) -> np.ndarray:
    """The pixels, uint8 [height, width, channels], of a picture in mode L or RGB. The order of channels is kept."""
    part = _resize(picture, plan.resized, plan.window, facts)
    if isinstance(part, Pillow.Image) and part.mode == "RGB" and facts.layout == "NCHW":
        # Each channel is contiguous, as the model takes it: gathering it from a picture takes several times as long.
        return _lay(np.stack([np.asarray(channel) for channel in part.split()]).transpose(1, 2, 0), plan, facts)
    pixels = np.asarray(part)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return _lay(pixels, plan, facts)


def _lay(pixels: np.ndarray, plan: Plan, facts: Image) -> np.ndarray:
    """Place pixels on padding, if there is any. For BGR, the padding is in this order too."""
    height, width, channels = pixels.shape
    if (width, height) == plan.size:
        return pixels
    levels = facts.padding
    if isinstance(levels, tuple) and facts.order == "BGR":
        levels = levels[::-1]
    laid = np.empty_like(pixels, shape=(plan.size.height, plan.size.width, channels))
    laid[:] = levels
    left, top = max(0, plan.left), max(0, plan.top)
    laid[top : top + height, left : left + width] = pixels
    return laid


def _resize(picture: Pillow.Image, size: Size, window: Window, facts: Image) -> Pillow.Image | np.ndarray:
    """The part ``window`` of the picture at ``size``."""
    if picture.size == size:
        return picture if window == (0, 0, *size) else picture.crop(window)
    if facts.antialias:
        return _resize_smoothly(picture, size, window, _FILTERS[facts.interpolation])
    if facts.interpolation == "bilinear":
        return _interpolate(picture, size, window)
    pixels = np.asarray(picture)
    if facts.interpolation == "nearest":
        x, y = (_find_nearest(*sides) for sides in _sides(picture, size, window))
        nearest: np.ndarray = pixels[y][:, x]
        return nearest
    return _weigh(pixels, *(_Taps.of(*sides) for sides in _sides(picture, size, window)))


def _resize_smoothly(picture: Pillow.Image, size: Size, window: Window, resampling: Pillow.Resampling) -> Pillow.Image:
    is_exact = resampling == Pillow.Resampling.BILINEAR  # with other filters, a part may differ by more than one level
    if window == (0, 0, *size) or (not is_exact and math.prod(size) <= _MOST_WHOLE):
        whole = picture.resize(size, resampling)
        return whole if window == (0, 0, *size) else whole.crop(window)
    (left, right, before), (top, bottom, above) = (_widen(*sides) for sides in _sides(picture, size, window))
    x, y = picture.width / size.width, picture.height / size.height
    part = picture.resize((right - left, bottom - top), resampling, (left * x, top * y, right * x, bottom * y))
    return part.crop((before, above, before + window[2] - window[0], above + window[3] - window[1]))


def _widen(given: int, side: int, begin: int, end: int) -> tuple[int, int, int]:
    """Begin and end of the part that the filter reads, and where the wanted part begins in it."""
    margin = math.ceil(_REACH * max(1.0, side / given)) + 1
    wide = max(0, begin - margin)
    return wide, min(side, end + margin), begin - wide


def _interpolate(picture: Pillow.Image, size: Size, window: Window) -> Pillow.Image:
    """Interpolate between the four nearest pixels, like OpenCV's INTER_LINEAR."""
    if picture.size == (2 * size.width, 2 * size.height):
        return picture.reduce(2).crop(window)  # the same four pixels, in a tenth of the time
    left, top, right, bottom = window
    x, y = picture.width / size.width, picture.height / size.height
    matrix = (x, 0, left * x, 0, y, top * y)
    transform = Pillow.Transform.AFFINE
    return picture.transform((right - left, bottom - top), transform, matrix, Pillow.Resampling.BILINEAR)


def _sides(picture: Pillow.Image, size: Size, window: Window) -> tuple[tuple[int, int, int, int], ...]:
    """For width and height: the side before and after, and begin and end of the window."""
    left, top, right, bottom = window
    return (picture.width, size.width, left, right), (picture.height, size.height, top, bottom)


def _find_nearest(given: int, side: int, begin: int, end: int) -> np.ndarray:
    """The pixel of a line that is read for each new one: that at its left, like OpenCV's INTER_NEAREST."""
    places: np.ndarray = (np.arange(begin, end) * (given / side)).astype(int).clip(0, given - 1)
    return places


class _Taps(NamedTuple):
    """The four pixels of a line that are read for each new one, [pixels, 4], and their weights."""

    places: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, given: int, side: int, begin: int, end: int) -> Self:
        """Those around its centre, like OpenCV's INTER_CUBIC."""
        centres = (np.arange(begin, end) + 0.5) * (given / side) - 0.5
        first = np.floor(centres).astype(int)
        beyond = (centres - first).astype(np.float32)
        near, far = _near(beyond), _far(beyond + 1)
        other = _near(1 - beyond)
        weights = np.stack([far, near, other, 1 - far - near - other], axis=1)
        return cls((first[:, None] + np.arange(-1, 3)).clip(0, given - 1), weights)


def _near(distance: np.ndarray) -> np.ndarray:
    """The weight of a pixel up to 1 away."""
    weight: np.ndarray = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    return weight


def _far(distance: np.ndarray) -> np.ndarray:
    """The weight of a pixel from 1 to 2 away."""
    weight: np.ndarray = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return weight


def _weigh(pixels: np.ndarray, x: _Taps, y: _Taps) -> np.ndarray:
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    found = np.empty((len(y.places), len(x.places), pixels.shape[2]), np.uint8)
    at_once = max(1, _LINE_PIXELS // pixels.shape[1])
    for top in range(0, len(found), at_once):
        some = slice(top, top + at_once)
        lines = sum(pixels[y.places[some, i]] * y.weights[some, i, None, None] for i in range(4))
        values = sum(lines[:, x.places[:, i]] * x.weights[:, i, None] for i in range(4))
        found[some] = np.rint(values).clip(0, 255)
    return found
