"""Computes how a picture is resized, cropped and padded. Pure arithmetic.

The rounding is that of the libraries that models are trained with, because a shift of one pixel changes scores.
"""

from typing import NamedTuple

from model_store.tasks import Image


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


class Placement(NamedTuple):
    """The position of an upright picture of ``width`` x ``height`` pixels in the picture that a model takes.

    A point of the picture at (x, y) is at (x * scale_x + offset_x, y * scale_y + offset_y) for the model.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the part of the model's picture that the picture covers."""
        right = self.offset_x + self.width * self.scale_x
        return self.offset_x, self.offset_y, right, self.offset_y + self.height * self.scale_y


class Plan(NamedTuple):
    """A picture is resized to ``resized`` and placed on one of ``size``, with its left top corner at (left, top).

    Parts outside are cut off, so ``left`` and ``top`` are negative in a crop. Parts that are not covered are padding.
    """

    resized: Size
    size: Size
    left: int
    top: int
    placement: Placement

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the part of the resized picture that is kept."""
        left, top = max(0, -self.left), max(0, -self.top)
        right = min(self.resized.width, self.size.width - self.left)
        return left, top, right, min(self.resized.height, self.size.height - self.top)


def plan(width: int, height: int, facts: Image) -> Plan:
    """The plan for an upright picture of ``width`` x ``height`` pixels, both at least 1."""
    given = Size(width, height)
    if facts.height is None:
        resized, size = _take_any_size(given, facts)
    elif facts.width is None:
        resized, size = _take_any_width(given, facts.height, facts)
    else:
        size = Size(facts.width, facts.height)
        resized = _resize_to(given, size, facts)
    left = _begin(size.width - resized.width, facts)
    top = _begin(size.height - resized.height, facts)
    scales = resized.width / width, resized.height / height
    return Plan(resized, size, left, top, Placement(width, height, *scales, left, top))


def _resize_to(given: Size, size: Size, facts: Image) -> Size:
    if facts.resize == "stretch":
        return size
    if facts.resize == "fit":
        return _unless_larger(_fit(given, size, facts), given, facts)
    if facts.shortest is not None:
        return _unless_larger(_shorten(given, facts.shortest), given, facts)
    if given.width * size.height >= given.height * size.width:  # wider than it must be
        covering = Size(size.height * given.width // given.height, size.height)
    else:
        covering = Size(size.width, size.width * given.height // given.width)
    return _unless_larger(covering, given, facts)


def _take_any_size(given: Size, facts: Image) -> tuple[Size, Size]:
    """The size to which the picture is resized, and the size with padding."""
    resized = given
    if facts.shortest is not None and facts.longest is not None:
        resized = _shorten_within(given, facts.shortest, facts.longest)
    elif facts.shortest is not None:
        resized = _shorten(given, facts.shortest)
    elif facts.longest is not None:
        resized = _fit(given, Size(facts.longest, facts.longest), facts)
    resized = _unless_larger(resized, given, facts)
    size = Size(_next_multiple(resized.width, facts.multiple), _next_multiple(resized.height, facts.multiple))
    return (size if facts.resize == "stretch" else resized), size


def _take_any_width(given: Size, height: int, facts: Image) -> tuple[Size, Size]:
    """The same two sizes for a fixed height."""
    width = _round(given.width * height / given.height, facts)
    if facts.longest is not None:
        width = min(width, facts.longest)
    size = Size(_next_multiple(max(width, facts.narrowest or 1), facts.multiple), height)
    return (size if facts.resize == "stretch" else Size(width, height)), size


def _fit(given: Size, size: Size, facts: Image) -> Size:
    """The largest size of the same proportions within ``size``."""
    scale = min(size.height / given.height, size.width / given.width)
    return Size(_round(given.width * scale, facts), _round(given.height * scale, facts))


def _round(side: float, facts: Image) -> int:
    """A side in whole pixels, at least one."""
    return max(1, int(side) if facts.rounding == "down" else round(side))


def _shorten(given: Size, shortest: int) -> Size:
    """The size of the same proportions with this shortest side. The other side is rounded down, as torchvision does."""
    if given.width <= given.height:
        return Size(shortest, shortest * given.height // given.width)
    return Size(shortest * given.width // given.height, shortest)


def _shorten_within(given: Size, shortest: int, longest: int) -> Size:
    """The size with this shortest side, or with this longest side if that is smaller; rounded as in DETR."""
    short, long = min(given), max(given)
    exact = float(shortest)
    if long / short * shortest > longest:
        exact = longest * short / long
        shortest = max(1, round(exact))
    if short == shortest:
        return given
    other = max(1, int(exact * long / short))
    return Size(shortest, other) if given.width < given.height else Size(other, shortest)


def _unless_larger(resized: Size, given: Size, facts: Image) -> Size:
    larger = resized.width > given.width or resized.height > given.height
    return given if larger and not facts.enlarge else resized


def _next_multiple(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _begin(space: int, facts: Image) -> int:
    """Where a resized side begins on that of the model, which is longer by ``space``; negative if it is shorter."""
    if space >= 0 and facts.resize != "crop":
        return space // 2 if facts.padded == "centre" else 0
    if facts.rounding == "down":
        return -(-space // 2)
    return space // 2 if space >= 0 else -round(-space / 2)
