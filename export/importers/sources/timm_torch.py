"""Loads a model by timm."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import timm
import torch

from export.errors import ExportError
from export.importers.sources.source import Publication, TorchModel
from export.spec import ExportSpec
from export.spec.description import ModelDescription
from model_store.errors import first_line
from model_store.graph import Graph, Tensor

INPUT, OUTPUT = "pixels", "logits"


def read_torch(folder: Path, weights: Path, config: Mapping[str, Any], size: tuple[int, int, int]) -> TorchModel:
    """The model of the configuration. ``size`` is channels, height and width. Raises ExportError if timm fails."""
    module = _load(folder, weights, config, size[0])
    example = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        shape = module(example).shape
    graph = Graph(
        file="main.onnx",
        inputs=(Tensor(name=INPUT, datatype="FP32", shape=("batch", *size)),),
        outputs=(Tensor(name=OUTPUT, datatype="FP32", shape=("batch", *shape[1:])),),
    )

    def make_spec(publication: Publication) -> ExportSpec:
        samples = publication.samples
        own = {f.name: getattr(publication.description, f.name) for f in fields(ModelDescription)}
        return ExportSpec(
            **own,
            module=module,
            inputs={INPUT: example},
            outputs=(OUTPUT,),
            dynamic={INPUT: {0: "batch"}},
            samples=None if samples is None else {name: torch.from_numpy(array) for name, array in samples.items()},
            quality=publication.quality,
            golden_rows=publication.golden_rows,
        )

    return TorchModel(graph=graph, make_spec=make_spec)


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
