"""Boxes: decoded from raw outputs of a known layout, or read from separate outputs."""

from export.importers.planning.boxes import plan_boxes
from export.importers.planning.draft import Draft
from export.importers.planning.heat_maps import plan_heat_maps
from export.importers.planning.layouts import plan_rows

_PLANS = {
    "yolov5": plan_rows,
    "yolov8": plan_rows,
    "rtdetr": plan_rows,
    "end2end": plan_rows,
    "centerface": plan_heat_maps,
    "centernet": plan_heat_maps,
}


def plan_detection(draft: Draft) -> None:
    _PLANS.get(draft.ledger.get("boxes.layout"), plan_boxes)(draft)
