"""All kinds of sources, and the choice between them."""

from pathlib import Path

from export.errors import ExportError
from export.importers.sources.hugging.files import CONFIG, read_json
from export.importers.sources.hugging.texts import TOKENIZER
from export.importers.sources.hugging_face import HuggingFace
from export.importers.sources.onnx_file import OnnxFile
from export.importers.sources.scikit_learn import ScikitLearn
from export.importers.sources.source import Source
from export.importers.sources.timm_folder import TimmFolder
from export.importers.sources.triton_folder import TritonFolder
from export.importers.sources.ultralytics import Ultralytics
from model_store.triton import CONFIG_FILE

SOURCES: tuple[Source, ...] = (
    HuggingFace(),
    TimmFolder(),
    TritonFolder(),
    Ultralytics(),
    ScikitLearn(),
    OnnxFile(),
)
"""In order: the first source that claims a path reads it."""


def choose_source(path: Path) -> Source:
    """The source that claims a path. Raises ExportError, which lists what can be imported."""
    found = next((source for source in SOURCES if source.claims(path)), None)
    if isinstance(found, TritonFolder) and not (path / CONFIG_FILE).is_file():
        _check_hugging_face(path)
    if found is not None:
        return found
    kinds = ", ".join(source.kind for source in SOURCES)
    what = "there is no such file or folder" if not path.exists() else _describe(path)
    raise ExportError(f"{path}: {what}: expected one of: {kinds}")


def _check_hugging_face(folder: Path) -> None:
    """Raises ExportError for a Hugging Face folder without its configuration, which must not become plain tensors."""
    config = folder / CONFIG
    if config.is_file():
        read_json(config)
    if (folder / TOKENIZER).is_file():
        raise ExportError(
            f"{folder}: it has a {TOKENIZER}, but no {CONFIG} with architectures or model_type: add the one that "
            "transformers writes, or import the ONNX file by its path, as a model of tensors"
        )


def _describe(path: Path) -> str:
    if not path.is_dir():
        return "it is none of the files that can be imported"
    names = sorted(entry.name for entry in path.iterdir())[:8]
    return f"the folder holds {', '.join(names) or 'nothing'}"
