"""Boxes and labels over pictures."""

import io

import numpy as np
from PIL import Image

from service.codecs.pictures.boxes import Mask, PlacedBox
from service.codecs.pictures.drawing import colour_of, draw_boxes, draw_labels

BLUE = np.broadcast_to(np.array([0, 0, 255], np.uint8)[:, None, None], (3, 60, 120))


def read(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_label_stays_in_the_picture() -> None:
    """The text of a box at the right edge begins further left; that of a box at the top lies inside the box."""
    drawn = read(draw_boxes(BLUE, [PlacedBox((100, 30, 119, 50), 0, 0.5)], ["a long name"]))
    labelled = np.flatnonzero((drawn[25] != BLUE[:, 0, 0]).any(axis=1))
    assert 0 < labelled[0] < 60
    assert labelled[-1] == 119
    drawn = read(draw_boxes(BLUE, [PlacedBox((5, 0, 115, 50), 0, 0.5)], ["a"]))
    assert (drawn[8, 8:12] != BLUE[:, 0, 0]).any()


def test_mask_is_laid_over_its_place() -> None:
    """Half colour, half picture, inside the object only."""
    inside = np.zeros((10, 10), bool)
    inside[:, :5] = True
    drawn = read(draw_boxes(BLUE, [PlacedBox((40, 30, 50, 40), 1, 0.5, (), Mask(40, 30, inside))], ["a", "b"]))
    mixed = (np.array(colour_of(1)) + np.array([0, 0, 255])) / 2
    assert np.abs(drawn[35, 43] - mixed).max() <= 1
    assert drawn[35, 47].tolist() == [0, 0, 255]


def test_grey_pictures_get_colours() -> None:
    """Labels have colours over one channel too; what is ignored stays grey."""
    drawn = read(draw_labels(np.full((1, 4, 4), 100, np.uint8), np.eye(4, dtype=np.uint8), ignored=0))
    assert drawn[0, 1].tolist() == [100, 100, 100]
    assert len(set(drawn[0, 0].tolist())) > 1


def test_neighbouring_labels_have_colours_far_apart() -> None:
    """Of the first ten, no two are alike."""
    colours = np.array([colour_of(label) for label in range(10)], float)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 1000 * np.eye(10)
    assert distances.min() > 40
