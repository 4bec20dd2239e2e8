"""Turns a trained PyTorch model into a proved version in the store."""

from export.errors import (
    DependentRows,
    Element,
    ExportError,
    MissingFacts,
    NotPublished,
    ParityError,
    QualityError,
    SpecError,
    UnknownRecipe,
)
from export.onnx_files.spec import OnnxSpec
from export.publish import publish, publish_each
from export.spec import ExportSpec, GraphSpec

__all__ = [
    "DependentRows",
    "Element",
    "ExportError",
    "ExportSpec",
    "GraphSpec",
    "MissingFacts",
    "NotPublished",
    "OnnxSpec",
    "ParityError",
    "QualityError",
    "SpecError",
    "UnknownRecipe",
    "publish",
    "publish_each",
]
