"""segment: pictures in, a label for each pixel out."""

import base64
import functools
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from service.errors import ModelFailure
from service.tasks import segment
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.text import make_model
from tests.support.pictures.encoding import as_row, encode

LABELS = ("nothing", "road", "sky")
IMAGE = {"input": "x", "channels": 3, "height": 8, "width": 8, "resize": "fit"}
ROAD_BELOW_SKY = np.repeat([[0, 0, 2, 2, 1, 1, 0, 0]], 8, axis=0).T
"""Of a picture of 16 x 8, lines 2 to 6 are the picture, the others are padding."""


def segmenter(output: Any, labels: Any = LABELS, **facts: Any) -> Driver:
    """Gives every picture the same ``output``."""
    output = np.array(output)
    shape = ",".join(str(size) for size in output.shape)
    kind = {"f": "float", "i": "int64"}[output.dtype.kind]
    content = make_model(
        f"float[batch,3,8,8] x => {kind}[batch,{shape}] y",
        "rows = Shape<start=0, end=1>(x) all = Concat<axis=0>(rows, ones) y = Expand(same, all)",
        ones=np.ones(output.ndim, np.int64),
        same=output.astype(np.float32) if kind == "float" else output,
    )
    return make({"main": content}, task="segment", labels=labels, image=IMAGE, segmentation={"output": "y", **facts})


def scores_of(labels: np.ndarray) -> np.ndarray:
    return np.stack([labels == i for i in range(len(LABELS))]).astype(np.float32)


def picture(width: int = 16, height: int = 8) -> dict[str, str]:
    return as_row(encode(Pillow.new("RGB", (width, height), (9, 9, 9))))


ask = functools.partial(driving.ask, segment)


def predict(model: Driver, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = body_of(ask(model, [picture()], **fields))["predictions"][0]
    return found


@pytest.mark.parametrize("output", [scores_of(ROAD_BELOW_SKY), ROAD_BELOW_SKY])
def test_mask_has_the_size_of_the_callers_picture(output: np.ndarray) -> None:
    """From scores and from positions: the padding is cut off, and each pixel has its label."""
    found = predict(segmenter(output), mask_format="numbers")
    assert (found["width"], found["height"]) == (16, 8)
    assert found["mask"] == [[2] * 16] * 4 + [[1] * 16] * 4
    assert found["labels"] == [
        {"label": "road", "index": 1, "share": 0.5},
        {"label": "sky", "index": 2, "share": 0.5},
    ]


def test_mask_is_a_png_of_positions() -> None:
    """Its pixel values are the positions of the labels, and it has a colour for each."""
    shown = Pillow.open(io.BytesIO(base64.b64decode(predict(segmenter(ROAD_BELOW_SKY))["mask"]["image"])))
    assert (shown.mode, shown.size) == ("P", (16, 8))
    assert np.unique(np.asarray(shown)).tolist() == [1, 2]
    assert len(np.unique(np.asarray(shown.convert("RGB")).reshape(-1, 3), axis=0)) == 2


def test_scores_are_interpolated_before_the_best_is_chosen() -> None:
    """So an edge between two labels lies where their scores are equal, not at the nearest block."""
    scores = np.zeros((3, 2, 2), np.float32)
    scores[1, :, 0], scores[2, :, 1] = 3, 1
    mask = np.array(predict(segmenter(scores), mask_format="numbers")["mask"])
    assert (mask == 1).mean() > 0.55


def test_ignored_label_is_not_listed() -> None:
    """Background is in the mask, not in the list."""
    model = segmenter(np.where(ROAD_BELOW_SKY == 1, 0, ROAD_BELOW_SKY), ignored=0)
    assert [one["label"] for one in predict(model)["labels"]] == ["sky"]


def test_one_channel_has_a_threshold() -> None:
    """The second of two labels counts from the threshold on."""
    scores = np.where(ROAD_BELOW_SKY == 1, 0.8, 0.2)[None]
    model = segmenter(scores, labels=("nothing", "road"), threshold=0.5)
    assert predict(model, mask_format="numbers")["mask"] == [[0] * 16] * 4 + [[1] * 16] * 4


def test_labels_that_do_not_exist_are_a_failure_of_the_model() -> None:
    """A position beyond the labels has no name."""
    with pytest.raises(ModelFailure, match="'y' outside its 3 labels"):
        predict(segmenter(ROAD_BELOW_SKY + 1))


def test_drawing_lays_colours_over_the_picture() -> None:
    """With Accept: image/png each label has a colour, and the ignored one leaves the picture as it is."""
    model = segmenter(np.where(ROAD_BELOW_SKY == 1, 0, ROAD_BELOW_SKY), ignored=0)
    result = ask(model, [picture()], wants_picture=True)
    drawn = np.asarray(Pillow.open(io.BytesIO(result.body)))
    assert (result.media_type, drawn.shape) == ("image/png", (8, 16, 3))
    assert (drawn[:4] != 9).any(axis=-1).all()
    assert (drawn[4:] == 9).all()
