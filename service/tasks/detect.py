"""detect: boxes with labels in pictures, in pixels of the caller's picture."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.detections.boxes import select_boxes
from model_store.detections.regions import find_regions
from model_store.manifest import Manifest
from model_store.pictures.geometry import Placement
from model_store.tasks import Detection, Regions
from service.codecs.model_context import known
from service.codecs.pictures.boxes import MaskBudget, PlacedBox, describe_box, place_boxes
from service.codecs.pictures.drawing import draw_boxes
from service.codecs.pictures.writer import MEDIA_TYPE as PNG
from service.codecs.rows import Group, in_order
from service.engine.tensors import Arrays
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import check_answer, check_finite
from service.tasks.pictures import find_background, placement_of, read_background, size_of
from service.tasks.request import FromText, TaskOptions
from service.tasks.work import Call, Result, RunInThread, decode_rows, infer_group, run_in_thread

NAME = "detect"
_POSITION = re.compile(r"[0-9]{1,9}")


class Options(TaskOptions):
    """The fields of a request besides its rows."""

    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """least score of a box; default: that of the model"""
    max_detections: Annotated[int, Field(ge=1, le=1000)] | None = None
    """the most boxes of a picture, the best ones; default: that of the model"""
    classes: Annotated[list[str | int], FromText, Field(min_length=1)] | None = None
    """the labels, or their positions from 0, of the boxes that are wanted; default: all"""
    masks: bool = True
    """answer with the mask of each box, if the model gives masks"""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions": [{"width", "height", "detections": [{"box", "label", "index", "score",
    "points"?, "mask"?}]}]}``.

    With Accept: image/png the answer is a PNG of the boxes over the picture. A stream has one event, the last.
    """
    check_answer(call)
    wanted = find_labels(call.options.classes, call.model.manifest)
    file = find_background(call)
    budget = MaskBudget() if call.options.masks and known(call.model.manifest.detection).prototypes else None
    groups = await decode_rows(call)
    outputs = [await infer_group(group) for group in groups]
    if call.wants_picture:

        def draw() -> bytes:
            _, found = next(_detect(call, wanted, budget, groups[0], outputs[0]))
            return draw_boxes(read_background(file, groups[0], call), found, call.model.manifest.labels)

        return Result(await RunInThread(draw), PNG)

    def describe() -> list[list[dict[str, Any]]]:
        return [
            [
                _describe(placement, found, call.model.manifest)
                for placement, found in _detect(call, wanted, budget, *each)
            ]
            for each in zip(groups, outputs, strict=True)
        ]

    size_bytes = sum(array.nbytes for of_group in outputs for array in of_group.values())
    # Masks are as large as the boxes in the caller's picture, however small the outputs are.
    answers = await (run_in_thread(describe, size_bytes) if budget is None else RunInThread(describe))
    return call.answer(predictions=in_order(groups, answers))


def _detect(
    call: Call[Options],
    wanted: Collection[int] | None,
    masks: MaskBudget | None,
    group: Group,
    outputs: Arrays,
) -> Iterator[tuple[Placement, Iterator[PlacedBox]]]:
    """For each picture of the group: its placement in the row, and its boxes.

    Boxes are made one by one, because their masks are large. Raises ModelFailure for boxes that are not finite,
    InvalidInput for too many pixels of masks.
    """
    options, manifest = call.options, call.model.manifest
    facts, image = known(manifest.detection), known(manifest.image)
    names = (facts.boxes, facts.scores, facts.points, facts.coefficients, facts.prototypes)
    for name in names if facts.regions is None else (facts.regions.output,):
        if name is not None:
            check_finite(call.model.name, name, outputs[name])
    _check_labels(outputs, facts, manifest)
    size = size_of(group, image)
    for i in range(len(group.places)):
        of_row = {name: array[i] for name, array in outputs.items()}
        if facts.regions is not None:
            of_row |= _find_candidates(of_row, facts.regions, facts, size)
        placement = placement_of(group, i, image)
        most = options.max_detections
        selected = select_boxes(of_row, facts, options.threshold, most, wanted, placement.covered)
        yield placement, place_boxes(of_row, selected, facts, placement, size, masks)


def _describe(placement: Placement, found: Iterable[PlacedBox], manifest: Manifest) -> dict[str, Any]:
    facts = known(manifest.detection)
    detections = [describe_box(one, facts, manifest.labels) for one in found]
    return {"width": placement.width, "height": placement.height, "detections": detections}


def _find_candidates(outputs: Arrays, regions: Regions, facts: Detection, size: tuple[int, int]) -> Arrays:
    """The regions of a score map as boxes, in pixels of the graph's picture."""
    scores = outputs[regions.output][0]
    found = find_regions(scores, regions)
    down, across = size[0] / scores.shape[0], size[1] / scores.shape[1]
    scale = np.array([across, down, across, down], np.float32)
    return {facts.boxes: found.boxes * scale, facts.scores: found.scores}


def _check_labels(outputs: Arrays, facts: Detection, manifest: Manifest) -> None:
    """Raises ModelFailure for a label index out of range. Padding, which has the score 0, may have any index."""
    if facts.classes is None:
        return
    classes = outputs[facts.classes]
    wrong = (classes < 0) | (classes >= len(manifest.labels))
    if (wrong & (outputs[facts.scores] > 0)).any():
        raise ModelFailure(f"model {manifest.name!r} gave {facts.classes!r} outside its {len(manifest.labels)} labels")


def find_labels(wanted: Sequence[str | int] | None, manifest: Manifest) -> Collection[int] | None:
    """The positions of labels. Raises InvalidInput for one that the model does not have."""
    if wanted is None:
        return None
    labels = manifest.labels
    positions = {label: i for i, label in enumerate(labels)}
    found = []
    for name in wanted:
        if isinstance(name, str) and name not in positions and _POSITION.fullmatch(name):
            name = int(name)
        position = positions.get(name, -1) if isinstance(name, str) else name
        if not 0 <= position < len(labels):
            some = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
            raise InvalidInput(f"classes: expected labels of model {manifest.name!r} ({some}), got {name!r:.60}")
        found.append(position)
    return found
