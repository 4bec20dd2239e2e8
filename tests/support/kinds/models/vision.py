"""Kinds: grid sample, resize, deformable convolution, ROI align, padding and pooling of any size."""

import torch
from torch import nn
from torch.nn import functional

from tests.support.kinds.case import Axis, Kinds, height, normal, pixels, uniform, width

KINDS = Kinds()
_PICTURES = tuple(
    {"batch": rows, "height": height, "width": width}
    for rows, height, width in ((1, 9, 15), (5, 33, 21), (3, 8, 40), (2, 13, 17))
)


def _warped():
    turned = nn.Linear(3, 6)
    turned.bias.data = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    return {"conv": nn.Conv2d(1, 3, 3), "o": turned}


@KINDS.add({"x": normal(3, 1, 10, 8)}, _warped)
def grid_warped(self, x):
    """A spatial transformer: the picture says how it is turned."""
    theta = self.o(self.conv(x).mean((2, 3)) * 0.1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


_SAMPLED = {"x": normal(3, 2, 9, 7), "grid": uniform(3, 5, 6, 2, low=-1.4, high=1.4)}


def _how(**how):
    return lambda: {"how": how}


@KINDS.add(_SAMPLED, _how(mode="bilinear", padding_mode="zeros", align_corners=False), name="grid-bilinear")
@KINDS.add(_SAMPLED, _how(mode="bicubic", padding_mode="border", align_corners=True), name="grid-bicubic")
@KINDS.add(_SAMPLED, _how(mode="nearest", padding_mode="reflection", align_corners=False))
def grid_nearest(self, x, grid):
    return functional.grid_sample(x, grid, **self.how)


@KINDS.add({"flow": normal(3, 2, height(12), width(10)), "x": normal(3, 2, height(12), width(10))}, sizes=_PICTURES)
def grid_flow(self, x, flow):
    """Each pixel is fetched from where a flow in pixels points."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across = (columns + flow[:, 0]) * 2 / max(width - 1, 1) - 1
    down = (rows + flow[:, 1]) * 2 / max(height - 1, 1) - 1
    return functional.grid_sample(x, torch.stack([across, down], -1), align_corners=True, padding_mode="border")


_ANTIALIAS = {"size": (5, 4), "antialias": True, "align_corners": False}
_RESIZED = {
    "antialias": {"mode": "bilinear", **_ANTIALIAS},
    "bicubic": {"scale_factor": 2.0, "mode": "bicubic", "align_corners": False},
    "corners": {"size": (20, 15), "mode": "bilinear", "align_corners": True},
    "exact": {"scale_factor": 1.5, "mode": "nearest-exact"},
    "half": {"scale_factor": 0.5, "mode": "bilinear", "align_corners": False, "recompute_scale_factor": True},
}


@KINDS.add({"x": uniform(3, 2, 12, 10)}, _how(mode="bicubic", **_ANTIALIAS))
def resize_antialias_fixed(self, x):
    return functional.interpolate(x, **self.how)


for _name, _options in _RESIZED.items():
    KINDS.add({"x": uniform(3, 2, height(12), width(10))}, _how(**_options), f"resize-{_name}", sizes=_PICTURES)(
        resize_antialias_fixed
    )


@KINDS.add(
    {"x": normal(3, 3, height(12), width(10))},
    lambda: {"down": nn.Conv2d(3, 4, 3, stride=2, padding=1), "side": nn.Conv2d(3, 4, 1)},
    sizes=_PICTURES,
)
def resize_pyramid(self, x):
    """A coarse picture is brought to the size of a fine one."""
    coarse = torch.relu(self.down(x))
    return functional.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False) + self.side(x)


@KINDS.add(
    {"x": normal(3, 2, height(9), width(7))},
    lambda: {"offset": nn.Conv2d(2, 18, 3, padding=1), "weight": nn.Parameter(torch.randn(4, 2, 9) / 4)},
    sizes=_PICTURES,
)
def deform_conv(self, x):
    """A deformable convolution of plain operators: each of the nine places is moved, then fetched."""
    height, width = x.shape[2:]
    moved = self.offset(x).view(-1, 9, 2, height, width)
    down = torch.arange(height)[None, None, :, None] + moved[:, :, 0] + torch.arange(-1, 2).repeat(3)[:, None, None]
    across = torch.arange(width) + moved[:, :, 1] + torch.arange(-1, 2).repeat_interleave(3)[:, None, None]
    grid = torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], -1)
    found = functional.grid_sample(x, grid.flatten(1, 2), align_corners=False).unflatten(2, (9, height))
    return torch.einsum("bckhw,ock->bohw", found, self.weight)


@KINDS.add({"boxes": uniform(3, Axis(5, "boxes"), 4, low=0.0, high=9.0), "features": normal(3, 2, 10, 12)})
def roi_align(self, features, boxes):
    """Boxes of each picture are cut out and brought to 4 by 4: ROI align of plain operators."""
    steps = (torch.arange(4) + 0.5) / 4
    left, top, right, bottom = boxes.unbind(-1)
    height, width = features.shape[2:]
    across = (left[..., None] + (right - left)[..., None] * steps) * 2 / width - 1
    down = (top[..., None] + (bottom - top)[..., None] * steps) * 2 / height - 1
    shape = (*boxes.shape[:2], 4, 4)
    grid = torch.stack([across[:, :, None, :].expand(shape), down[:, :, :, None].expand(shape)], -1)
    cut = functional.grid_sample(features, grid.flatten(1, 2), align_corners=False)
    return cut.unflatten(2, (boxes.shape[1], 4)).transpose(1, 2)


def _pool(size: int):
    return lambda: {"conv": nn.Conv2d(3, 4, 3, padding=1), "pool": nn.AdaptiveAvgPool2d(size)}


@KINDS.add({"x": normal(3, 3, height(12), width(10))}, _pool(3), name="pool-grid", sizes=_PICTURES)
@KINDS.add({"x": normal(3, 3, height(12), width(10))}, _pool(1), sizes=_PICTURES)
def pool_all(self, x):
    """The mean over a picture of any size, and over a grid of three by three."""
    return self.pool(self.conv(x)).flatten(1)


@KINDS.add({"x": normal(3, 3, height(12), width(10))}, sizes=_PICTURES)
def pool_ceiling(self, x):
    """Pools that take what is left over at the edge."""
    most = functional.max_pool2d(x, 3, 2, ceil_mode=True)
    return functional.avg_pool2d(most, 3, 2, 1, ceil_mode=True, count_include_pad=False)


def _padded(mode: str):
    return lambda: {"conv": nn.Conv2d(3, 2, 3, padding=1, padding_mode=mode)}


@KINDS.add({"x": normal(3, 3, 12, 10)}, _padded("circular"), name="pad-circular")
@KINDS.add({"x": normal(3, 3, height(12), width(10))}, _padded("reflect"), sizes=_PICTURES)
def pad_reflect(self, x):
    return self.conv(x)


@KINDS.add(
    {"image": pixels(3, 3, height(12), width(10))},
    lambda: {"mean": nn.Buffer(torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)), "conv": nn.Conv2d(3, 2, 3)},
    sizes=_PICTURES,
    fast=True,
)
def pixels_(self, image):
    """Bytes to floats inside the network."""
    return self.conv((image.float() / 255 - self.mean) / 0.25).mean((2, 3))


@KINDS.add({"x": normal(3, 2, 16, 12)})
def patches(self, x):
    """Patches are taken apart and put together."""
    parts = functional.unfold(x, 4, stride=4)
    return functional.fold(parts.softmax(1), (16, 12), 4, stride=4)


@KINDS.add(
    {"x": normal(3, 3, height(6), width(5))},
    lambda: {"up": nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)},
    sizes=_PICTURES,
)
def bigger(self, x):
    """Transposed convolution and pixel shuffle."""
    return functional.pixel_shuffle(self.up(x), 2)
