"""segment: a label for each pixel of a picture."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from model_store.manifest import Manifest
from model_store.pictures.geometry import Placement
from service.codecs.model_context import known
from service.codecs.pictures.drawing import colour_of, draw_labels
from service.codecs.pictures.masks import label_pixels
from service.codecs.pictures.writer import MEDIA_TYPE as PNG
from service.codecs.pictures.writer import as_image, encode_labels
from service.codecs.rows import Group, in_order
from service.engine.tensors import Arrays
from service.errors import ModelFailure
from service.tasks.answer import check_answer, check_finite
from service.tasks.pictures import find_background, placement_of, read_background, size_of
from service.tasks.request import TaskOptions
from service.tasks.work import Call, Result, RunInThread, decode_rows, infer_group

NAME = "segment"
_PIXEL_BYTES = 16
"""Memory for a pixel of an answer, with the copies that are made."""


class Options(TaskOptions):
    """The fields of a request besides its rows."""

    mask_format: Literal["picture", "numbers"] = "picture"
    """`picture`: a PNG whose pixel values are positions of labels, with a colour for each; `numbers`: nested numbers"""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions": [{"width", "height", "labels": [{"label", "index", "share"}], "mask"}]}``.

    With Accept: image/png the answer is a PNG of the labels as colours over the picture. A stream has one event, the
    last.
    """
    check_answer(call)
    manifest = call.model.manifest
    image, facts = known(manifest.image), known(manifest.segmentation)
    file = find_background(call)
    with call.limits.room.open() as take:
        groups = await decode_rows(call)
        places = [placement_of(group, i, image) for group in groups for i in range(len(group.places))]
        take(_PIXEL_BYTES * sum(place.width * place.height for place in places))
        outputs = [await infer_group(group) for group in groups]
        if call.wants_picture:

            def draw() -> bytes:
                _, labels = next(_segment(manifest, groups[0], outputs[0]))
                return draw_labels(read_background(file, groups[0], call), labels, facts.ignored)

            return Result(await RunInThread(draw), PNG)

        def describe() -> list[list[dict[str, Any]]]:
            return [
                [_describe(call.options, manifest, place, labels) for place, labels in _segment(manifest, *each)]
                for each in zip(groups, outputs, strict=True)
            ]

        answers = await RunInThread(describe)
    return call.answer(is_large=True, predictions=in_order(groups, answers))


def _segment(manifest: Manifest, group: Group, outputs: Arrays) -> Iterator[tuple[Placement, np.ndarray]]:
    """For each picture of the group: its placement in the row, and the labels of its pixels. Raises ModelFailure."""
    image, facts = known(manifest.image), known(manifest.segmentation)
    output = check_finite(manifest.name, facts.output, outputs[facts.output])
    if output.ndim == 3 and output.size and not 0 <= output.min() <= output.max() < len(manifest.labels):
        raise ModelFailure(f"model {manifest.name!r} gave {facts.output!r} outside its {len(manifest.labels)} labels")
    for i, of_row in enumerate(output):
        placement = placement_of(group, i, image)
        yield placement, label_pixels(of_row, facts, placement, size_of(group, image))


def _describe(options: Options, manifest: Manifest, placement: Placement, labels: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(labels.ravel(), minlength=len(manifest.labels))
    if (ignored := known(manifest.segmentation).ignored) is not None:
        counts[ignored] = 0
    present = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    colours = [colour_of(i) for i in range(min(256, len(manifest.labels)))]
    return {
        "width": placement.width,
        "height": placement.height,
        "labels": [{"label": manifest.labels[i], "index": i, "share": float(counts[i] / labels.size)} for i in present],
        "mask": labels.tolist() if options.mask_format == "numbers" else as_image(encode_labels(labels, colours)),
    }
