"""Graphs with the outputs and the metadata of Ultralytics' exports, and random weights."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from tests.support.models.text import make_model

SIDE, STRIDE = 64, 8
CELLS = (SIDE // STRIDE) ** 2
COEFFICIENTS = 32


def make_yolo(
    form: str, labels: int = 3, extra: int = 0, masks: bool = False, batch: str | int = "batch", free: bool = False
) -> bytes:
    """A candidate for each 8 x 8 pixels. ``form`` is yolov5 or yolov8; ``extra`` are numbers behind the scores.

    Boxes are centre, width and height in pixels, up to the size of the picture; scores are from 0 to 1.
    """
    first = 5 if form == "yolov5" else 4
    count = first + labels + extra + (COEFFICIENTS if masks else 0)
    sides = "height,width" if free else f"{SIDE},{SIDE}"
    cells = "anchors" if free else str(CELLS)
    rows = f"{batch},{cells},{count}" if form == "yolov5" else f"{batch},{count},{cells}"
    outputs = f"float[{rows}] output0"
    body = (
        f"centred = Sub(images, 0.5) features = Conv<strides=[{STRIDE}, {STRIDE}]>(centred, w[{count},3,8,8]) "
        f"columns = Reshape(features, [0, {count}, -1]) "
        f"raw_boxes, raw_scores, others = Split<axis=1>(columns, {[4, first - 4 + labels, count - first - labels]}) "
        f"shares = Sigmoid(raw_boxes) pixels = Mul(shares, {float(SIDE)}) probable = Sigmoid(raw_scores) "
        "joined = Concat<axis=1>(pixels, probable, others) "
    )
    body += "output0 = Transpose<perm=[0, 2, 1]>(joined) " if form == "yolov5" else "output0 = Identity(joined) "
    if masks:
        outputs += f", float[{batch},{COEFFICIENTS},mask_height,mask_width] output1"
        body += f"output1 = Conv<strides=[4, 4]>(images, w[{COEFFICIENTS},3,4,4]) "
    return make_model(f"float[{batch},3,{sides}] images => {outputs}", body)


def make_final(columns: int = 6, candidates: int = 300, batch: str | int = "batch") -> bytes:
    """Final boxes [batch, candidates, columns], as of YOLOv10 or of an export with NMS."""
    body = "means = ReduceMean<keepdims=0>(images, [1, 2, 3]) row = Reshape(means, [-1, 1, 1]) output0 = Add(row, rows)"
    draw = np.random.default_rng(0)
    rows = draw.uniform(0, 32, (1, candidates, columns)).astype(np.float32)
    rows[..., 2:4] += 32
    rows[..., 4] = np.sort(draw.random((1, candidates)))[:, ::-1]
    rows[..., 5] = draw.integers(0, 3, (1, candidates))
    return make_model(
        f"float[{batch},3,{SIDE},{SIDE}] images => float[{batch},{candidates},{columns}] output0", body, rows=rows
    )


def make_with_nms(labels: int = 3, most: int = 300) -> bytes:
    """As an export with ``nms=True``: one picture, the boxes that remain, and rows of zeros up to ``most``."""
    body = (
        f"centred = Sub(images, 0.5) features = Conv<strides=[{STRIDE}, {STRIDE}]>(centred, w[{4 + labels},3,8,8]) "
        f"columns = Reshape(features, [1, {4 + labels}, -1]) all = Sigmoid(columns) "
        f"shares, scores = Split<axis=1>(all, [4, {labels}]) turned = Transpose<perm=[0, 2, 1]>(shares) "
        f"pixels = Mul(turned, {float(SIDE // 2)}) low, size = Split<axis=2>(pixels, [2, 2]) high = Add(low, size) "
        f"boxes = Concat<axis=2>(low, high) places = NonMaxSuppression(boxes, scores, {most}, 0.7, 0.25) "
        "label = Slice(places, [1], [2], [1]) at = Slice(places, [2], [3], [1]) both = Slice(places, [1], [3], [1]) "
        "one_boxes = Squeeze(boxes, [0]) one_scores = Squeeze(scores, [0]) kept = GatherND(one_boxes, at) "
        "kept_scores = GatherND(one_scores, both) column = Unsqueeze(kept_scores, [1]) floats = Cast<to=1>(label) "
        f"rows = Concat<axis=1>(kept, column, floats) filled = Pad(rows, [0, 0, {most}, 0]) "
        f"first = Slice(filled, [0], [{most}], [0]) output0 = Unsqueeze(first, [0])"
    )
    return make_model(f"float[1,3,{SIDE},{SIDE}] images => float[1,{most},6] output0", body)


def with_metadata(content: bytes, metadata: Mapping[str, object]) -> bytes:
    """The graph with metadata as Ultralytics writes them: the texts of Python values."""
    model = onnx.load_model_from_string(content)
    helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
    made: bytes = model.SerializeToString()
    return made
