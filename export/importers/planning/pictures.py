"""How a picture becomes an input."""

from collections.abc import Sequence
from typing import Any

from export.errors import SpecError
from export.importers.changes.change import apply_all
from export.importers.changes.shapes import FreeSizes
from export.importers.planning.draft import FLOATS, SIDES, Draft, show, show_shape
from export.importers.sources.onnx_file import describe_onnx
from export.importers.sources.source import OnnxModel
from model_store.graph import Tensor
from model_store.tasks import Image

_NEED = ("detect", "segment")
_MAY = ("classify", "embed", "regress", "predict_sequence")
_KNOWN = (
    "for example as torchvision does: --scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --order RGB "
    "--resize crop --shortest 256; values from 0 to 1: --scale 1/255; from -1 to 1: --scale 1/255 --mean 0.5 --std "
    "0.5; levels as they are: --scale 1"
)


def plan_picture(draft: Draft) -> None:
    """Set ``image``, if the task takes pictures. Raises SpecError."""
    ledger, task = draft.ledger, draft.ledger.get("task")
    if task == "tensors" and ledger.get("free_sizes"):
        _free_tensor(draft)
    if task == "predict_sequence" and draft.found.more:
        return  # the source says what its rows are
    if task not in (*_NEED, *_MAY) or (ledger.get("rows") in ("sounds", "numbers") and task in _MAY):
        return
    tensor = _find_input(draft)
    if tensor is None:
        return
    ledger.add("rows", "pictures", f"the graph: input {tensor.name!r} is {show_shape(tensor)}")
    ledger.add("picture.input", tensor.name, "the graph: its only input that can be a picture")
    layout, channels = _find_layout(draft, tensor)
    if layout is None:
        return
    sides = SIDES[layout]
    tensor = _free_sizes(draft, tensor, sides)
    asked: list[str] = []
    size = _find_size(draft, [tensor.shape[axis] for axis in sides], asked)
    scale, offset = _find_numbers(draft, tensor, asked)
    order = _find_order(draft, channels, asked)
    if asked:
        ledger.ask(
            f"nothing says how a picture becomes the input {tensor.name!r} {show_shape(tensor)}: "
            f"give {', '.join(asked)}, as in training ({_KNOWN}); or --rows numbers if callers send no pictures"
        )
        return
    ledger.guess("picture.interpolation", "bilinear", "most models are trained so")
    said = {name: ledger.get(f"picture.{name}") for name in _SAME}
    draft.fields["image"] = draft.make(
        Image,
        "picture",
        input=tensor.name,
        layout=layout,
        channels=channels,
        height=size[0] if size else ledger.get("picture.height"),
        width=size[1] if size else None,
        scale=scale,
        offset=offset,
        order=order,
        **said,
    )


_SAME = (
    "resize",
    "shortest",
    "longest",
    "narrowest",
    "multiple",
    "enlarge",
    "rounding",
    "interpolation",
    "antialias",
    "padding",
    "padded",
)
"""The facts that the manifest has by the same name."""


def _free_tensor(draft: Draft) -> None:
    """Free the sizes of an input that looks like a picture, for callers of the tensor routes."""
    tensor = _find_input(draft)
    layout = _find_layout(draft, tensor)[0] if tensor is not None else None
    if tensor is not None and layout is not None:
        _free_sizes(draft, tensor, SIDES[layout])


def _find_input(draft: Draft) -> Tensor | None:
    """The input that takes the picture; None if there is none, or it must be asked for."""
    ledger, task = draft.ledger, draft.ledger.get("task")
    inputs = [tensor for tensor in draft.inputs if not tensor.optional]
    said = ledger.get("picture.input")
    if said is not None:
        found = [tensor for tensor in inputs if tensor.name == said]
        if not found or len(found[0].shape) != 4:
            raise SpecError(f"{draft.name}: --input {said}: expected an input with four axes, got {show(inputs)}")
        return found[0]
    able = [t for t in inputs if len(t.shape) == 4 and t.datatype in (*FLOATS, "UINT8")]
    if len(inputs) == 1 and len(able) == 1:
        return able[0]
    if able and len(inputs) > 1:
        ledger.ask(
            f"which input takes the picture: {show(inputs)}: the server fills one input only; give --rows "
            "numbers, or export the model with its other inputs fixed"
        )
    elif task in _NEED or ledger.get("rows") == "pictures":
        raise SpecError(
            f"{draft.name}: task {task}: expected an input for a picture, with four axes such as [batch, 3, height, "
            f"width], got {show(inputs)}"
        )
    else:
        ledger.add("rows", "numbers", f"the graph: no input can be a picture: {show(inputs)}")
    return None


def _find_layout(draft: Draft, tensor: Tensor) -> tuple[str | None, int]:
    """Layout and channels; None if they must be asked for."""
    ledger = draft.ledger
    first, last = tensor.shape[1] in (1, 3), tensor.shape[3] in (1, 3)
    origin = f"the graph: input {tensor.name!r} is {show_shape(tensor)}"
    if first != last:
        ledger.add("picture.layout", "NCHW" if first else "NHWC", origin)
    layout = ledger.get("picture.layout")
    if layout is None:
        ledger.ask(f"which axis of {tensor.name!r} {show_shape(tensor)} has the channels: give --layout and --channels")
        return None, 0
    declared = tensor.shape[1 if layout == "NCHW" else 3]
    if isinstance(declared, int):
        ledger.add("picture.channels", declared, origin)
    else:
        ledger.guess("picture.channels", 3, "the graph leaves the channels open; colours are the usual case")
    channels = ledger.get("picture.channels")
    if isinstance(declared, int) and channels != declared:
        raise SpecError(
            f"{draft.name}: expected pictures of {declared} channels, which the graph takes, got {channels}"
        )
    if channels not in (1, 3):
        raise SpecError(
            f"{draft.name}: input {tensor.name!r} has {channels} channels, expected 1 or 3 of a picture: give "
            "--rows numbers if callers send tensors"
        )
    return layout, channels


def _free_sizes(draft: Draft, tensor: Tensor, sides: Sequence[int]) -> Tensor:
    """The input with free axes, if --free-sizes asks for that. A batch of 1 is freed later, with its own proof."""
    model = draft.found.model
    if not draft.ledger.get("free_sizes") or not isinstance(model, OnnxModel):
        return tensor
    names = {0: "batch", sides[0]: "height", sides[1]: "width"}
    fixed = [axis for axis in names if isinstance(tensor.shape[axis], int) and (axis or tensor.shape[0] != 1)]
    if not fixed:
        return tensor
    draft.changes.append(FreeSizes([(tensor.name, axis, names[axis]) for axis in fixed]))
    changed = apply_all(draft.content, draft.changes)
    graph = describe_onnx(draft.name, changed, model.external).graph
    draft.inputs, draft.outputs = list(graph.inputs), list(graph.outputs)
    return next(one for one in graph.inputs if one.name == tensor.name)


def _find_size(draft: Draft, declared: Sequence[int | str], asked: list[str]) -> tuple[int, int] | None:
    """Height and width of every picture; None if pictures may have any size."""
    ledger = draft.ledger
    fixed = [side for side in declared if isinstance(side, int)]
    if len(fixed) == 2:
        ledger.add("picture.size", tuple(fixed), "the graph: the sides of its input are fixed")
    said = ledger.get("picture.size")
    if len(fixed) == 1 and declared[0] == fixed[0] and said is None:
        ledger.add("picture.height", fixed[0], "the graph: the height of its input is fixed, and its width is free")
    if ledger.get("picture.height") is not None:
        _check_height(draft, declared)
        return None
    if said is None:
        if ledger.get("picture.longest") is None and ledger.get("picture.shortest") is None:
            asked.append("--size, or --longest to keep the picture's own size")
        ledger.guess("picture.resize", "stretch", "the sides only become multiples")
        return None
    size = (said, said) if isinstance(said, int) else tuple(said)
    for side, given in zip(declared, size, strict=True):
        if isinstance(side, int) and side != given:
            raise SpecError(
                f"{draft.name}: the picture is {size[0]} x {size[1]} ({ledger.origin('picture.size')}), but the graph "
                f"takes {declared[0]} x {declared[1]}: leave out the size, or give --free-sizes if the graph "
                "can take others"
            )
    if ledger.get("picture.resize") is None:
        asked.append("--resize")
    _drop_limits(draft)
    return size[0], size[1]


def _check_height(draft: Draft, declared: Sequence[int | str]) -> None:
    """Raise SpecError where the width cannot follow from the height."""
    ledger = draft.ledger
    height = ledger.get("picture.height")
    if ledger.get("picture.size") is not None:
        raise SpecError(f"{draft.name}: --height {height}: expected no size beside it, because the width is free")
    if (isinstance(declared[0], int) and declared[0] != height) or isinstance(declared[1], int):
        raise SpecError(
            f"{draft.name}: --height {height}: expected a graph that takes this height and any width, got "
            f"{declared[0]} x {declared[1]}: --free-sizes frees both"
        )
    ledger.guess("picture.resize", "fit", "the proportions of a line stay, and padding makes its width a multiple")


def _drop_limits(draft: Draft) -> None:
    """Drop the source's limits for pictures of any size. Limits that a person gives become an error later."""
    limits = ["picture.longest", "picture.multiple"]
    if draft.ledger.get("picture.resize") != "crop":
        limits.append("picture.shortest")
    for path in limits:
        if path not in draft.said:
            draft.ledger.facts.pop(path, None)


def _find_numbers(draft: Draft, tensor: Tensor, asked: list[str]) -> tuple[Any, Any]:
    """Scale and offset of the levels."""
    ledger = draft.ledger
    names = ("scale", "mean", "std")
    if tensor.datatype == "UINT8":
        ledger.add("picture.scale", 1.0, f"the graph: input {tensor.name!r} takes levels, UINT8")
    if ledger.get("picture.scale") is None:
        has_others = any(ledger.get(f"picture.{name}") is not None for name in names)
        asked.append("--scale" + ("" if has_others else ", --mean, --std"))
        return None, None
    scale, mean, std = (ledger.get(f"picture.{name}") for name in names)
    mean, std = (0.0 if mean is None else mean), (1.0 if std is None else std)
    spread = [value if isinstance(value, tuple) else (value,) * 3 for value in (scale, mean, std)]
    if not all(spread[0]) or not all(spread[2]):
        raise SpecError(f"{draft.name}: scale and std: expected numbers other than 0, got {scale} and {std}")
    factors = tuple(float(a / c) for a, c in zip(spread[0], spread[2], strict=True))
    offsets = tuple(float(-b / c) + 0.0 for b, c in zip(spread[1], spread[2], strict=True))
    return _join(factors), _join(offsets)


def _join(values: tuple[float, ...]) -> float | tuple[float, ...]:
    """One number if all are equal."""
    return values[0] if len(set(values)) == 1 else values


def _find_order(draft: Draft, channels: int, asked: list[str]) -> str | None:
    if channels == 1:
        return None
    order = draft.ledger.get("picture.order")
    if order is None:
        asked.append("--order")
    return str(order) if order is not None else None
