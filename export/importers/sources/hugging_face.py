"""A local folder of Hugging Face: ``config.json``, ``preprocessor_config.json``, and an ONNX file or safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.importers.changes.shapes import FillMask
from export.importers.facts import Fact, Facts
from export.importers.labels import order_labels
from export.importers.sources.hugging.files import (
    CONFIG,
    PROCESSOR,
    WEIGHTS,
    check_weights,
    find_onnx,
    name_architecture,
    read_classes,
    read_json,
    read_licence,
)
from export.importers.sources.hugging.texts import (
    TEXT_TASKS,
    TOKENIZER,
    choose_vector,
    is_text_model,
    read_text_facts,
)
from export.importers.sources.hugging_face_pictures import read_processor
from export.importers.sources.onnx_file import name_of, read_onnx
from export.importers.sources.source import Found, OnnxModel, TorchModel
from model_store.datatypes import DATATYPES
from model_store.plain import is_onnx

_PICTURE_TASKS = {
    "ForImageClassification": "classify",
    "ForImageClassificationWithTeacher": "classify",
    "ForObjectDetection": "detect",
    "ForSemanticSegmentation": "segment",
    "VisionModelWithProjection": "embed",
    "Model": "embed",
    "Backbone": "embed",
}
"""Tasks by the end of the architecture's name; the last two only with a processor of pictures."""
_SOFTMAX = ("detr", "yolos", "table-transformer")
_SIGMOID = ("conditional_detr", "deformable_detr", "dab-detr", "rt_detr", "rt_detr_v2", "d_fine", "rf_detr")
"""Detectors by what makes probabilities of their logits: transformers' post_process_object_detection."""
_THRESHOLD = 0.5


class HuggingFace:
    """A folder, or an ONNX file in it: ``folder/onnx/model_quantized.onnx``."""

    kind = f"a Hugging Face folder ({CONFIG}, and an ONNX file or model.safetensors)"

    def claims(self, path: Path) -> bool:
        return _find_folder(path) is not None

    def read(self, path: Path, said: Facts) -> Found:
        folder = _find_folder(path)
        assert folder is not None  # noqa: S101  # it was claimed
        config = read_json(folder / CONFIG)
        takes_texts = is_text_model(folder, config)
        facts, notes = read_text_facts(folder, config) if takes_texts else read_facts(folder, config)
        if "labels" in facts and facts["labels"].value[0] == "LABEL_0":
            notes.append(f"the labels of {CONFIG} are placeholders: --labels gives them names")
        file = path if path.is_file() else find_onnx(folder)
        what = "a Hugging Face folder of texts" if takes_texts else "a Hugging Face folder"
        model: OnnxModel | TorchModel
        if file is not None:
            model = read_onnx(file)
            what += f", its {file.absolute().relative_to(folder.absolute())}"
            facts |= choose_vector(model, facts) if takes_texts else {}
            if any((folder / name).is_file() for name in WEIGHTS):
                notes.append(
                    "its safetensors are not read, because it has an ONNX file: without that, the import "
                    "exports them and compares the graph with PyTorch"
                )
        else:
            model, more = _read_torch(folder, config, {**facts, **said}, takes_texts)
            what, facts = f"{what}, its safetensors through transformers", facts | more
        return Found(kind=what, facts=facts, model=model, changes=_fill_mask(model), notes=tuple(notes))


def _fill_mask(model: OnnxModel | TorchModel) -> tuple[FillMask, ...]:
    """The change for DETR's input that marks the padding in a batch: here all pictures of a batch have one size."""
    inputs = {tensor.name: tensor for tensor in model.graph.inputs}
    mask = inputs.get("pixel_mask")
    if not isinstance(model, OnnxModel) or mask is None or "pixel_values" not in inputs or len(mask.shape) != 3:
        return ()
    height, width = mask.shape[1:]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return (FillMask("pixel_mask", "pixel_values", size, str(DATATYPES[mask.datatype].dtype)),)


def _find_folder(path: Path) -> Path | None:
    """The folder with the configuration, for the folder itself or an ONNX file in it; None if there is none."""
    if path.is_dir():
        folders = [path]
    elif path.is_file() and is_onnx(path.name):
        folders = [path.absolute().parent, path.absolute().parent.parent]
    else:
        return None
    return next((folder for folder in folders if _is_config(folder / CONFIG)), None)


def _is_config(path: Path) -> bool:
    try:
        return path.is_file() and bool({"model_type", "architectures"} & json.loads(path.read_text("utf-8")).keys())
    except (OSError, ValueError, AttributeError):
        return False


def read_facts(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Fact], list[str]]:
    """What the configurations say, and remarks. Raises ExportError for models that do not take pictures."""
    facts: dict[str, Fact] = dict(name_of(folder))
    architecture = name_architecture(config)
    has_pictures = (folder / PROCESSOR).is_file()
    task = _find_task(architecture, has_pictures)
    if task is None:
        raise ExportError(_refuse(folder, architecture))
    facts["task"] = Fact(task, f"{CONFIG}: architectures {architecture}")
    if task in ("classify", "detect", "segment") and (labels := config.get("id2label")):
        facts["labels"] = Fact(order_labels(labels, f"{CONFIG}: id2label"), f"{CONFIG}: id2label")
    if task == "classify":
        facts |= read_classes(config)
    if task == "detect":
        facts |= _read_boxes(str(config.get("model_type")))
    notes: list[str] = []
    if has_pictures:
        picture, notes = read_processor(read_json(folder / PROCESSOR), PROCESSOR)
        facts |= picture
    if licence := read_licence(folder):
        facts["licence"] = licence
    return facts, notes


def _find_task(architecture: str, has_pictures: bool) -> str | None:
    ends = [end for end in _PICTURE_TASKS if architecture.endswith(end)]
    if not ends or (max(ends, key=len) in ("Model", "Backbone") and not has_pictures):
        return None
    return _PICTURE_TASKS[max(ends, key=len)]


def _refuse(folder: Path, architecture: str) -> str:
    what = f"{folder}: {CONFIG} names the architecture {architecture or 'none'}"
    return (
        f"{what}: expected a model of pictures, whose name ends in {', '.join(_PICTURE_TASKS)}, with {PROCESSOR}, or "
        f"one of texts, whose name ends in {', '.join(TEXT_TASKS)}, with {TOKENIZER}: publish others by `sluice export`"
    )


def _read_boxes(model_type: str) -> dict[str, Fact]:
    """What transformers' post-processing does with the outputs of this type of model."""
    if model_type not in (*_SOFTMAX, *_SIGMOID):
        return {}
    origin = f"transformers: post-processing of {model_type}"
    is_softmax = model_type in _SOFTMAX
    values = {
        "boxes.boxes": "pred_boxes",
        "boxes.scores": "logits",
        "boxes.format": "cxcywh",
        "boxes.units": "fractions",
        "boxes.background": "last" if is_softmax else "none",
        "activation": "softmax" if is_softmax else "sigmoid",
        "boxes.overlap": "none",
        "threshold": _THRESHOLD,
    }
    return {path: Fact(value, origin) for path, value in values.items()}


def _read_torch(
    folder: Path, config: Mapping[str, Any], facts: Facts, takes_texts: bool
) -> tuple[TorchModel, dict[str, Fact]]:
    """The model through transformers. Raises ExportError if it is not there, or the folder has no safetensors."""
    check_weights(folder)
    if takes_texts:
        from export.importers.sources.hugging.texts_torch import read_text_torch

        return read_text_torch(folder, config, facts)
    from export.importers.sources.hugging_face_torch import read_torch

    return read_torch(folder, config, facts)
