"""Connected areas of a map as boxes."""

import numpy as np
import pytest

from model_store.detections.regions import find_regions
from model_store.tasks import Regions

FACTS = Regions(output="map", least_side=1)


def find(picture: str, facts: Regions = FACTS) -> list[list[float]]:
    """The boxes of a map drawn with digits, which are tenths."""
    rows = [[int(character) / 10 for character in line] for line in picture.split()]
    return find_regions(np.array(rows, np.float32), facts).boxes.tolist()


def test_empty_map_has_no_regions() -> None:
    """The answer has the shapes of one with boxes."""
    found = find_regions(np.zeros((4, 5), np.float32), FACTS)
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(
    ("picture", "boxes"),
    [
        ("0990 0990 0000", [[1, 0, 3, 2]]),
        ("9000 0900 0090", [[0, 0, 3, 3]]),
        ("9009 9009 9999", [[0, 0, 4, 3]]),
        ("9999 9009 9999", [[0, 0, 4, 3]]),
        ("90909 90909 99999", [[0, 0, 5, 3]]),
        ("0090 0900 9000", [[0, 0, 3, 3]]),
    ],
)
def test_pixels_that_touch_are_one_region(picture: str, boxes: list[list[float]]) -> None:
    """At corners too, and where two branches meet further down."""
    assert find(picture) == boxes


def test_regions_come_by_their_mean_score() -> None:
    """Pixels at the threshold or below are no part of a region, and of no mean."""
    found = find_regions(np.array([[0.4, 0.6, 0.3, 0.9, 0.9]], np.float32), FACTS)
    assert found.boxes.tolist() == [[3, 0, 5, 1], [0, 0, 2, 1]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])


def test_boxes_grow_by_area_over_outline() -> None:
    """4 x 2 pixels have the area 8 and the outline 12."""
    assert find("9999 9999", Regions(output="map", growth=1.5)) == []
    grown = find("9999 9999", Regions(output="map", growth=1.5, least_side=2))
    assert grown == [[-1, -1, 5, 3]]


def test_regions_equal_a_flood_fill() -> None:
    """On random maps, from scattered pixels to almost full ones."""
    random = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.5, 0.7):
        inside = random.random((23, 31)) < share
        found = find_regions(inside.astype(np.float32), FACTS).boxes
        assert sorted(map(tuple, found.tolist())) == sorted(flood(inside.copy()))


def flood(inside: np.ndarray) -> list[tuple[float, ...]]:
    boxes = []
    for start in zip(*np.nonzero(inside), strict=True):
        if not inside[start]:
            continue
        inside[start], waiting, seen = False, [start], []
        while waiting:
            y, x = waiting.pop()
            seen.append((y, x))
            for place in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if all(0 <= at < size for at, size in zip(place, inside.shape, strict=True)) and inside[place]:
                    inside[place] = False
                    waiting.append(place)
        (top, left), (bottom, right) = np.min(seen, 0), np.max(seen, 0) + 1
        boxes.append((float(left), float(top), float(right), float(bottom)))
    return boxes
