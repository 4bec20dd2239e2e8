"""A detector like YOLO: a quarter of MobileNet's channels at 320 x 320, two anchors a cell on two grids, 80 labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from loadtests.bench.models.mobilenet import STRIDE_16, STRIDE_32, add_pointwise, grow_mobilenet
from loadtests.bench.models.model import INPUT, Graph, open_session
from loadtests.bench.models.photograph import PhotographModel, decode_jpeg, encode_jpeg

LABELS, SIDE, PADDING = 80, 320, 114
BOXES, SCORES = "boxes", "scores"
WIDTH = 0.25
GRIDS = ((STRIDE_16, 16, ((40.0, 60.0), (70.0, 50.0))), (STRIDE_32, 32, ((90.0, 120.0), (160.0, 140.0))))
"""The layer, its stride, and width and height of its anchors, all in pixels."""
CANDIDATES = sum(len(anchors) * (SIDE // stride) ** 2 for _, stride, anchors in GRIDS)
THRESHOLD, OVERLAP, MOST = 0.25, 0.45, 300
CONTRAST, SCARCITY = 2.0, 2.7
"""Random scores that differ as those of a trained network do: one candidate in some is a box."""
PIXEL_TOLERANCE, SCORE_TOLERANCE = 1.0, 1e-3


@dataclass(frozen=True)
class PhotographDetector(PhotographModel):
    """Its scores are boxes in the photograph's pixels, [n, 6], best first: left, top, right, bottom, label, score."""

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {BOXES: (CANDIDATES, 4), SCORES: (CANDIDATES, LABELS)}

    def score(self, rows: np.ndarray) -> np.ndarray:
        row, scale, left, top = prepare(decode_jpeg(encode_jpeg(rows)))
        boxes, scores = (output[0] for output in open_session(self.build()).run([BOXES, SCORES], {INPUT: row}))
        found = suppress(boxes, scores)
        height, width = rows.shape[1:3]
        found[:, :4] = (found[:, :4] - np.array((left, top) * 2, np.float32)) / scale
        found[:, :4] = found[:, :4].clip(0, np.array((width, height) * 2, np.float32))
        return found

    def agrees(self, got: np.ndarray, expected: np.ndarray) -> bool:
        """The same boxes within a pixel, with the same labels and scores. Close scores may change places."""
        if got.shape != expected.shape:
            return False
        off = np.abs(got[:, None] - expected[None])
        same = (off[..., :4] <= PIXEL_TOLERANCE).all(-1) & (off[..., 4] == 0) & (off[..., 5] <= SCORE_TOLERANCE)
        return bool(same.any(0).all() and same.any(1).all())


def prepare(picture: Image.Image) -> tuple[np.ndarray, float, int, int]:
    """The row of a letterbox, and where the picture lies in it: its scale, left and top. As OpenCV interpolates."""
    width, height = picture.size
    scale = SIDE / max(width, height)
    size = round(width * scale), round(height * scale)
    left, top = ((SIDE - side) // 2 for side in size)
    levels = np.asarray(picture, np.float64)
    for axis, side in enumerate(size[::-1]):
        place = ((np.arange(side) + 0.5) * levels.shape[axis] / side - 0.5).clip(0, levels.shape[axis] - 1)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, levels.shape[axis] - 1)
        share = np.expand_dims(place - before, (1, 2) if axis == 0 else (0, 2))
        levels = levels.take(before, axis) * (1 - share) + levels.take(after, axis) * share
    laid = np.full((SIDE, SIDE, 3), PADDING, np.float32)
    laid[top : top + size[1], left : left + size[0]] = levels.round()
    return np.ascontiguousarray((laid / np.float32(255)).transpose(2, 0, 1)[None]), scale, left, top


def suppress(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The boxes that no better one of their label overlaps, [n, 6]. Boxes come as centre, width and height."""
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    kept: list[int] = []
    best, labels = scores.max(1), scores.argmax(1)
    for i in np.argsort(-best, kind="stable"):
        if best[i] >= THRESHOLD and all(
            labels[i] != labels[k] or _overlap(corners[i], corners[k]) <= OVERLAP for k in kept
        ):
            kept.append(int(i))
    kept = kept[:MOST]
    return np.concatenate([corners[kept], labels[kept, None], best[kept, None]], axis=1).astype(np.float32)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(sides.clip(0).prod())
    return common / float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common)


def _grow(graph: Graph) -> None:
    layers = grow_mobilenet(graph, INPUT, WIDTH)
    grids = [
        _add_grid(graph, *layers[layer], stride, np.array(anchors, np.float32)) for layer, stride, anchors in GRIDS
    ]
    boxes, scores = zip(*grids, strict=True)
    graph.add("Concat", *boxes, axis=1, output=BOXES)
    graph.add("Concat", *scores, axis=1, output=SCORES)


def _add_grid(graph: Graph, x: str, channels: int, stride: int, anchors: np.ndarray) -> tuple[str, str]:
    """Candidates as YOLOv5 reads them: the centre near its cell, the sides up to four times the anchor's."""
    side, numbers = SIDE // stride, 4 + LABELS
    x = add_pointwise(graph, x, channels, len(anchors) * numbers)
    x = graph.add("Reshape", x, graph.add_constant(np.array([0, len(anchors), numbers, side * side])))
    x = graph.add("Transpose", x, perm=[0, 1, 3, 2])
    x = graph.add("Reshape", x, graph.add_constant(np.array([0, -1, numbers])))
    centre, sides, scores = (_slice(graph, x, *ends) for ends in ((0, 2), (2, 4), (4, numbers)))
    y, x_ = np.mgrid[:side, :side].astype(np.float32)
    corner = np.tile(np.stack([x_, y], -1).reshape(1, -1, 2) - np.float32(0.5), (1, len(anchors), 1))
    centre = graph.add("Mul", graph.add("Sigmoid", centre), graph.add_constant(np.float32(2 * stride)))
    centre = graph.add("Add", centre, graph.add_constant(corner * np.float32(stride)))
    sides = graph.add("Mul", graph.add("Sigmoid", sides), graph.add_constant(np.float32(2)))
    sides = graph.add("Mul", graph.add("Mul", sides, sides), graph.add_constant(anchors.repeat(side * side, 0)[None]))
    scores = graph.add("Mul", scores, graph.add_constant(np.float32(CONTRAST)))
    scores = graph.add("Sub", scores, graph.add_constant(np.float32(SCARCITY)))
    return graph.add("Concat", centre, sides, axis=2), graph.add("Sigmoid", scores)


def _slice(graph: Graph, x: str, begin: int, end: int) -> str:
    return graph.add("Slice", x, *(graph.add_constant(np.array([number])) for number in (begin, end, 2)))


DETECTOR = PhotographDetector("photograph-detector", (3, SIDE, SIDE), 16, _grow)
