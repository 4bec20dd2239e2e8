"""Reads ``preprocessor_config.json``: how transformers' image processors make an input of a picture."""

from collections.abc import Iterator, Mapping
from typing import Any

from export.importers.facts import Fact

_STRETCHING = ("ViT", "Beit", "Siglip", "DeiT", "RTDetr", "Segformer", "DPT", "Pvt", "DINOv3ViT", "OwlViT", "Perceiver")
"""Processors that read a single size as both sides."""
_SHORTEST = (
    *("Bit", "CLIP", "ChineseCLIP", "MobileNetV1", "MobileNetV2", "MobileViT", "ConvNext"),
    *("Detr", "ConditionalDetr", "DeformableDetr", "RfDetr", "Yolos"),
)
"""Processors that read a single size as the shortest side."""
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
"""Pillow's numbers."""
_UNUSUAL = (
    "keep_aspect_ratio",
    "rescale_offset",
    "do_align_long_axis",
    "do_thumbnail",
    "do_grayscale",
    "do_crop_margin",
)
"""Switches whose effect the manifest cannot describe."""
_LONGEST = 1333
"""The limit of old configurations of DETR that do not name one."""


def read_processor(config: Mapping[str, Any], file: str) -> tuple[dict[str, Fact], list[str]]:
    """Facts about pictures, and remarks on what is not understood. The origins name ``file``."""
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    name = kind.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    unusual = [switch for switch in _UNUSUAL if config.get(switch)]
    if name not in (*_STRETCHING, *_SHORTEST) or unusual:
        why = ", ".join(unusual) if unusual else f"image_processor_type {kind or 'missing'}"
        return {}, [f"{file}: {why}: the import does not know how this makes an input of a picture: give it by options"]
    facts = dict(_read_levels(config, file))
    facts["picture.rounding"] = Fact("down", "transformers: image processors round half a pixel of a crop down")
    sizes, note = _read_sizes(config, name, file)
    return facts | sizes, [note] if note else []


def _read_levels(config: Mapping[str, Any], file: str) -> Iterator[tuple[str, Fact]]:
    rescales = config.get("do_rescale", True)
    scale = float(config.get("rescale_factor", 1 / 255)) if rescales else 1.0
    yield "picture.scale", Fact(scale, f"{file}: {'rescale_factor' if rescales else 'do_rescale'}")
    if config.get("do_normalize", True):
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
            values = config.get(theirs)
            if isinstance(values, list) and len(values) == 3:
                yield f"picture.{ours}", Fact(tuple(float(value) for value in values), f"{file}: {theirs}")
            elif isinstance(values, int | float):
                yield f"picture.{ours}", Fact(float(values), f"{file}: {theirs}")
    if config.get("do_flip_channel_order"):
        yield "picture.order", Fact("BGR", f"{file}: do_flip_channel_order")
    else:
        yield "picture.order", Fact("RGB", "transformers: image processors take RGB")


def _read_sizes(config: Mapping[str, Any], name: str, file: str) -> tuple[dict[str, Fact], str]:
    """Sizes and resizing, and a remark if the manifest cannot describe them."""
    if not config.get("do_resize", True):
        return {}, f"{file}: do_resize is false: callers must send pictures of the right size, or give --resize"
    if config.get("do_pad") and config.get("pad_size"):
        return (
            {},
            f"{file}: pad_size: the manifest cannot describe this padding; the nearest is --resize fit with --size",
        )
    facts: dict[str, Any] = {}
    if (filter_name := _FILTERS.get(config.get("resample", 2))) is not None:
        facts["interpolation"] = filter_name
    size = _as_sides(config.get("size"), name)
    crop = _as_sides(config.get("crop_size"), "") if config.get("do_center_crop", "crop_size" in config) else {}
    if name == "ConvNext":
        size, crop = _as_convnext(config, size)
    if crop and "shortest_edge" in size:
        facts |= {"resize": "crop", "size": (crop["height"], crop["width"]), "shortest": size["shortest_edge"]}
    elif crop:
        if (crop["height"], crop["width"]) != (size.get("height"), size.get("width")):
            return _name(facts, file), (
                f"{file}: pictures are stretched to {size.get('height')} x {size.get('width')} and then cropped to "
                f"{crop['height']} x {crop['width']}, which the manifest cannot describe: the nearest is --resize crop "
                f"--shortest {size.get('height')}, or --resize stretch"
            )
        facts |= {"resize": "stretch", "size": (size["height"], size["width"])}
    elif "height" in size:
        facts |= {"resize": "stretch", "size": (size["height"], size["width"])}
    elif "shortest_edge" in size:
        longest = config.get("max_size") or size.get("longest_edge") or (_LONGEST if "Detr" in name else None)
        facts |= {"resize": "stretch", "shortest": size["shortest_edge"], "longest": longest}
    return _name({key: value for key, value in facts.items() if value is not None}, file), ""


def _name(facts: Mapping[str, Any], file: str) -> dict[str, Fact]:
    theirs = {"interpolation": "resample", "longest": "size"}
    return {
        f"picture.{key}": Fact(value, f"{file}: {theirs.get(key, 'size, crop_size')}") for key, value in facts.items()
    }


def _as_sides(size: Any, name: str) -> dict[str, int]:
    """A size as ``{"height", "width"}`` or ``{"shortest_edge"}``, as this processor reads it."""
    if isinstance(size, dict):
        return {key: int(value) for key, value in size.items() if isinstance(value, int)}
    if isinstance(size, list | tuple) and len(size) == 2:
        return {"height": int(size[0]), "width": int(size[1])}
    if isinstance(size, int):
        return {"shortest_edge": size} if name in _SHORTEST else {"height": size, "width": size}
    return {}


def _as_convnext(config: Mapping[str, Any], size: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """ConvNeXt crops small sizes out of a picture that is larger by 1/crop_pct, and stretches to large ones."""
    side = size.get("shortest_edge", 384)
    if side >= 384:
        return {"height": side, "width": side}, {}
    share = float(config.get("crop_pct") or 224 / 256)
    return {"shortest_edge": int(side / share)}, {"height": side, "width": side}
