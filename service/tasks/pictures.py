"""Shared by tasks on pictures: where the picture lies in its row, and the picture to draw on."""

import numpy as np

from model_store.pictures.geometry import Placement
from model_store.tasks import Image
from service.codecs.model_context import known
from service.codecs.pictures.reader import decode_pixels, find_file
from service.codecs.pictures.writer import to_picture
from service.codecs.rows import Group
from service.errors import InvalidInput
from service.tasks.request import TaskOptions
from service.tasks.work import Call


def find_background(call: Call[TaskOptions]) -> bytes | None:
    """The picture file to draw the answer on; None if the row is numbers, or the answer is JSON.

    Raises InvalidInput if there are several rows, because a drawing shows one.
    """
    if not call.wants_picture or not call.rows:
        return None
    if len(call.rows) > 1:
        raise InvalidInput(f"accept: image/png shows one picture, got {len(call.rows)} rows: ask for JSON")
    found = find_file(call.rows[0], "inputs[0]")
    return None if found is None else found[0]


def read_background(file: bytes | None, group: Group, call: Call[TaskOptions]) -> np.ndarray:
    """The picture of the first row as the caller sent it, uint8 [1 or 3, height, width]."""
    image = known(call.model.manifest.image)
    if file is not None:
        return decode_pixels(file, Image(input="", channels=3), call.limits.max_pixels, "inputs[0]")[0]
    return to_picture(group.inputs[image.input][0], image)


def size_of(group: Group, image: Image) -> tuple[int, int]:
    """Height and width of the pictures that the graph takes."""
    shape = group.inputs[image.input].shape
    return (shape[1], shape[2]) if image.layout == "NHWC" else (shape[2], shape[3])


def placement_of(group: Group, position: int, image: Image) -> Placement:
    """Where the caller's picture lies in a row. A row of numbers is the picture itself."""
    placement = group.placements[position] if group.placements else None
    if placement is not None:
        return placement
    height, width = size_of(group, image)
    return Placement(width, height, 1.0, 1.0, 0.0, 0.0)
