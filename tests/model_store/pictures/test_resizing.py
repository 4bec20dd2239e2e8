"""Resized pixels are those of Pillow's filters (torchvision), of OpenCV and of Ultralytics, within one level of 255."""

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from PIL import Image as Pillow
from sklearn.datasets import load_sample_image

from model_store.pictures import resizing
from model_store.pictures.reading import read_picture, read_pixels
from model_store.tasks import Image
from tests.support.pictures.encoding import encode

SIZES = [(1, 1), (1, 60), (60, 1), (2, 90), (300, 2), (37, 53), (53, 37), (64, 64), (99, 100)]
PICTURES = [
    *(np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), np.uint8) for size in SIZES),
    *(load_sample_image(name) for name in ("china.jpg", "flower.jpg")),
]


def read(pixels: np.ndarray, **more: Any) -> np.ndarray:
    """Pixel values [height, width, channels] as integers, so that they can be subtracted."""
    facts = Image(input="x", channels=1 if pixels.ndim == 2 else 3, layout="NHWC", **more)
    return read_pixels(encode(Pillow.fromarray(pixels), compress_level=1), facts, 10**6, "it")[0].astype(int)


def triangle(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(x), 0, None)


def cubic(x: np.ndarray, steepness: float = -0.5) -> np.ndarray:
    """Keys, 1981."""
    x, a = np.abs(x), steepness
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def square(x: np.ndarray) -> np.ndarray:
    return ((x > -0.5) & (x <= 0.5)).astype(float)


def lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS = {"bilinear": (triangle, 1.0), "bicubic": (cubic, 2.0), "box": (square, 0.5), "lanczos": (lanczos, 3.0)}


def filter_of(given: int, side: int, kernel: Callable[[np.ndarray], np.ndarray], reach: float) -> np.ndarray:
    """The weights [side, given] of a filter that averages over all pixels that become one."""
    scale = given / side
    wide = max(1.0, scale)
    weights = np.zeros((side, given))
    for i in range(side):
        centre = (i + 0.5) * scale
        first, last = max(0, int(centre - reach * wide + 0.5)), min(given, int(centre + reach * wide + 0.5))
        found = kernel((np.arange(first, last) - centre + 0.5) / wide)
        weights[i, first:last] = found / found.sum()
    return weights


def filter_lines(pixels: np.ndarray, side: int, interpolation: str) -> np.ndarray:
    """Rounded to levels after each of the two steps: as Pillow, and torchvision for pictures and uint8 tensors."""
    weights = filter_of(pixels.shape[1], side, *FILTERS[interpolation])
    return np.floor(weights @ pixels + 0.5).clip(0, 255)


def turn(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(1, 0, 2)


def filter_twice(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """Lines first, or columns first. Pillow takes what is faster."""
    width, height = size
    lines_first = turn(filter_lines(turn(filter_lines(pixels, width, interpolation)), height, interpolation))
    columns_first = filter_lines(turn(filter_lines(turn(pixels), height, interpolation)), width, interpolation)
    return lines_first, columns_first


def read_four(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each new pixel from the four nearest ones, without an average over more."""
    width, height = size
    places = []
    for given, side in ((pixels.shape[1], width), (pixels.shape[0], height)):
        at = (np.arange(side) + 0.5) * given / side - 0.5
        first = np.floor(at).astype(int)
        places.append((first.clip(0, given - 1), (first + 1).clip(0, given - 1), at - first))
    (left, right, x), (above, below, y) = places
    values = pixels.astype(float)
    upper, lower = (v[:, left] + (v[:, right] - v[:, left]) * x[:, None] for v in (values[above], values[below]))
    return np.floor(upper + (lower - upper) * y[:, None, None] + 0.5)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(40, 40), (7, 90), (224, 160)])
def test_average_of_all_pixels_is_that_of_the_formulas(size: tuple[int, int], interpolation: Any) -> None:
    """Every pixel of a smaller picture is an average with the weights of the filter, as in torchvision."""
    for pixels in PICTURES:
        found = read(pixels, width=size[0], height=size[1], interpolation=interpolation)
        ways = filter_twice(pixels, size, interpolation)
        assert min(np.abs(found - expected).max() for expected in ways) <= 1, pixels.shape


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shortest_side_and_centre_crop_are_those_of_torchvision(interpolation: Any) -> None:
    """Resize(72) and CenterCrop(64), the usual way to classify a picture."""
    for pixels in PICTURES:
        height, width = pixels.shape[:2]
        short = min(height, width)
        size = int(72 * width / short), int(72 * height / short)
        if math.prod(size) > 100_000:
            continue
        left, top = (round((side - 64) / 2) for side in size)
        ways = filter_twice(pixels, size, interpolation)
        found = read(pixels, width=64, height=64, resize="crop", shortest=72, interpolation=interpolation)
        wrong = [np.abs(found - way[top : top + 64, left : left + 64]).max() for way in ways]
        assert min(wrong) <= 1, pixels.shape


@pytest.mark.parametrize("size", [(96, 96), (64, 97), (321, 160)])
@pytest.mark.parametrize("enlarge", [True, False])
def test_letterbox_is_that_of_ultralytics(size: tuple[int, int], enlarge: bool) -> None:
    """The picture lies in the centre of grey 114, resized from the nearest pixels by one ratio."""
    width, height = size
    for pixels in PICTURES:
        ratio = min(height / pixels.shape[0], width / pixels.shape[1])
        if not enlarge:
            ratio = min(ratio, 1.0)
        wide, high = max(1, round(pixels.shape[1] * ratio)), max(1, round(pixels.shape[0] * ratio))
        left, top = round((width - wide) / 2 - 0.1), round((height - high) / 2 - 0.1)
        expected = np.full((height, width, 3), 114.0)
        expected[top : top + high, left : left + wide] = read_four(pixels, (wide, high))
        found = read(pixels, width=width, height=height, resize="fit", antialias=False, padding=114, enlarge=enlarge)
        assert np.abs(found - expected).max() <= 1, pixels.shape


PATTERN = np.array(
    [
        [0, 37, 148, 77, 80, 157, 52],
        [91, 141, 9, 207, 223, 57, 221],
        [182, 245, 126, 81, 110, 213, 134],
        [17, 93, 243, 211, 253, 113, 47],
        [108, 197, 104, 85, 140, 13, 216],
    ],
    np.uint8,
)
OPENCV = {  # cv2.resize of PATTERN by version 5.0.0
    "bilinear": [
        [[46, 104, 127, 114], [206, 120, 106, 164], [109, 147, 171, 117]],
        [
            [0, 25, 86, 132, 77, 79, 123, 122, 52],
            [40, 68, 85, 97, 134, 141, 126, 117, 126],
            [97, 130, 89, 57, 199, 212, 133, 116, 215],
            [153, 193, 158, 96, 120, 140, 156, 163, 161],
            [130, 175, 182, 153, 121, 147, 170, 157, 107],
            [27, 77, 162, 228, 203, 235, 175, 97, 52],
            [68, 124, 157, 159, 140, 178, 116, 85, 142],
            [108, 167, 155, 100, 85, 128, 69, 81, 216],
        ],
    ],
    "bicubic": [
        [[36, 103, 132, 112], [213, 112, 99, 169], [101, 151, 188, 106]],
        [
            [0, 1, 97, 155, 65, 54, 136, 136, 28],
            [29, 60, 75, 92, 143, 156, 120, 105, 134],
            [96, 151, 78, 33, 206, 241, 116, 94, 235],
            [174, 237, 167, 62, 110, 127, 158, 179, 178],
            [135, 189, 208, 163, 111, 130, 194, 176, 83],
            [17, 57, 171, 250, 209, 254, 190, 84, 39],
            [50, 110, 165, 170, 150, 205, 110, 59, 142],
            [111, 191, 167, 74, 73, 131, 40, 62, 247],
        ],
    ],
    "nearest": [
        [[0, 37, 77, 157], [91, 141, 207, 57], [17, 93, 211, 113]],
        [
            [0, 0, 37, 148, 77, 77, 80, 157, 52],
            [0, 0, 37, 148, 77, 77, 80, 157, 52],
            [91, 91, 141, 9, 207, 207, 223, 57, 221],
            [91, 91, 141, 9, 207, 207, 223, 57, 221],
            [182, 182, 245, 126, 81, 81, 110, 213, 134],
            [17, 17, 93, 243, 211, 211, 253, 113, 47],
            [17, 17, 93, 243, 211, 211, 253, 113, 47],
            [108, 108, 197, 104, 85, 85, 140, 13, 216],
        ],
    ],
}


@pytest.mark.parametrize("interpolation", OPENCV)
def test_nearest_pixels_are_those_of_opencv(interpolation: Any) -> None:
    """Without antialias the values are those of cv2.resize: equal for nearest, within one level for the others."""
    for table in OPENCV[interpolation]:
        expected = np.array(table)
        height, width = expected.shape
        found = read(PATTERN, width=width, height=height, antialias=False, interpolation=interpolation)[:, :, 0]
        assert np.abs(found - expected).max() <= (interpolation != "nearest")
        colours = read(
            np.dstack([PATTERN] * 3), width=width, height=height, antialias=False, interpolation=interpolation
        )
        assert np.abs(colours - expected[:, :, None]).max() <= (interpolation != "nearest")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(3, 900), (900, 3), (1, 400), (500, 20)])
def test_part_of_a_large_result_is_that_of_the_whole(
    size: tuple[int, int], interpolation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop of a picture a hundred times as wide as high makes only the part that it keeps. Steps round otherwise."""
    places = np.arange(size[0] * size[1] * 3).reshape(size[1], size[0], 3)
    pixels = (128 + 60 * np.sin(places)).astype(np.uint8)  # no filter leaves 0 to 255, where the order of steps counts
    facts = {"width": 40, "height": 50, "resize": "crop", "interpolation": interpolation}
    monkeypatch.setattr(resizing, "_MOST_WHOLE", 1)
    part = read(pixels, **facts)
    monkeypatch.setattr(resizing, "_widen", lambda given, side, begin, end: (0, side, begin))
    whole = read(pixels, **facts)
    assert np.abs(part - whole).max() <= 2


@pytest.mark.parametrize("size", [(640, 480), (333, 777), (200, 150), (61, 60)])
def test_centre_is_cut_out_before_the_rest_is_resized(size: tuple[int, int]) -> None:
    """Bilinear pixels of a centre are within one level of those of Pillow's whole result, at any size."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    found = read(pixels, width=224, height=224, resize="crop", shortest=256)
    width, height = (256 * side // min(size) for side in size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    whole = Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BILINEAR)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)), np.float32)
    assert np.abs(found - expected).max() <= 1


def test_half_of_a_picture_is_the_average_of_four_pixels() -> None:
    """Without antialias half the size is what OpenCV gives: the same four pixels, rounded half up."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    found = read(pixels, width=32, height=32, resize="fit", antialias=False, padding=114)
    sums = pixels.astype(int).reshape(24, 2, 32, 2, 3).sum((1, 3))
    np.testing.assert_array_equal(found[4:28], (sums + 2) // 4)
    assert (found[:4] == 114).all()


def test_crop_of_a_line_takes_no_memory_of_its_size() -> None:
    """The whole would have 400 million pixels: 20000 x 1 made 224 times as large."""
    line = np.tile(np.arange(0, 250, 10, np.uint8), 800)[None]
    found = read(line, width=224, height=224, resize="crop")
    assert found.shape == (224, 224, 1)
    assert np.ptp(found[:, 0]) == 0


@pytest.mark.parametrize("at_once", [1, 60, 1 << 20])
def test_lines_are_interpolated_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide pictures take a bounded amount of memory, and the values stay the same."""
    pixels = PICTURES[5]
    expected = read(pixels, width=20, height=30, interpolation="bicubic", antialias=False)
    monkeypatch.setattr(resizing, "_LINE_PIXELS", at_once)
    np.testing.assert_array_equal(read(pixels, width=20, height=30, interpolation="bicubic", antialias=False), expected)


COLOURS = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]], np.uint8)
COLOURS_FILE = encode(Pillow.fromarray(COLOURS))


def row_of(dtype: Any = np.float32, **more: Any) -> np.ndarray:
    return read_picture(COLOURS_FILE, Image(input="x", channels=3, **more), 100, "it", dtype=dtype)[0]


def test_channels_have_the_order_and_layout_of_the_tensor() -> None:
    """RGB or BGR, channels first or last; scale, offset and padding are in the order of the tensor."""
    np.testing.assert_array_equal(row_of(), COLOURS.transpose(2, 0, 1))
    np.testing.assert_array_equal(row_of(layout="NHWC"), COLOURS)
    np.testing.assert_array_equal(row_of(order="BGR", layout="NHWC"), COLOURS[:, :, ::-1])
    per_channel = {"scale": (1.0, 0.5, 2.0), "offset": (0.0, -1.0, 1.0)}
    expected = COLOURS[:, :, ::-1] * np.float32([1, 0.5, 2]) + np.float32([0, -1, 1])
    np.testing.assert_array_equal(row_of(order="BGR", layout="NHWC", **per_channel), expected)
    np.testing.assert_array_equal(row_of(order="BGR", **per_channel), expected.transpose(2, 0, 1))
    padded = row_of(order="BGR", layout="NHWC", width=2, height=4, resize="fit", padding=(1, 2, 3))
    assert padded[[0, 3]].tolist() == [[[1, 2, 3]] * 2] * 2
    np.testing.assert_array_equal(padded[1:3], COLOURS[:, :, ::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_row_has_the_datatype_of_the_tensor(dtype: Any, order: Any, layout: Any) -> None:
    """It lies in one piece, may be written to, and has the pixel values where nothing is scaled."""
    row = row_of(dtype, order=order, layout=layout)
    assert (row.dtype, row.flags.c_contiguous, row.flags.writeable) == (dtype, True, True)
    assert sorted(row.astype(int).ravel().tolist()) == list(range(10, 130, 10))


def test_grey_comes_from_colours() -> None:
    """A model of one channel gets one, in either layout."""
    facts = Image(input="x", channels=1, width=5, height=4)
    row, placement = read_picture(COLOURS_FILE, facts, 100, "it")
    assert row.shape == (1, 4, 5)
    assert placement == (2, 2, 2.5, 2.0, 0, 0)
    assert read_picture(COLOURS_FILE, facts.model_copy(update={"layout": "NHWC"}), 100, "it")[0].shape == (4, 5, 1)
