"""Rows, grids and maps to PNG pictures: every pixel that is drawn."""

import io
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Pillow

from model_store.tasks import Image, Picture
from service.codecs.pictures.reader import decode_pixels, scale_pixels
from service.codecs.pictures.writer import encode_grid, encode_heat, encode_png, to_pixels

GREY = Picture(channels=1)
COLOUR = Picture(channels=3)
BLACK, GAP, ORANGE, BLUE = (0, 0, 0), (128, 128, 128), (255, 96, 0), (0, 144, 255)


def read(content: bytes) -> np.ndarray:
    """The pixels [height, width] or [height, width, 3] of a PNG."""
    with Pillow.open(io.BytesIO(content), formats=["PNG"]) as picture:
        return np.asarray(picture)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, Picture]:
    """Pixel values of a row, and how a model has them."""
    channels: Literal[1, 3] = draw(st.sampled_from([1, 3]))
    layout: Literal["NCHW", "NHWC"] = draw(st.sampled_from(["NCHW", "NHWC"]))
    order: Literal["RGB", "BGR"] = draw(st.sampled_from(["RGB", "BGR"]))
    sides = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    shape = (channels, *sides) if layout == "NCHW" else (*sides, channels)
    scale = draw(st.sampled_from([1.0, 1 / 255, 16 / 255, -2 / 255, 1 / 255 / 0.225]))
    offset = draw(st.sampled_from([0.0, -1.0, 1.0, -0.485 / 0.225, 128.0]))
    pixels = draw(arrays.arrays(np.uint8, shape))
    return pixels, Picture(channels=channels, scale=scale, offset=offset, order=order, layout=layout)


@settings(deadline=None, max_examples=50)
@given(case=pictures())
def test_what_is_encoded_is_decoded_to_the_same_numbers(case: tuple[np.ndarray, Picture]) -> None:
    """A row that was decoded from a picture, encoded and decoded again, is the same row bit by bit."""
    pixels, picture = case
    row = pixels.astype(np.float32) * np.float32(picture.scale) + np.float32(picture.offset)
    content = encode_png(row, picture)
    facts = Image(input="image", **picture.model_dump())
    np.testing.assert_array_equal(to_pixels(row, picture), pixels)
    np.testing.assert_array_equal(scale_pixels(decode_pixels(content, facts, 100, "row")[0], facts), row)


def test_values_beyond_the_range_are_clipped() -> None:
    """Below black and no number is black, above white is white; every datatype of a model is drawn."""
    values = np.array([[[-1e30, -1, 0.4, 0.6, 254.6, 256, np.inf, -np.inf, np.nan]]], np.float32)
    np.testing.assert_array_equal(read(encode_png(values, GREY)), [[0, 0, 0, 1, 255, 255, 255, 0, 0]])
    for datatype in (np.float16, np.float64, np.uint8, np.int64):
        np.testing.assert_array_equal(read(encode_png(np.array([[[0, 7, 200]]], datatype), GREY)), [[0, 7, 200]])


def test_photograph_comes_out_in_its_size() -> None:
    """A photograph comes out in its size, alone and in a grid of one; no grid is enlarged beyond 4096 pixels."""
    row = np.random.default_rng(0).integers(0, 256, (3, 427, 640)).astype(np.float32)
    np.testing.assert_array_equal(read(encode_png(row, COLOUR)), row.transpose(1, 2, 0))
    np.testing.assert_array_equal(read(encode_grid(row[None], COLOUR)), row.transpose(1, 2, 0))
    assert read(encode_grid(np.zeros((1000, 1, 28, 28), np.float32), GREY)).shape[1] == 32 * (3 * 28 + 2) - 2
    assert read(encode_grid(np.zeros((4000, 1, 28, 28), np.float32), GREY)).shape[1] == 64 * (2 * 28 + 2) - 2


@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(1, 30),
    channels=st.sampled_from([1, 3]),
    height=st.sampled_from([1, 8, 28, 63, 64, 70]),
    width=st.sampled_from([8, 28, 64, 65]),
)
def test_grid_shows_each_sample_once_in_order(count: int, channels: Literal[1, 3], height: int, width: int) -> None:
    """ceil(sqrt(n)) columns, from the left and then from the top, each pixel a square, with grey between and after."""
    picture = Picture(channels=channels)
    rows = np.random.default_rng(count).integers(0, 256, (count, channels, height, width)).astype(np.float32)
    sheet = read(encode_grid(rows, picture))
    columns = int(np.ceil(np.sqrt(count)))
    lines = int(np.ceil(count / columns))
    factor = int(np.ceil(64 / max(height, width)))
    tall, wide = height * factor, width * factor
    assert sheet.shape[:2] == (lines * (tall + 2) - 2, columns * (wide + 2) - 2)
    for i, row in enumerate(rows):
        top, left = i // columns * (tall + 2), i % columns * (wide + 2)
        cell = sheet[top : top + tall, left : left + wide]
        expected = np.kron(row, np.ones((factor, factor))).transpose(1, 2, 0)
        np.testing.assert_array_equal(cell, expected[..., 0] if channels == 1 else expected)
        sheet = np.copy(sheet)
        sheet[top : top + tall, left : left + wide] = 128
    assert (sheet == 128).all()


def cells(content: bytes, factor: int) -> list[list[tuple[int, ...]]]:
    """The colours of a map, one for each of its values."""
    pixels = read(content)
    small = pixels[::factor, ::factor]
    np.testing.assert_array_equal(pixels, small.repeat(factor, 0).repeat(factor, 1))
    return [[tuple(int(c) for c in colour) for colour in line] for line in small]


def test_map_has_two_hues_and_is_normalised() -> None:
    """The largest magnitude is full orange above 0 and blue below; 0 shows the luminance of what is beneath."""
    drawn = cells(encode_heat(np.array([[4.0, -4.0], [0.0, 2.0]])), 32)
    assert drawn == [[ORANGE, BLUE], [BLACK, (128, 48, 0)]]
    over = np.array([[[100, 255, 10]]], np.uint8)
    drawn = cells(encode_heat(np.array([[0.0, 1.0, 0.5]]), over), 22)
    assert drawn == [[(100, 100, 100), ORANGE, (132, 53, 5)]]
    colour = np.array([100, 200, 50], np.uint8)[:, None, None]
    assert cells(encode_heat(np.zeros((1, 1)), colour), 64) == [[(153, 153, 153)]]


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.array([[np.inf, -np.inf]] * 2)])
def test_map_of_nothing_shows_the_input_alone(values: np.ndarray) -> None:
    """Zeros and what is no finite number have no colour, and the largest of nothing is no division by 0."""
    over = np.full((1, 2, 2), 7, np.uint8)
    assert cells(encode_heat(values, over), 32) == [[(7, 7, 7)] * 2] * 2


@settings(deadline=None, max_examples=50)
@given(
    values=arrays.arrays(np.float32, (3, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    factor=st.floats(1e-3, 1e3),
)
def test_map_does_not_depend_on_its_unit(values: np.ndarray, factor: float) -> None:
    """The same map in another unit is the same picture, but for rounding, and its strongest pixel the full colour."""
    drawn = read(encode_heat(values)).astype(int)
    again = read(encode_heat(values.astype(np.float64) * factor)).astype(int)
    assert np.abs(drawn - again).max() <= 1
    if np.abs(values).max() > 0:
        assert drawn[..., 0].max() == 255 or drawn[..., 2].max() == 255
