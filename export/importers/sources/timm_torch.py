"""Loads a model by timm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch

from export.errors import ExportError
from export.importers.sources.source import TorchModel
from export.importers.sources.torch_model import make_example, make_torch_model
from model_store.errors import first_line

INPUT, OUTPUT = "pixels", "logits"


def read_torch(folder: Path, weights: Path, config: Mapping[str, Any], size: tuple[int, int, int]) -> TorchModel:
    """The model of the configuration. ``size`` is channels, height and width. Raises ExportError if timm fails."""
    module = _load(folder, weights, config, size[0])
    example = make_example(2, *size)
    with torch.no_grad():
        outputs = {OUTPUT: module(example)}
    return make_torch_model(module, INPUT, example, outputs, {0: "batch"})


def _load(folder: Path, weights: Path, config: Mapping[str, Any], channels: int) -> torch.nn.Module:
    architecture = str(config.get("architecture"))
    count = config.get("num_classes", config["pretrained_cfg"].get("num_classes"))
    options = {**config.get("model_args", {}), "num_classes": count, "in_chans": channels}
    if config.get("global_pool"):
        options["global_pool"] = config["global_pool"]
    try:
        module: torch.nn.Module = timm.create_model(architecture, checkpoint_path=str(weights), **options)
    except Exception as error:  # timm raises many types
        raise ExportError(
            f"{folder}: timm {timm.__version__} cannot load {architecture}: {type(error).__name__}: {first_line(error)}"
        ) from error
    return module.eval().float()
