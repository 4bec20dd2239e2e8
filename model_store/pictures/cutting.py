"""Parts of a decoded picture. A part is cut out only when it is read, and takes no memory until then."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from model_store.errors import PictureTooLarge

Corners = Sequence[tuple[float, float]]
"""Left top, right top, right bottom, left bottom."""


class Cut(NamedTuple):
    """A part of an RGB picture. ``corners`` are in pixels of the picture; ``size`` is width and height of the part."""

    picture: Pillow.Image
    corners: Corners
    size: tuple[int, int]
    where: str

    def take(self) -> Pillow.Image:
        """The part, upright."""
        (left, top), (right, _), (_, bottom), _ = self.corners
        if is_upright(self.corners):
            return self.picture.crop((int(left), int(top), int(right), int(bottom)))
        coefficients = _find_perspective(self.size, self.corners)
        return self.picture.transform(self.size, Pillow.Transform.PERSPECTIVE, coefficients, Pillow.Resampling.BICUBIC)


def cut_out(picture: Pillow.Image, corners: Corners, margin: float, max_pixels: int, where: str) -> Cut:
    """A part of a picture. It is extended on each side by ``margin`` times that side, but not beyond the picture.

    Sides that are parallel to those of the picture are moved out to whole pixels. Raises PictureTooLarge.
    """
    points = np.array(corners, np.float64)
    centre = points.mean(axis=0)
    points = centre + (points - centre) * (1 + 2 * margin)
    points = points.clip(0, picture.size)
    if is_upright(corners):
        left, top = np.floor(points.min(axis=0))
        right, bottom = np.ceil(points.max(axis=0))
        left, top = min(left, picture.width - 1), min(top, picture.height - 1)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        found = ((left, top), (right, top), (right, bottom), (left, bottom))
        return Cut(picture, found, (int(right - left), int(bottom - top)), where)
    width, height = (
        max(1, round(max(math.dist(points[a], points[b]), math.dist(points[c], points[d]))))
        for a, b, c, d in ((0, 1, 3, 2), (0, 3, 1, 2))
    )
    if width * height > max_pixels:
        raise PictureTooLarge(f"{where}: expected at most {max_pixels} pixels, got {width} x {height}")
    return Cut(picture, [(x, y) for x, y in points.tolist()], (width, height), where)


def is_upright(corners: Corners) -> bool:
    """Whether the sides are parallel to those of the picture."""
    (left, top), (right, other_top), (other_right, bottom), (other_left, other_bottom) = corners
    return (left, top, right, bottom) == (other_left, other_top, other_right, other_bottom)


def _find_perspective(size: tuple[int, int], corners: Corners) -> list[float]:
    """The eight coefficients of the projection from an upright part to the picture, for Pillow."""
    width, height = size
    rows, values = [], []
    for (x, y), (u, v) in zip(((0, 0), (width, 0), (width, height), (0, height)), corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    found: list[float] = np.linalg.lstsq(np.array(rows, np.float64), np.array(values, np.float64), rcond=None)[
        0
    ].tolist()
    return found
