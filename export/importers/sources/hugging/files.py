"""The files of a Hugging Face folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.importers.facts import Fact
from model_store.plain import is_onnx

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def read_json(path: Path) -> Mapping[str, Any]:
    """An object of JSON. Raises ExportError."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: expected JSON: {error}") from None
    if not isinstance(found, dict):
        raise ExportError(f"{path}: expected an object, got {type(found).__name__}")
    return found


def find_onnx(folder: Path) -> Path | None:
    """The ONNX file to import: ``model.onnx``, or the only one. Raises ExportError if there are several others."""
    files = sorted(file for place in (folder, folder / "onnx") if place.is_dir() for file in place.iterdir())
    files = [file for file in files if file.is_file() and is_onnx(file.name)]
    named = [file for file in files if file.name == "model.onnx"]
    if len(named or files) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files)
        raise ExportError(f"{folder}: expected one ONNX file, got {names}: import one of them by its path")
    return next(iter(named or files), None)


def name_architecture(config: Mapping[str, Any]) -> str:
    """The first of the architectures; "" if there is none."""
    return str(next(iter(config.get("architectures") or ()), ""))


def read_classes(config: Mapping[str, Any]) -> dict[str, Fact]:
    """The output of a classifier that has the scores, and the function that turns them into probabilities."""
    facts = {"output": Fact("logits", "transformers: the scores of a classifier")}
    if config.get("problem_type") == "multi_label_classification":
        origin = f"{CONFIG}: problem_type multi_label_classification"
        return facts | {"activation": Fact("sigmoid", origin), "multi_label": Fact(True, origin)}
    return facts | {"activation": Fact("softmax", "transformers: classifiers give scores of any size")}


def read_licence(folder: Path) -> Fact | None:
    """The licence of the model card's header."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    head = card.read_text("utf-8", "replace").partition("---")[2].partition("\n---")[0]
    found = [line.partition(":")[2].strip() for line in head.splitlines() if line.startswith("license:")]
    return Fact(found[0], "README.md: license") if found and found[0] else None


def check_weights(folder: Path) -> None:
    """Raises ExportError if the folder has no safetensors, or transformers, which reads them, is not installed."""
    if not any((folder / name).is_file() for name in WEIGHTS):
        has_pickle = (folder / "pytorch_model.bin").is_file()
        why = "pytorch_model.bin is not read, because loading it may run code" if has_pickle else "it has neither"
        raise ExportError(f"{folder}: expected an ONNX file or model.safetensors: {why}: save it as safetensors")
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ExportError(
            f"{folder}: its safetensors need transformers: pip install transformers, or put an ONNX file into the "
            "folder"
        ) from None
