"""A folder of timm: ``config.json`` with ``pretrained_cfg``, and weights for timm, or an ONNX file.

Pictures are prepared as by timm's ``create_transform`` for evaluation: it resizes to the size divided by ``crop_pct``,
rounded down, and cuts out the centre.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.importers.facts import Fact, Facts
from export.importers.labels import order_labels
from export.importers.sources.onnx_file import name_of, read_onnx
from export.importers.sources.source import Found, OnnxModel, TorchModel
from model_store.errors import StoreError
from model_store.files.links import Boundary
from model_store.plain import find_onnx, is_onnx

CONFIG, CFG = "config.json", "pretrained_cfg"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CROP_PCT = 0.875
"""timm's default."""
_FILTERS = ("nearest", "bilinear", "bicubic", "box", "lanczos")


class TimmFolder:
    """A folder as timm's ``push_to_hf_hub`` and ``save_for_hf`` write it."""

    kind = f"a timm folder ({CONFIG} with {CFG}, and {' or '.join(WEIGHTS)} or an ONNX file)"

    def claims(self, path: Path) -> bool:
        try:
            config = json.loads((path / CONFIG).read_text("utf-8")) if path.is_dir() else None
        except (OSError, ValueError):
            return False
        return isinstance(config, dict) and isinstance(config.get(CFG), dict)

    def read(self, path: Path, said: Facts) -> Found:
        config: Mapping[str, Any] = json.loads((path / CONFIG).read_text("utf-8"))
        facts, notes = read_facts(path, config)
        model: OnnxModel | TorchModel
        if any(is_onnx(entry.name) for entry in path.iterdir()):
            model, kind = _read_onnx(path), "a timm folder, its ONNX file"
        else:
            model, kind = _read_torch(path, config), "a timm folder, its weights through timm"
        return Found(kind=kind, facts=facts, model=model, notes=tuple(notes))


def _read_onnx(folder: Path) -> OnnxModel:
    try:
        return read_onnx(find_onnx(folder.absolute(), Boundary(folder.absolute().parent, follow_links=True)))
    except StoreError as error:
        raise ExportError(f"{folder}: {error}") from error


def _read_torch(folder: Path, config: Mapping[str, Any]) -> TorchModel:
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ExportError(f"{folder}: expected weights, {' or '.join(WEIGHTS)}, or an ONNX file beside {CONFIG}")
    try:
        from export.importers.sources.timm_torch import read_torch
    except ImportError as error:
        raise ExportError(
            f"{folder}: reading its weights needs timm and torch ({error}): pip install timm, or put an ONNX file into "
            "the folder"
        ) from None
    return read_torch(folder, weights, config, _find_sides(config[CFG]))


def read_facts(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Fact], list[str]]:
    """What the configuration says, and remarks on what the manifest cannot describe. Raises SpecError."""
    cfg = config[CFG]
    facts: dict[str, Fact] = dict(name_of(folder))
    count = config.get("num_classes", cfg.get("num_classes"))
    task = "embed" if count == 0 else "classify"
    facts["task"] = Fact(task, f"{CONFIG}: num_classes {count}")
    if task == "classify":
        facts["activation"] = Fact("softmax", "timm: a classifier gives logits")
        names = config.get("label_names") or cfg.get("label_names")
        if names:
            facts["labels"] = Fact(order_labels(names, f"{CONFIG}: label_names"), f"{CONFIG}: label_names")
    if isinstance(cfg.get("license"), str):
        facts["licence"] = Fact(cfg["license"], f"{CFG}: license")
    sizes, notes = _read_sizes(cfg)
    return facts | dict(_read_levels(cfg)) | sizes, notes


def _read_levels(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Fact]]:
    yield "picture.scale", Fact(1 / 255, "timm: values from 0 to 1")
    yield "picture.order", Fact("RGB", "timm: RGB")
    for key in ("mean", "std"):
        values = cfg.get(key)
        if isinstance(values, list | tuple) and len(values) in (1, 3):
            numbers = tuple(float(value) for value in values)
            yield f"picture.{key}", Fact(numbers if len(numbers) == 3 else numbers[0], f"{CFG}: {key}")
    if cfg.get("interpolation") in _FILTERS:
        yield "picture.interpolation", Fact(cfg["interpolation"], f"{CFG}: interpolation")


def _find_sides(cfg: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width. Raises ExportError."""
    size = cfg.get("input_size")
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(isinstance(side, int) for side in size):
        raise ExportError(f"{CFG}: input_size: expected channels, height and width, got {size}")
    return size[0], size[1], size[2]


def _read_sizes(cfg: Mapping[str, Any]) -> tuple[dict[str, Fact], list[str]]:
    """Size and resizing, and a remark if the manifest cannot describe the resizing."""
    _, height, width = _find_sides(cfg)
    share = float(cfg.get("crop_pct") or _CROP_PCT)
    mode = str(cfg.get("crop_mode") or "center")
    origin = f"{CFG}: crop_mode {mode}, crop_pct {share:g}"
    facts = {"picture.size": Fact((height, width), f"{CFG}: input_size")}
    resized = math.floor(height / share), math.floor(width / share)
    if mode == "center" and height == width:
        facts["picture.resize"] = Fact("crop", origin)
        facts["picture.shortest"] = Fact(resized[0], origin)
        return facts, []
    kinds = {"center": "crop", "squash": "stretch", "border": "fit"}
    padding = {round(255 * value) for value in cfg.get("mean") or (0,)}
    if mode not in kinds or resized != (height, width) or (mode == "border" and len(padding) > 1):
        return facts, [f"{origin}, at {height} x {width}: the manifest cannot describe it: give the nearest --resize"]
    facts["picture.resize"] = Fact(kinds[mode], origin)
    if mode == "border":
        facts["picture.padding"] = Fact(padding.pop(), f"{CFG}: mean")
    return facts, []
