"""detect: pictures in, boxes in the caller's pixels out."""

import base64
import functools
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from service.errors import InvalidInput, ModelFailure, UnsupportedMedia
from service.tasks import detect
from service.tasks.work import Limits
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.text import make_model
from tests.support.pictures.encoding import as_row, encode

LABELS = ("cat", "dog", "cup")
IMAGE = {"input": "x", "channels": 3, "height": 32, "width": 32, "resize": "fit", "padding": 114}
"""A picture of 64 x 32 lies in lines 8 to 24, at half its size."""
CAT, DOG = (4.0, 10.0, 12.0, 20.0), (20.0, 12.0, 30.0, 22.0)
CAT_OF_CALLER, DOG_OF_CALLER = [8, 4, 24, 24], [40, 8, 60, 28]


def detector(
    boxes: Any = (CAT, DOG),
    scores: Any = ((0.9, 0, 0), (0, 0.5, 0)),
    masks: bool = False,
    image: Any = IMAGE,
    **facts: Any,
) -> Driver:
    """Sees the same in every picture. Two points for each box; a mask whose left half is inside."""
    sides = "32,32" if "height" in image else "height,width"
    boxes, scores = np.array(boxes, np.float32), np.array(scores, np.float32)
    points = np.array([[[4, 10, 0.5], [-4, 60, 1.0]]] * len(boxes), np.float32)
    left = np.where(np.arange(8) < 4, 9.0, -9.0).astype(np.float32)
    content = make_model(
        f"""
        float[batch,3,{sides}] x => float[batch,{len(boxes)},4] boxes, float[batch,{len(boxes)},3] scores,
        float[batch,{len(boxes)},2,3] points, float[batch,{len(boxes)},1] coefficients,
        float[batch,1,8,8] prototypes
        """,
        """
        rows = Shape<start=0, end=1>(x)
        three = Concat<axis=0>(rows, ones)
        four = Concat<axis=0>(three, one)
        boxes = Expand(all_boxes, three)
        scores = Expand(all_scores, three)
        points = Expand(all_points, four)
        coefficients = Expand(all_coefficients, three)
        prototypes = Expand(all_prototypes, four)
        """,
        ones=np.array([1, 1], np.int64),
        one=np.array([1], np.int64),
        all_boxes=boxes,
        all_scores=scores,
        all_points=points,
        all_coefficients=np.ones((len(boxes), 1), np.float32),
        all_prototypes=np.tile(left, (1, 8, 1)),
    )
    if masks:
        facts |= {"coefficients": "coefficients", "prototypes": "prototypes"}
    return make({"main": content}, task="detect", labels=LABELS, image=image, detection=facts)


def picture(width: int = 64, height: int = 32) -> dict[str, str]:
    return as_row(encode(Pillow.new("RGB", (width, height), (0, 0, 255))))


ask = functools.partial(driving.ask, detect)
MODEL = detector()


def find(model: Driver = MODEL, rows: Any = None, **fields: Any) -> list[dict[str, Any]]:
    """The boxes in one picture."""
    body = body_of(ask(model, [picture()] if rows is None else rows, **fields))
    assert (body["model"], body["version"]) == ("m", "1")
    found: list[dict[str, Any]] = body["predictions"][0]["detections"]
    return found


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"threshold": 0}, "threshold: expected greater than 0"),
        ({"threshold": "0.5"}, "threshold: expected a valid number"),
        ({"max_detections": 0}, "max_detections: expected greater than or equal to 1"),
        ({"classes": []}, "classes"),
        ({"classes": ["horse"]}, r"classes: expected labels of model 'm' \(cat, dog, cup\), got 'horse'"),
        ({"classes": [3]}, "classes: expected labels of model 'm' .*, got 3"),
        ({"classes": ["9" * 5000]}, "classes: expected labels of model 'm' .*, got '999"),
        ({"classes": ["\u0661"]}, "classes: expected labels of model 'm'"),
        ({"clases": ["cat"]}, "clases: unknown field"),
    ],
)
def test_faulty_options_are_refused(fields: dict[str, Any], complaint: str) -> None:
    """With the field, what was expected, and what came."""
    with pytest.raises(InvalidInput, match=complaint):
        find(**fields)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_a_failure_of_the_model(score: float) -> None:
    """NaN would silently become an empty answer."""
    with pytest.raises(ModelFailure, match="'scores' with numbers that are not finite"):
        find(detector(scores=((score, 0, 0), (0, 0.5, 0))))


def test_file_that_is_no_picture_is_refused() -> None:
    """The row is named."""
    with pytest.raises(UnsupportedMedia, match=r"inputs\[0\].image"):
        find(rows=[as_row(b"hello")])


def test_boxes_are_in_pixels_of_the_callers_picture() -> None:
    """Resizing and padding are undone, the best box comes first, and each has its label."""
    assert [(one["box"], one["label"], one["index"]) for one in find()] == [
        (CAT_OF_CALLER, "cat", 0),
        (DOG_OF_CALLER, "dog", 1),
    ]
    assert [one["score"] for one in find()] == pytest.approx([0.9, 0.5])


def test_answer_has_the_size_of_the_picture() -> None:
    """Each picture of a request has its own."""
    body = body_of(ask(MODEL, [picture(), picture(20, 40)]))
    assert [(one["width"], one["height"]) for one in body["predictions"]] == [(64, 32), (20, 40)]


def test_boxes_end_at_the_edge_of_the_picture() -> None:
    """A box that the graph places beyond the edge is cut; one that lies wholly in the padding is left out."""
    found = find(detector(((-9, 0, 16, 12), (2, 26, 9, 31)), ((0.9, 0, 0), (0.8, 0, 0))))
    assert [one["box"] for one in found] == [[0, 0, 32, 8]]


def test_rows_of_numbers_are_pictures_of_the_size_that_the_graph_takes() -> None:
    """Their boxes are the graph's own."""
    assert [one["box"] for one in find(rows=[np.zeros((3, 32, 32)).tolist()])] == [list(CAT), list(DOG)]


def test_caller_chooses_what_counts() -> None:
    """By score, by number, and by labels or their positions."""
    assert len(find(threshold=0.6)) == 1
    assert len(find(max_detections=1)) == 1
    assert [one["label"] for one in find(classes=["dog"])] == ["dog"]
    assert [one["label"] for one in find(classes=[1])] == ["dog"]
    assert [one["label"] for one in find(classes="1,cup", loose=True)] == ["dog"]


def test_points_have_names_and_scores() -> None:
    """They are in the caller's pixels, and stay inside the picture."""
    found = find(detector(points="points", point_names=("nose", "tail")))
    assert found[0]["points"] == [
        {"name": "nose", "x": 8, "y": 4, "score": 0.5},
        {"name": "tail", "x": 0, "y": 32, "score": 1.0},
    ]


def test_masks_lie_in_their_boxes() -> None:
    """A mask is a picture of the size of its box, at the box's corner, and white inside the object."""
    model = detector(((8, 8, 24, 24),), ((0.9, 0, 0),), masks=True)
    mask = find(model)[0]["mask"]
    inside = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(mask["image"]))))
    assert (mask["left"], mask["top"], inside.shape) == (16, 0, (32, 32))
    assert inside[:, :15].all()
    assert not inside[:, 17:].any()
    assert "mask" not in find(model, masks=False)[0]


def test_masks_of_a_request_have_a_limit() -> None:
    """A file of a few bytes may be a picture of many pixels, with a mask of its size for each box."""
    whole = [(x, 8, 32 - x, 24) for x in np.arange(80) / 100]
    model = detector(whole, [(0.9, 0, 0)] * 80, masks=True, overlap=None)
    large = [picture(1400, 700)]
    with pytest.raises(InvalidInput, match="masks: expected at most 67108864 pixels in the masks of all boxes"):
        find(model, large)
    assert len(find(model, large, masks=False)) == 80
    assert len(find(model, large, max_detections=3)) == 3


def test_drawing_shows_boxes_over_the_callers_picture() -> None:
    """With Accept: image/png the answer is the picture, at its own size, with the boxes on it."""
    result = ask(MODEL, [picture()], wants_picture=True)
    drawn = np.asarray(Pillow.open(io.BytesIO(result.body)))
    assert (result.media_type, drawn.shape) == ("image/png", (32, 64, 3))
    assert drawn[30, 2].tolist() == [0, 0, 255]
    left, top, right, bottom = DOG_OF_CALLER
    assert drawn[(top + bottom) // 2, left].tolist() != [0, 0, 255]
    assert drawn[bottom, (left + right) // 2].tolist() != [0, 0, 255]


def test_drawing_shows_one_picture() -> None:
    """Several rows have no common picture."""
    with pytest.raises(InvalidInput, match="shows one picture, got 2 rows"):
        ask(MODEL, [picture(), picture()], wants_picture=True)


def test_areas_of_a_map_are_boxes() -> None:
    """A map of half the resolution, with one area; its score is the mean of the area."""
    scores = np.zeros((16, 16), np.float32)
    scores[5:8, 2:8] = 0.75
    content = make_model(
        "float[batch,3,32,32] x => float[batch,1,16,16] map",
        "rows = Shape<start=0, end=1>(x) shape = Concat<axis=0>(rows, ones) map = Expand(same, shape)",
        ones=np.array([1, 1, 1], np.int64),
        same=scores,
    )
    model = make(
        {"main": content}, task="detect", labels=("text",), image=IMAGE, detection={"regions": {"output": "map"}}
    )
    assert [(one["box"], one["label"], one["score"]) for one in find(model)] == [([8, 4, 32, 16], "text", 0.75)]
    assert find(model, threshold=0.8) == []


def test_masks_of_all_pictures_share_the_limit() -> None:
    """Also where the pictures differ in size, so that they are rows of several groups."""
    whole = [(x, 0, 1400, 700) for x in range(40)]
    free = {"input": "x", "channels": 3}
    model = detector(whole, [(0.9, 0, 0)] * 40, masks=True, image=free, overlap=None)
    limits = Limits(max_pixels=4_000_000)
    assert len(find(model, [picture(1400, 700)], limits=limits)) == 40
    with pytest.raises(InvalidInput, match="masks: expected at most 67108864 pixels"):
        find(model, [picture(1400, 700), picture(1408, 700)], limits=limits)


def test_masks_are_made_in_a_thread() -> None:
    """Small outputs may give masks as large as the caller's picture, which would hold up other requests."""
    model = detector(masks=True)
    find(model, masks=False)
    assert model.threads_asked == 0
    find(model)
    assert model.threads_asked == 1
