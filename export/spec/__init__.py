"""The description of a model to export: its tensors, its task, and what it must reach to be published."""

from export.axes import BATCH
from export.spec.graph import GraphSpec
from export.spec.kinds import BATCHES, MAIN, SEEDS, Arrays, Precision, Predict, Progress, Sizes
from export.spec.model import ExportSpec, lacks_probabilities

__all__ = [
    "BATCH",
    "BATCHES",
    "MAIN",
    "SEEDS",
    "Arrays",
    "ExportSpec",
    "GraphSpec",
    "Precision",
    "Predict",
    "Progress",
    "Sizes",
    "lacks_probabilities",
]
