"""Loads a Hugging Face folder by transformers, and gives it the outputs that the manifest describes."""

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from export.errors import ExportError
from export.importers.facts import Fact, Facts, value_of
from export.importers.sources.source import TorchModel
from export.importers.sources.torch_model import make_example, make_torch_model
from model_store.errors import first_line

INPUT = "pixel_values"
_VECTORS = ("image_embeds", "pooler_output", "last_hidden_state")
"""Outputs that may be the vector, the most likely one first."""
_AXES = {0: "batch", 2: "height", 3: "width"}


def read_torch(folder: Path, config: Mapping[str, Any], facts: Facts) -> tuple[TorchModel, dict[str, Fact]]:
    """The model, and the facts about its new outputs. Raises ExportError if transformers cannot load it."""
    module = load_model(folder, config)
    channels = int(config.get("num_channels") or 3)
    sides, is_free = _find_sides(config, facts)
    example = make_example(2, channels, *sides)
    wrapped, more = _wrap(module, facts, example, folder)
    with torch.no_grad():
        outputs = wrapped(example)
    return make_torch_model(wrapped, INPUT, example, outputs, _AXES if is_free else {0: "batch"}), more


def load_model(folder: Path, config: Mapping[str, Any], kind_name: str | None = None) -> torch.nn.Module:
    """The model of a folder, by the class ``kind_name``. None: by the class of its architecture. Raises ExportError."""
    transformers: Any = importlib.import_module("transformers")  # not installed everywhere, so without its types
    architecture = kind_name or next(iter(config.get("architectures") or ()), "")
    kind = getattr(transformers, architecture, None)
    if kind is None:
        raise ExportError(
            f"{folder}: transformers {transformers.__version__} has no {architecture}: install a newer one, or put an "
            "ONNX file into the folder"
        )
    transformers.utils.logging.disable_progress_bar()
    try:
        module: torch.nn.Module = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except Exception as error:  # transformers raises many types
        raise ExportError(
            f"{folder}: transformers cannot load it: {type(error).__name__}: {first_line(error)}"
        ) from error
    return module.eval().float()


def _find_sides(config: Mapping[str, Any], facts: Facts) -> tuple[tuple[int, int], bool]:
    """Height and width of the example, and whether pictures of any size are taken."""
    said = value_of(facts, "picture.size")
    if said is not None:
        return ((said, said) if isinstance(said, int) else (said[0], said[1])), False
    if (shortest := value_of(facts, "picture.shortest")) is not None:
        longest = value_of(facts, "picture.longest") or math.inf
        return (shortest, int(min(longest, shortest * 5 // 4))), True
    size = config.get("image_size")
    if isinstance(size, int):
        return (size, size), False
    if isinstance(size, list | tuple) and len(size) == 2:
        return (int(size[0]), int(size[1])), False
    raise ExportError("neither preprocessor_config.json nor config.json says the size of pictures: give --size")


class _Named(torch.nn.Module):
    """Some outputs of a model of transformers, by name."""

    def __init__(self, module: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.module(pixel_values=pixel_values, return_dict=True)
        return {name: found[name] for name in self.names}


class _Vector(_Named):
    """One vector for each picture."""

    def __init__(self, module: torch.nn.Module, name: str, pooling: str | None) -> None:
        super().__init__(module, (name,))
        self.pooling = pooling

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        [(name, found)] = super().forward(pixel_values).items()
        if found.dim() == 3:
            return {name: found[:, 0] if self.pooling == "first" else found.mean(1)}
        if found.dim() == 4:
            return {name: found.flatten(1) if found.shape[2:] == (1, 1) else found.mean((2, 3))}
        return {name: found}


class _Boxes(_Named):
    """Boxes as left, top, right, bottom in pixels, and the probabilities of their labels.

    Softmax with a last score for "nothing" gives the best label of each box, as transformers' post-processing does.
    """

    def __init__(self, module: torch.nn.Module, has_background: bool, labels: int) -> None:
        super().__init__(module, ("logits", "pred_boxes"))
        self.has_background = has_background
        self.labels = labels

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        found = super().forward(pixel_values)
        centre, size = found["pred_boxes"][..., :2], found["pred_boxes"][..., 2:]
        height, width = pixel_values.shape[-2:]
        sides = torch.stack([torch.as_tensor(side, dtype=centre.dtype) for side in (width, height, width, height)])
        boxes = torch.cat([centre - size / 2, centre + size / 2], -1) * sides
        if not self.has_background:
            return {"boxes": boxes, "scores": found["logits"].sigmoid()}
        scores = found["logits"].softmax(-1)[..., :-1]
        if self.labels == 1:
            return {"boxes": boxes, "scores": scores}
        best, classes = scores.max(-1)
        return {"boxes": boxes, "scores": best, "classes": classes}


def _wrap(
    module: torch.nn.Module, facts: Facts, example: torch.Tensor, folder: Path
) -> tuple[torch.nn.Module, dict[str, Fact]]:
    """The model with the outputs of its task, and the facts about them."""
    task = facts["task"].value
    if task == "classify":
        return _Named(module, ("logits",)), {}
    if task == "segment":
        return _Named(module, ("logits",)), {"output": Fact("logits", "transformers: the scores of a segmenter")}
    if task == "detect" and "boxes.background" in facts and "labels" in facts:
        return _wrap_boxes(module, facts)
    if task == "embed":
        return _wrap_vector(module, facts, example, folder)
    raise ExportError(
        f"{folder}: task {task}: the import does not know how this model answers it: write an ExportSpec, and publish "
        "it by `sluice export`"
    )


def _wrap_boxes(module: torch.nn.Module, facts: Facts) -> tuple[torch.nn.Module, dict[str, Fact]]:
    wrapped = _Boxes(module, facts["boxes.background"].value == "last", len(facts["labels"].value))
    origin = "the export: made of transformers' outputs"
    values = {
        "boxes.boxes": "boxes",
        "boxes.scores": "scores",
        "boxes.format": "ltrb",
        "boxes.units": "pixels",
        "boxes.background": "none",
        "activation": "none",
    }
    if wrapped.has_background and wrapped.labels > 1:
        values["boxes.classes"] = "classes"
    return wrapped, {path: Fact(value, origin) for path, value in values.items()}


def _wrap_vector(
    module: torch.nn.Module, facts: Facts, example: torch.Tensor, folder: Path
) -> tuple[torch.nn.Module, dict[str, Fact]]:
    with torch.no_grad():
        found = module(pixel_values=example, return_dict=True)
    names = [name for name in _VECTORS if found.get(name) is not None]
    said = value_of(facts, "output")
    if not names or (said is not None and said not in names):
        raise ExportError(f"{folder}: --output {said}: expected one of {', '.join(names) or 'none that is a vector'}")
    name = said or names[0]
    pooling = value_of(facts, "vectors.pooling")
    if found[name].dim() == 3 and pooling not in ("first", "mean"):
        raise ExportError(
            f"{folder}: {name} has a vector for each place: give --pooling first (such as a class token) or mean"
        )
    fact = Fact(name, f"transformers: the first of {', '.join(names)}", is_guess=True)
    return _Vector(module, name, pooling), {"output": fact}
