"""crop: cuts boxes out of a picture."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image as Pillow

from model_store.errors import PictureTooLarge
from model_store.pictures.cutting import Corners, Cut, cut_out
from service.codecs.pictures.reader import open_whole
from service.codecs.rows import count_bytes
from service.errors import BodyTooLarge, InvalidInput
from service.tasks.pipelines.values import MOST_ELEMENTS, StepWires, show
from service.tasks.work import SLOW_BYTES, Limits, run_in_thread

_BOX_BYTES = 1 << 10
"""The cost of a box, as ``run_in_thread`` counts."""


async def crop(
    wires: StepWires,
    rows: Sequence[int],
    operands: Sequence[Sequence[Any]],
    limits: Limits,
    take: Callable[[int], None],
) -> list[list[Cut]]:
    """The parts of the picture of each row. ``take`` is called with the bytes of each picture before it is decoded.

    Raises InvalidInput, which names the value that is not a picture or a box; UnsupportedMedia, BodyTooLarge, TryLater.
    """
    picture_wire, boxes_wire = wires.others
    count = sum(len(of_row[1]) for of_row in operands if isinstance(of_row[1], list))
    if len(operands) > 1 and count > MOST_ELEMENTS:
        raise BodyTooLarge(
            f"expected at most {MOST_ELEMENTS} boxes of {boxes_wire} in all rows together, got {count}: send fewer rows"
        )

    def cut(at: int, value: Any, boxes: Any) -> list[Cut]:
        where = show(boxes_wire, at)
        corners = [_read_corners(box, f"{where}[{i}]") for i, box in enumerate(_read_list(boxes, where))]
        if not corners:
            return []
        picture: Pillow.Image = open_whole(value, show(picture_wire, at), limits.max_pixels, take)
        return [
            cut_out(picture, one, wires.step.margin, limits.max_pixels, f"{where}[{i}]")
            for i, one in enumerate(corners)
        ]

    def cut_all() -> list[list[Cut]]:
        try:
            return [cut(at, *of_row) for at, of_row in zip(rows, operands, strict=True)]
        except PictureTooLarge as error:
            raise BodyTooLarge(str(error)) from None

    size = count_bytes([of_row[0] for of_row in operands], SLOW_BYTES) + count * _BOX_BYTES
    return await run_in_thread(cut_all, size)


def _read_list(boxes: Any, where: str) -> list[Any]:
    if not isinstance(boxes, list) or len(boxes) > MOST_ELEMENTS:
        got = f"{len(boxes)}" if isinstance(boxes, list) else "none"
        raise InvalidInput(f"{where}: expected an array of at most {MOST_ELEMENTS} boxes, got {got}")
    return boxes


def _read_corners(box: Any, where: str) -> Corners:
    """The four corners of a detection, of a box of four numbers, or of four points."""
    if isinstance(box, dict) and "box" in box:
        box = box["box"]
    if isinstance(box, list) and len(box) == 4:
        if all(map(_is_number, box)):
            left, top, right, bottom = box
            return ((left, top), (right, top), (right, bottom), (left, bottom))
        points: list[Any] = [(p.get("x"), p.get("y")) if isinstance(p, dict) else p for p in box]
        if all(isinstance(point, list | tuple) and len(point) == 2 and all(map(_is_number, point)) for point in points):
            return [(x, y) for x, y in points]
    raise InvalidInput(f"{where}: expected a box of four numbers, or four corners with x and y, got {box!r:.80}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
