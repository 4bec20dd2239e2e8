"""Are two faces of the same person? By dlib's network, from the weights of face-api (MIT).

    npm pack @vladmandic/face-api@1.7.15 && tar xzf vladmandic-face-api-1.7.15.tgz
    FACE_API=package sluice export examples/face_match.py:spec --store models
    sluice serve --store models
    curl localhost:3000/embed -F inputs=@ann.jpg -F compare=@also-ann.jpg

A picture shows one face, cut out by its box, such as those of the model in faces.py.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

from export import ExportSpec
from model_store.tasks import Embedding, Image

SIDE = 150
MEANS = (122.782, 117.001, 104.298)
IMAGE = Image(
    input="face",
    channels=3,
    height=SIDE,
    width=SIDE,
    scale=1 / 256,
    offset=(-MEANS[0] / 256, -MEANS[1] / 256, -MEANS[2] / 256),
)
STAGES = (("conv32", 3, False), ("conv64", 3, True), ("conv128", 2, True), ("conv256", 2, True))
"""The blocks of each width, and whether one that halves the picture comes before them."""


def spec() -> ExportSpec:
    """The model. Two faces are the same up to a distance of 0.45."""
    faces = crops(16)
    return ExportSpec(
        name="face-match",
        task="embed",
        module=FaceNet(read_weights(Path(os.environ.get("FACE_API", "package")) / "model")).eval(),
        inputs={"face": faces[:2]},
        outputs=("descriptor",),
        image=IMAGE,
        embedding=Embedding(output="descriptor", normalise=False, metric="euclidean", threshold=0.45),
        samples={"face": faces},
        dynamic={"face": {0: "batch"}},
        description="Vectors of faces: those of one person are close to each other",
        licence="MIT",
    )


class FaceNet(nn.Module):
    """dlib's face recognition network: a face [batch, 3, 150, 150] to a descriptor [batch, 128]."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.first = convolution(weights, "conv32_down", stride=2)
        blocks = []
        for name, count, shrinks in STAGES:
            blocks += [Block(weights, f"{name}_down", shrinks=True)] if shrinks else []
            blocks += [Block(weights, f"{name}_{number + 1}") for number in range(count)]
        self.blocks = nn.Sequential(*blocks, Block(weights, "conv256_down_out", shrinks=True))
        self.register_buffer("last", torch.from_numpy(weights["fc"]))

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        found = functional.max_pool2d(self.first(face).relu(), 3, 2)
        return self.blocks(found).mean((2, 3)) @ self.last


class Block(nn.Module):
    """Two convolutions beside a short cut. The short cut gets zeros where the convolutions have more channels."""

    def __init__(self, weights: dict[str, np.ndarray], name: str, shrinks: bool = False) -> None:
        super().__init__()
        self.one = convolution(weights, f"{name}/conv1", stride=2 if shrinks else 1)
        self.two = convolution(weights, f"{name}/conv2")
        self.shrinks = shrinks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.two(self.one(x).relu())
        if self.shrinks:
            x = functional.avg_pool2d(x, 2)
            missing = found.shape[1] - x.shape[1]
            x = functional.pad(x, (0, 0, 0, 0, 0, missing))
            found = functional.pad(found, (0, x.shape[3] - found.shape[3], 0, x.shape[2] - found.shape[2]))
        return (found + x).relu()


def convolution(weights: dict[str, np.ndarray], name: str, stride: int = 1) -> nn.Conv2d:
    """A convolution with the scale that follows it. One that shrinks the picture has no padding."""
    filters, scale = weights[f"{name}/conv/filters"], weights[f"{name}/scale/weights"]
    height, _, ins, outs = filters.shape
    made = nn.Conv2d(ins, outs, height, stride, padding=height // 2 if stride == 1 else 0)
    made.weight.data = torch.from_numpy((filters * scale).transpose(3, 2, 0, 1).copy())
    made.bias.data = torch.from_numpy(weights[f"{name}/conv/bias"] * scale + weights[f"{name}/scale/biases"])
    return made


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The weights by name, from TensorFlow.js's format: most with 8 bits, a scale and a least value."""
    content = (folder / "face_recognition_model.bin").read_bytes()
    (group,) = json.loads((folder / "face_recognition_model-weights_manifest.json").read_text())
    weights, at = {}, 0
    for entry in group["weights"]:
        size, packed = int(np.prod(entry["shape"])), entry.get("quantization")
        numbers = np.frombuffer(content, np.uint8 if packed else np.float32, size, at)
        at += numbers.nbytes
        found = numbers * np.float32(packed["scale"]) + np.float32(packed["min"]) if packed else numbers
        weights[entry["name"]] = found.reshape(entry["shape"])
    return weights


def crops(count: int) -> torch.Tensor:
    """Random squares of scikit-learn's photographs, as the model takes them."""
    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    rows = []
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        top, left = (random.integers(0, size - SIDE) for size in photograph.shape[:2])
        rows.append(photograph[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1))
    return torch.from_numpy(((np.stack(rows) - np.array(MEANS)[:, None, None]) / 256).astype(np.float32))
