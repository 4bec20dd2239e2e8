"""ONNX files of Ultralytics and of YOLOv5, whose metadata describe the model.

The preprocessing is that of Ultralytics' ``predict``: LetterBox for boxes, and for labels the shortest side and a crop
of the centre. The defaults are those of its ``cfg/default.yaml``: conf 0.25, iou 0.7, max_det 300. YOLOv5's metadata
have names and stride only; its ``detect.py`` has conf 0.25, iou 0.45, max_det 1000.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.importers.facts import Fact, Facts, value_of
from export.importers.labels import order_labels, read_labels
from export.importers.sources.onnx_file import name_of, read_onnx
from export.importers.sources.onnx_metadata import read_metadata
from export.importers.sources.source import Found, OnnxModel
from model_store.graph import Graph, Tensor
from model_store.plain import is_onnx

_NEEDED = ("names", "stride")
"""The keys that all versions write."""
_TASKS = {"detect": "detect", "segment": "detect", "pose": "detect", "classify": "classify"}
_PADDING = 114
"""The grey of LetterBox."""


class Ultralytics:
    """An ONNX file with the metadata of Ultralytics."""

    kind = "an ONNX file of Ultralytics (names and stride in its metadata)"

    def claims(self, path: Path) -> bool:
        return path.is_file() and is_onnx(path.name) and all(key in read_metadata(path) for key in _NEEDED)

    def read(self, path: Path, said: Facts) -> Found:
        metadata = _read_literals(path)
        task = _find_task(path, metadata)
        model = read_onnx(path)
        facts = {**name_of(path), **dict(_read_facts(path, metadata))}
        notes: list[str] = []
        if task == "classify":
            facts |= dict(_read_classifier(metadata, model))
        elif any(len(tensor.shape) == 3 for tensor in model.graph.outputs):
            facts |= dict(_read_letterbox(metadata, model.graph))
            facts |= dict(_read_boxes(path, metadata, model.graph, said))
        else:
            notes.append("the metadata name no task, and no output has boxes: give the rest by options")
        return Found(
            kind=f"an ONNX file of Ultralytics{_show_task(metadata)}", facts=facts, model=model, notes=tuple(notes)
        )


def _read_literals(path: Path) -> dict[str, Any]:
    """The metadata, whose values are Python literals or texts. Nothing is evaluated."""
    found: dict[str, Any] = {}
    for key, text in read_metadata(path).items():
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found[key] = text
    return found


def _show_task(metadata: Mapping[str, Any]) -> str:
    return f", task {metadata['task']}" if "task" in metadata else ""


def _find_task(path: Path, metadata: Mapping[str, Any]) -> str | None:
    """The task; None for YOLOv5, whose files name none. Raises ExportError if the manifest cannot describe it."""
    task = metadata.get("task")
    if task is None or task in _TASKS:
        return task
    if task == "obb":
        raise ExportError(
            f"{path}: task obb: its boxes are oriented, and a manifest describes upright boxes only: publish it as "
            "tensors by `sluice export`, or export a model of the task detect"
        )
    raise ExportError(f"{path}: task {task} in its metadata: expected one of {', '.join(_TASKS)}")


def _read_facts(path: Path, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Fact]]:
    yield "labels", Fact(order_labels(metadata["names"], f"{path.name}: names"), "metadata: names")
    for field, key in (("description", "description"), ("licence", "license")):
        if isinstance(metadata.get(key), str):
            yield field, Fact(metadata[key], f"metadata: {key}")
    yield "picture.scale", Fact(1 / 255, "Ultralytics: values from 0 to 1")
    yield "picture.order", Fact("RGB", "Ultralytics: RGB")


def _read_classifier(metadata: Mapping[str, Any], model: OnnxModel) -> Iterator[tuple[str, Fact]]:
    origin = "Ultralytics: classify_transforms"
    height, width = _find_sides(metadata)
    yield "task", Fact("classify", "metadata: task classify")
    yield "activation", Fact("none", "Ultralytics: an exported classifier ends with softmax")
    if not any(isinstance(side, int) for side in _picture_of(model.graph).shape[2:]):
        yield "picture.size", Fact((height, width), "metadata: imgsz")
    if height == width:
        yield "picture.resize", Fact("crop", origin)
        yield "picture.shortest", Fact(height, origin)
    else:
        yield "picture.resize", Fact("stretch", origin)
    yield "picture.interpolation", Fact("bilinear", origin)


def _read_letterbox(metadata: Mapping[str, Any], graph: Graph) -> Iterator[tuple[str, Fact]]:
    origin = "Ultralytics: LetterBox"
    if _is_rtdetr(metadata):
        origin = "Ultralytics: LetterBox of RT-DETR, which stretches"
        yield "picture.resize", Fact("stretch", origin)
        yield "picture.interpolation", Fact("bilinear", origin)
        yield "picture.antialias", Fact(False, f"{origin} by OpenCV")
        return
    yield "picture.resize", Fact("fit", origin)
    yield "picture.padding", Fact(_PADDING, origin)
    yield "picture.padded", Fact("centre", origin)
    yield "picture.interpolation", Fact("bilinear", origin)
    yield "picture.antialias", Fact(False, f"{origin}, which resizes by OpenCV")
    if all(isinstance(side, str) for side in _picture_of(graph).shape[2:]):
        yield "picture.longest", Fact(max(_find_sides(metadata)), "metadata: imgsz")
        yield "picture.multiple", Fact(_whole(metadata["stride"], 32), "metadata: stride")


def _is_rtdetr(metadata: Mapping[str, Any]) -> bool:
    """Whether the file is of RT-DETR, whose output of two labels looks like final boxes."""
    return "rtdetr" in f"{metadata.get('description')} {metadata.get('head')}".lower()


def _picture_of(graph: Graph) -> Tensor:
    """The input. Raises ExportError."""
    found = [tensor for tensor in graph.inputs if len(tensor.shape) == 4]
    if len(found) != 1:
        raise ExportError(f"expected one input [batch, channels, height, width], got {len(found)} with four axes")
    return found[0]


def _find_sides(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width."""
    size = metadata.get("imgsz")
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return size[0], size[1]
    return 640, 640


def _whole(value: Any, other: int) -> int:
    return value if isinstance(value, int) else other


def _read_boxes(path: Path, metadata: Mapping[str, Any], graph: Graph, said: Facts) -> Iterator[tuple[str, Fact]]:
    task = metadata.get("task")
    yield "task", Fact("detect", f"metadata: task {task}" if task else "the graph: an output with three axes")
    if task == "pose":
        points, size = _read_points(path, metadata)
        extra = points * size
        yield "boxes.point_size", Fact(size, "metadata: kpt_shape")
        names = _name_points(metadata.get("kpt_names"), points)
        if names is not None:
            yield "boxes.point_names", Fact(names, "metadata: kpt_names")
    else:
        extra = _count_coefficients(graph)
    if "boxes.layout" not in said:
        labels = metadata["names"] if (given := value_of(said, "labels")) is None else given
        count = len(read_labels(labels) if isinstance(labels, str) else labels)
        yield "boxes.layout", _find_layout(path, metadata, graph, count, extra)


def _read_points(path: Path, metadata: Mapping[str, Any]) -> tuple[int, int]:
    """The number of points, and the numbers of each. Raises ExportError."""
    found = metadata.get("kpt_shape")
    if isinstance(found, list | tuple) and len(found) == 2 and isinstance(found[0], int) and found[1] in (2, 3):
        return found[0], found[1]
    raise ExportError(f"{path}: task pose: expected kpt_shape (points, 2 or 3) in its metadata, got {found}")


def _name_points(found: Any, count: int) -> tuple[str, ...] | None:
    """The names of the points: a list, or a list for each label."""
    if isinstance(found, dict) and found:
        found = next(iter(found.values()))
    if isinstance(found, list | tuple) and len(found) == count and all(isinstance(name, str) for name in found):
        return tuple(found)
    return None


def _count_coefficients(graph: Graph) -> int:
    """The channels of the output with the prototypes of masks."""
    found = [tensor.shape[1] for tensor in graph.outputs if len(tensor.shape) == 4]
    return found[0] if len(found) == 1 and isinstance(found[0], int) else 0


def _find_layout(path: Path, metadata: Mapping[str, Any], graph: Graph, labels: int, extra: int) -> Fact:
    """The layout that follows from the metadata and the sizes of the output. Raises ExportError."""
    shape = next(tensor.shape for tensor in graph.outputs if len(tensor.shape) == 3)
    arguments = metadata.get("args")
    final = bool(metadata.get("end2end")) or (isinstance(arguments, dict) and bool(arguments.get("nms")))
    shown = f"the output [{', '.join(map(str, shape))}]"
    if _is_rtdetr(metadata) and shape[2] == 4 + labels:
        return Fact("rtdetr", f"metadata: the description names RT-DETR, and {shown}")
    if shape[2] == 6 + extra and (final or shape[1] != 4 + labels + extra):
        return Fact("end2end", f"metadata: end2end or nms, and {shown}" if final else shown)
    if shape[1] == 4 + labels + extra:
        return Fact("yolov8", f"{labels} labels, and {shown}")
    if shape[2] == 5 + labels + extra:
        return Fact("yolov5", f"{labels} labels, and {shown}")
    behind = f", then {extra} more numbers" if extra else ""
    raise ExportError(
        f"{path}: {shown}: expected [batch, 4 + {labels} labels, candidates] of YOLOv8 and newer, [batch, candidates, "
        f"5 + {labels} labels] of YOLOv5, or final boxes [batch, candidates, 6]{behind}"
    )
