"""All kinds of sources, and the choice between them."""

from pathlib import Path

from export.errors import ExportError
from export.importers.sources.hugging_face import HuggingFace
from export.importers.sources.onnx_file import OnnxFile
from export.importers.sources.scikit_learn import ScikitLearn
from export.importers.sources.source import Source
from export.importers.sources.timm_folder import TimmFolder
from export.importers.sources.triton_folder import TritonFolder
from export.importers.sources.ultralytics import Ultralytics

SOURCES: tuple[Source, ...] = (
    HuggingFace(),
    TimmFolder(),
    TritonFolder(),
    Ultralytics(),
    ScikitLearn(),
    OnnxFile(),
)
"""The first one that claims a path reads it."""


def choose_source(path: Path) -> Source:
    """The source that claims a path. Raises ExportError, which lists what can be imported."""
    found = next((source for source in SOURCES if source.claims(path)), None)
    if found is not None:
        return found
    kinds = ", ".join(source.kind for source in SOURCES)
    what = "there is no such file or folder" if not path.exists() else _describe(path)
    raise ExportError(f"{path}: {what}: expected one of: {kinds}")


def _describe(path: Path) -> str:
    if not path.is_dir():
        return "it is none of the files that can be imported"
    names = sorted(entry.name for entry in path.iterdir())[:8]
    return f"the folder holds {', '.join(names) or 'nothing'}"
