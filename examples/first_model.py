"""The smallest description of a model: sluice export examples/first_model.py:spec --store my-models"""

import torch

from export import ExportSpec
from model_store.tasks import Classes, Image

module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))  # yours, trained

spec = ExportSpec(
    name="my-model",
    task="classify",
    module=module,
    inputs={"picture": torch.rand(2, 3, 32, 32)},  # two rows, as an example
    outputs=("scores",),
    labels=("circle", "square", "triangle"),
    classes=Classes(logits="scores"),
    image=Image(input="picture", channels=3, height=32, width=32, scale=1 / 255),  # pixels 0..255 become 0..1
)
