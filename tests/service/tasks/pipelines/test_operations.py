"""crop and compare: steps without a model."""

from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from model_store.pictures.cutting import cut_out, is_upright
from model_store.tasks import Embedding, Image, Step
from service.codecs.pictures.reader import decode_cut, decode_pixels
from service.codecs.pictures.writer import write_png
from service.errors import BodyTooLarge, InvalidInput, TryLater, UnsupportedMedia
from service.tasks.pipelines.compare import compare
from service.tasks.pipelines.crop import crop
from service.tasks.pipelines.values import parse_step
from service.tasks.work import Limits, RunInThread
from tests.support.pipelines.models import as_row

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (20, 30, 3)).astype(np.uint8)
PICTURE = Pillow.fromarray(PIXELS)
LIMITS = Limits(max_pixels=10_000)


def run(work: Any) -> Any:
    """Drive an operation, whose slow work is done at once."""
    answer = None
    while True:
        try:
            wanted = work.send(answer)
        except StopIteration as end:
            return end.value
        assert isinstance(wanted, RunInThread)
        answer = wanted.do()


def cut(boxes: Any, picture: Any = None, margin: float = 0.0, limits: Limits = LIMITS, **fields: str) -> Any:
    step = Step(do="crop", **{"picture": "request", "boxes": "find.detections", **fields}, margin=margin)
    taken: list[int] = []
    operands = [[as_row(PIXELS) if picture is None else picture, boxes]]
    [found] = run(crop(parse_step(step), [0], operands, limits, taken.append))
    assert taken == ([PIXELS.size] if boxes else [])
    return found


def pixels_of(part: Any) -> np.ndarray:
    return np.asarray(part.take())


@pytest.mark.parametrize(
    ("box", "margin", "lines", "columns"),
    [
        ([3, 4, 13, 10], 0.0, slice(4, 10), slice(3, 13)),
        ([3.2, 4.9, 12.1, 9.5], 0.0, slice(4, 10), slice(3, 13)),
        ([10, 5, 20, 15], 0.1, slice(4, 16), slice(9, 21)),
        ([-5, -5, 40, 30], 0.0, slice(0, 20), slice(0, 30)),
        ([25, 15, 30, 20], 0.5, slice(12, 20), slice(22, 30)),
        ([30, 20, 30, 20], 0.0, slice(19, 20), slice(29, 30)),
        ([5, 5, 5, 5], 0.0, slice(5, 6), slice(5, 6)),
    ],
)
def test_box_is_cut_out_of_the_callers_pixels(box: list[float], margin: float, lines: slice, columns: slice):
    """Sides move out to whole pixels, by a part of the side more, and end at the picture's; no part is empty."""
    [part] = cut([box], margin=margin)
    assert (pixels_of(part) == PIXELS[lines, columns]).all()
    assert part.size == pixels_of(part).shape[1::-1]


def test_detections_and_corners_are_boxes_too():
    """A detection has its box, and four corners along the sides of the picture are a box."""
    corners = [{"x": 3, "y": 4}, {"x": 13, "y": 4}, {"x": 13, "y": 10}, {"x": 3, "y": 10}]
    pairs = [[3, 4], [13, 4], [13, 10], [3, 10]]
    for part in cut([{"box": [3, 4, 13, 10], "score": 1}, corners, pairs]):
        assert (pixels_of(part) == PIXELS[4:10, 3:13]).all()


def test_turned_corners_are_made_upright():
    """A quadrilateral whose left top corner is elsewhere is turned until it is at the left top."""
    side = np.kron(np.arange(100, dtype=np.uint8).reshape(10, 10), np.ones((4, 4), np.uint8))  # smooth enough
    picture = Pillow.fromarray(np.repeat(side[..., None], 3, axis=2))
    corners = [(40, 0), (40, 40), (0, 40), (0, 0)]  # a quarter turn
    assert not is_upright(corners)
    part = cut_out(picture, corners, 0.0, 10_000, "x")
    turned = np.asarray(picture.transpose(Pillow.Transpose.ROTATE_90))
    assert part.size == (40, 40)
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(np.asarray(part.take(), np.int64)[inner] - turned[inner]).mean() < 2


def test_part_becomes_the_row_that_a_file_of_it_would():
    """A part is resized and scaled as a picture file is, bit for bit."""
    [part] = cut([[3, 4, 13, 10]])
    facts = Image(input="x", channels=3, height=7, width=9, order="BGR", scale=1 / 255)
    ours, placement = decode_cut(part, facts, 10_000, "x")
    theirs, expected = decode_pixels(write_png(part.take()), facts, 10_000, "x")
    assert (ours == theirs).all()
    assert placement == expected
    with pytest.raises(BodyTooLarge, match="after resizing"):
        decode_cut(part, Image(input="x", channels=1, shortest=500), 10_000, "x")


@pytest.mark.parametrize(
    ("boxes", "complaint"),
    [
        (3, "find.detections: expected an array of at most"),
        ([[1, 2, 3]], r"find.detections\[0\]: expected a box of four numbers"),
        ([[1, 2, 3, "4"]], "expected a box of four numbers"),
        ([[1, 2, 3, float("nan")]], "expected a box of four numbers"),
        ([{"label": "cat"}], "expected a box of four numbers"),
        ([[[1, 2], [1, 2], [1, 2], [1]]], "expected a box of four numbers"),
        ([[1, 2, 3, True]], "expected a box of four numbers"),
    ],
)
def test_what_is_no_box_is_refused(boxes: Any, complaint: str):
    """The message names the box."""
    step = Step(do="crop", picture="request", boxes="find.detections")
    with pytest.raises(InvalidInput, match=complaint):
        run(crop(parse_step(step), [0], [[as_row(PIXELS), boxes]], LIMITS, lambda size: None))


def test_boxes_of_all_rows_together_are_bounded():
    """Rows share the number of boxes that a step cuts out, which is checked before a picture is opened."""
    step = parse_step(Step(do="crop", picture="request", boxes="find.detections"))
    operands = [["no picture", [[0, 0, 1, 1]] * 3000]] * 2

    with pytest.raises(BodyTooLarge, match=r"at most 4096 boxes of find.detections in all rows together, got 6000"):
        run(crop(step, [0, 1], operands, LIMITS, lambda size: None))


def test_picture_that_cannot_be_cut_is_refused():
    """Numbers are no picture; what is damaged or too large is refused before it is decoded; so is one without room."""
    wires = parse_step(Step(do="crop", picture="request.photo", boxes="find.detections"))

    def attempt(value: Any, limits: Limits = LIMITS, take: Any = lambda size: None) -> None:
        run(crop(wires, [2], [[value, [[0, 0, 1, 1]]]], limits, take))

    with pytest.raises(InvalidInput, match=r"inputs\[2\].photo: expected a picture"):
        attempt([1, 2])
    with pytest.raises(UnsupportedMedia, match=r"inputs\[2\].photo"):
        attempt({"image": "AAAA"})
    with pytest.raises(BodyTooLarge, match="at most 10 pixels"):
        attempt(as_row(PIXELS), Limits(max_pixels=10))

    def refuse(size: int) -> None:
        raise TryLater(f"no room for {size}")

    with pytest.raises(TryLater, match="no room for 1800"):
        attempt(as_row(PIXELS), take=refuse)


WHO = parse_step(Step(do="compare", vectors="mine[].embedding", others="request.known"))
CLOSE = Embedding(output="x", metric="euclidean", threshold=0.5)


def judge(mine: Any, others: Any, facts: Embedding = CLOSE) -> Any:
    [found] = run(compare(WHO, [1], [[mine, others]], facts))
    return found


def test_nearest_of_the_others_is_the_best():
    """The least distance, or the largest cosine, with the verdict of the model; nulls stay in their places."""
    first, missing = judge([[0.0, 1.0], None], [[5, 1], None, [0, 1.25]])
    assert first["best"] == {"index": 2, "distance": 0.25, "same": True}
    assert first["comparisons"] == [{"distance": 5.0, "same": False}, None, {"distance": 0.25, "same": True}]
    assert missing is None
    [found] = judge([[0.0, 2.0]], [[1, 0], [0, 1]], Embedding(output="x"))
    assert found == {"best": {"index": 1, "similarity": 1.0}, "comparisons": [{"similarity": 0.0}, {"similarity": 1.0}]}
    assert judge([[1.0]], []) == [{"best": None, "comparisons": []}]
    assert judge([], [[1]]) == []


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        (1, r"inputs\[1\].known: expected an array of vectors"),
        ([1], r"inputs\[1\].known\[0\]: expected an array of finite numbers, got 1"),
        ([["a"]], "expected an array of finite numbers"),
        ([[float("inf"), 1]], "expected an array of finite numbers"),
        ([[1, 2, 3]], "expected vectors of one size, got 2 and 3"),
        ([[1, 2]] * (1 << 18), "expected at most 262144 pairs"),
    ],
)
def test_what_is_no_vector_is_refused(others: Any, complaint: str):
    """The message names the vector."""
    with pytest.raises(InvalidInput, match=complaint):
        judge([[1.0, 2.0], [3.0, 4.0]], others)
