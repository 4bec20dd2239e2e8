"""Kinds: detection heads, with and without suppression of boxes that overlap."""

import torch
from torch import nn
from torch.nn import functional

from tests.support.kinds.case import Axis, Kinds, distinct, height, normal, uniform, width

KINDS = Kinds()
_PICTURES = tuple(
    {"batch": rows, "height": height, "width": width} for rows, height, width in ((1, 16, 40), (5, 48, 24), (2, 24, 56))
)

_IMAGE = {"image": normal(3, 3, height(16), width(24))}


def overlaps(boxes):
    """[..., n, n] from [..., n, 4], corners."""
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    corner = torch.maximum(boxes[..., :, None, :2], boxes[..., None, :, :2])
    other = torch.minimum(boxes[..., :, None, 2:], boxes[..., None, :, 2:])
    shared = (other - corner).clamp(min=0).prod(-1)
    return shared / (area[..., :, None] + area[..., None, :] - shared).clamp(min=1e-6)


@KINDS.add(_IMAGE, lambda: {"conv": nn.Conv2d(3, 7, 8, stride=8)}, outputs=("boxes", "scores"), sizes=_PICTURES)
def detect_grid(self, image):
    """Cells of eight pixels: centres, sizes and scores of boxes, in pixels."""
    raw = self.conv(image)
    height, width = raw.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([columns, rows]).float()
    centre = (raw[:, :2].sigmoid() + cells) * 8
    size = raw[:, 2:4].clamp(max=4).exp() * 8
    boxes = torch.cat([centre - size / 2, centre + size / 2], 1)
    return boxes.flatten(2).transpose(1, 2), raw[:, 4:].sigmoid().flatten(2).transpose(1, 2)


@KINDS.add(
    {"image": distinct(3, 3, height(12), width(10))},
    lambda: {"heat": nn.Conv2d(3, 2, 3, padding=1)},
    outputs=("scores", "places"),
    sizes=_PICTURES,
)
def detect_peaks(self, image):
    """Centres are where a heat map has its peaks: the five best."""
    heat = self.heat(image)
    heat = torch.where(functional.max_pool2d(heat, 3, 1, 1) == heat, heat, -1e9)
    scores, places = heat.flatten(1).topk(5)
    width = image.shape[3]
    place = places % (image.shape[2] * width)
    return scores, torch.stack([place % width, place // width], -1)


@KINDS.add(
    {"scores": distinct(3, Axis(8, "count")), "boxes": uniform(3, Axis(8, "count"), 4, low=1.0, high=20.0)},
    outputs=("kept", "weighted"),
)
def detect_matrix(self, boxes, scores):
    """Scores fall by how much a better box covers theirs: no box is taken out."""
    order = torch.sort(scores, 1, descending=True).indices
    sorted_boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    corners = torch.cat([sorted_boxes[..., :2], sorted_boxes[..., :2] + sorted_boxes[..., 2:]], -1)
    covered = overlaps(corners).triu(1).amax(1)
    return sorted_boxes, scores.gather(1, order) * (1 - covered)


@KINDS.add(
    {"boxes": uniform(8, 4, low=1.0, high=20.0), "scores": uniform(8)},
    outputs=("kept",),
    dynamic={"boxes": {}, "scores": {}},
)
def detect_greedy(self, boxes, scores):
    """Boxes of one picture one after another, in Python: their number depends on values."""
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    order = scores.argsort(descending=True)
    kept = []
    while order.numel() > 0:
        kept.append(order[0])
        covered = overlaps(corners[order])[0] > 0.5
        order = order[~covered]
    return torch.stack(kept)


@KINDS.add(
    {"boxes": uniform(8, 4, low=1.0, high=20.0), "scores": uniform(8)},
    outputs=("good", "sure"),
    dynamic={"boxes": {}, "scores": {}},
)
def detect_confident(self, boxes, scores):
    """Boxes of one picture whose score is above a bar."""
    good = scores > 0.5
    return boxes[good], scores[good]


@KINDS.add(
    _IMAGE,
    lambda: {
        "sizes": nn.Buffer(torch.tensor([[8.0, 8.0], [16.0, 12.0]])),
        "conv": nn.Conv2d(3, 8, 3, stride=4, padding=1),
    },
    outputs=("boxes",),
    sizes=_PICTURES,
)
def detect_anchors(self, image):
    """Boxes of stored sizes at every cell, moved by the network."""
    raw = self.conv(image)
    rows, height, width = raw.shape[0], raw.shape[2], raw.shape[3]
    down = torch.arange(height).repeat_interleave(width)
    across = torch.arange(width).repeat(height)
    cells = torch.stack([across, down], -1).float() * 4
    anchors = torch.cat([cells[:, None].expand(-1, 2, -1), self.sizes.expand(height * width, -1, -1)], -1)
    moved = raw.view(rows, 2, 4, height * width).permute(0, 3, 1, 2)
    centre = anchors[..., :2] + moved[..., :2] * anchors[..., 2:]
    return torch.cat([centre, anchors[..., 2:] * moved[..., 2:].clamp(max=2).exp()], -1).flatten(1, 2)
