"""Sizes, crops and padding: those of the libraries that models are trained with, and always within their limits."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.pictures.geometry import plan
from model_store.tasks import Image

SIDES = st.integers(1, 400) | st.sampled_from([1, 2, 3, 639, 640, 641, 1920, 4001])
SMALL = st.integers(1, 300)


def facts(**more: Any) -> Image:
    return Image(input="x", channels=3, **more)


@given(width=SIDES, height=SIDES, wide=SMALL, high=SMALL)
def test_stretch_gives_the_size_of_the_model(width: int, height: int, wide: int, high: int) -> None:
    """Each side is resized by itself, and nothing is cut off or padded."""
    found = plan(width, height, facts(width=wide, height=high))
    assert (found.resized, found.size, found.left, found.top) == ((wide, high), (wide, high), 0, 0)
    assert found.placement == (width, height, wide / width, high / height, 0, 0)


@settings(max_examples=500)
@given(width=SIDES, height=SIDES, shortest=SMALL, wide=SMALL, high=SMALL)
def test_crop_is_that_of_torchvision(width: int, height: int, shortest: int, wide: int, high: int) -> None:
    """Resize(shortest), whose longer side is cut to a whole number, and CenterCrop, which halves to the even number."""
    short, long = sorted((width, height))
    other = int(shortest * long / short)
    resized = (shortest, other) if width <= height else (other, shortest)
    found = plan(width, height, facts(width=wide, height=high, resize="crop", shortest=shortest))
    assert (found.resized, found.size) == (resized, (wide, high))
    for begin, side, crop in zip((found.left, found.top), resized, (wide, high), strict=True):
        assert begin == ((crop - side) // 2 if crop > side else -round((side - crop) / 2))


@settings(max_examples=500)
@given(width=SIDES, height=SIDES, wide=SMALL, high=SMALL, enlarge=st.booleans(), centre=st.booleans())
def test_fit_is_the_letterbox_of_ultralytics(
    width: int, height: int, wide: int, high: int, enlarge: bool, centre: bool
) -> None:
    """One ratio for both sides, rounded sides of at least 1, and the odd line of padding at the right and bottom."""
    padded = "centre" if centre else "end"
    found = plan(width, height, facts(width=wide, height=high, resize="fit", enlarge=enlarge, padded=padded))
    ratio = min(high / height, wide / width)
    if not enlarge:
        ratio = min(ratio, 1.0)
    unpadded = max(1, round(width * ratio)), max(1, round(height * ratio))
    rest = (wide - unpadded[0]) / 2, (high - unpadded[1]) / 2
    assert (found.resized, found.size) == (unpadded, (wide, high))
    assert (found.left, found.top) == (tuple(round(half - 0.1) for half in rest) if centre else (0, 0))


@settings(max_examples=300)
@given(width=SIDES, height=SIDES, longest=SMALL, multiple=st.sampled_from([1, 2, 14, 32]))
def test_any_size_is_padded_to_a_multiple(width: int, height: int, longest: int, multiple: int) -> None:
    """The longest side is as the manifest says, and the padding to a multiple of n is less than n."""
    found = plan(width, height, facts(longest=longest, multiple=multiple, resize="fit"))
    assert max(found.resized) == longest
    assert all(side % multiple == 0 for side in found.size)
    assert all(0 <= side - resized < multiple for side, resized in zip(found.size, found.resized, strict=True))


@settings(max_examples=300)
@given(width=SIDES, height=SIDES, high=SMALL, multiple=st.sampled_from([1, 8, 64]), narrowest=SMALL, pad=st.booleans())
def test_width_follows_from_a_height_alone(
    width: int, height: int, high: int, multiple: int, narrowest: int, pad: bool
) -> None:
    """Proportions stay within half a pixel, and the width is the next multiple that is not too narrow."""
    resize = "fit" if pad else "stretch"
    found = plan(width, height, facts(height=high, multiple=multiple, narrowest=narrowest, resize=resize, padded="end"))
    exact = width * high / height
    least = max(1, round(exact), narrowest)
    assert found.size == (-(-least // multiple) * multiple, high)
    assert found.resized == ((max(1, round(exact)), high) if pad else found.size)
    assert (found.left, found.top) == (0, 0)


def test_line_that_is_too_long_is_squeezed() -> None:
    """With a height alone, the longest side is the greatest width."""
    found = plan(5000, 50, facts(height=48, longest=960, multiple=32))
    assert (found.resized, found.size) == ((960, 48), (960, 48))


def test_any_size_is_resized_to_a_multiple() -> None:
    """With stretch both sides grow to the next multiple, and the scales say by how much."""
    found = plan(641, 384, facts(multiple=32))
    assert (found.resized, found.size) == ((672, 384), (672, 384))
    assert found.placement == (641, 384, 672 / 641, 1.0, 0, 0)


@given(width=SIDES, height=SIDES)
def test_any_size_stays_without_limits(width: int, height: int) -> None:
    """A picture keeps its size where the manifest says nothing of it."""
    found = plan(width, height, facts())
    assert (found.resized, found.size) == ((width, height), (width, height))


@pytest.mark.parametrize(
    ("size", "more", "resized"),
    [
        ((640, 480), {"shortest": 800, "longest": 1333}, (1066, 800)),
        ((480, 640), {"shortest": 800, "longest": 1333}, (800, 1066)),
        ((2000, 500), {"shortest": 800, "longest": 1333}, (1333, 333)),
        ((800, 801), {"shortest": 800, "longest": 1333}, (800, 801)),
        ((640, 480), {"shortest": 800, "enlarge": False}, (640, 480)),
        ((640, 480), {"longest": 1000, "enlarge": False}, (640, 480)),
        ((640, 480), {"longest": 320, "enlarge": False}, (320, 240)),
        ((640, 480), {"width": 320, "height": 320, "resize": "crop"}, (426, 320)),
        ((640, 480), {"width": 640, "height": 320, "resize": "crop"}, (640, 480)),
        ((480, 640), {"width": 320, "height": 320, "resize": "crop"}, (320, 426)),
        ((64, 48), {"width": 320, "height": 320, "resize": "crop", "enlarge": False}, (64, 48)),
        ((641, 99), {"width": 320, "height": 320, "resize": "fit", "rounding": "down"}, (320, 49)),
    ],
)
def test_known_sizes(size: tuple[int, int], more: dict[str, Any], resized: tuple[int, int]) -> None:
    """Examples for each field, calculated by hand."""
    assert plan(*size, facts(**more)).resized == resized


@settings(max_examples=500)
@given(
    width=SIDES,
    height=SIDES,
    more=st.fixed_dictionaries(
        {
            "resize": st.sampled_from(["stretch", "fit", "crop"]),
            "enlarge": st.booleans(),
            "rounding": st.sampled_from(["nearest", "down"]),
            "padded": st.sampled_from(["centre", "end"]),
        },
        optional={"shortest": SMALL},
    ),
    wide=SMALL,
    high=SMALL,
)
def test_what_is_kept_lies_in_both_pictures(
    width: int, height: int, more: dict[str, Any], wide: int, high: int
) -> None:
    """Whatever a manifest says, some of the picture is kept, and it lies within the one that the model takes."""
    found = plan(width, height, facts(width=wide, height=high, **more))
    left, top, right, bottom = found.window
    assert 0 <= left < right <= found.resized.width
    assert 0 <= top < bottom <= found.resized.height
    assert found.size == (wide, high)
    begins = max(0, found.left), max(0, found.top)
    assert begins[0] + right - left <= wide
    assert begins[1] + bottom - top <= high
    assert math.prod(found.resized) > 0


@given(width=SIDES, height=SIDES, high=SMALL, wide=SMALL, resize=st.sampled_from(["stretch", "fit", "crop"]))
def test_corners_of_the_picture_are_where_its_placement_says(
    width: int, height: int, high: int, wide: int, resize: str
) -> None:
    """The right bottom corner of the picture lies where that of the resized one does, so boxes can be mapped back."""
    found = plan(width, height, facts(width=wide, height=high, resize=resize))
    where = found.placement
    assert where.width * where.scale_x + where.offset_x == pytest.approx(found.left + found.resized.width)
    assert where.height * where.scale_y + where.offset_y == pytest.approx(found.top + found.resized.height)
