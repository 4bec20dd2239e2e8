"""The free axes of sample inputs: which one holds the rows, and the names of the others."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from export.calling.nesting import Inputs
from export.errors import SpecError

if TYPE_CHECKING:
    import torch

BATCH = "batch"
Axes = Mapping[str, Mapping[int, str]]


def name_axes(where: str, inputs: Inputs, given: Mapping[str, Any] | None) -> dict[str, dict[int, str]]:
    """The free axes of every input: ``{input: {axis: name}}``. Raises SpecError if they contradict each other.

    ``given`` may be nested like the inputs. An entry for a group applies to every tensor in the group. None: the batch
    is axis 0 of every input that has axes.
    """
    if given is None:
        axes = {name: {0: BATCH} if tensor.dim() else {} for name, tensor in inputs.items()}
    else:
        axes = {name: {} for name in inputs}
        for name, value in given.items():
            _add_axes(where, str(name), value, axes)
    for name, of_one in axes.items():
        _check_names(where, name, tuple(inputs[name].shape), of_one)
    _check_sizes(where, inputs, axes)
    return axes


def batch_axes(axes: Axes) -> dict[str, int]:
    """The axis of the rows of each input that has rows."""
    return {name: axis for name, of_one in axes.items() for axis, axis_name in of_one.items() if axis_name == BATCH}


def spread_rows(inputs: Inputs, axes: Axes) -> Inputs:
    """The inputs with rows repeated until their number differs from every other free size, and from 1.

    An exporter turns a size of 1 into a constant, and may treat two axes of equal size as one.
    """
    rows = batch_axes(axes)
    if not rows:
        return inputs
    others = {inputs[name].shape[axis] for name, of_one in axes.items() for axis in of_one if rows.get(name) != axis}
    count = next(inputs[name].shape[axis] for name, axis in rows.items())
    wanted = next(size for size in range(max(2, count), count + len(others) + 3) if size not in others)
    if count in (0, wanted):
        return inputs
    index = [row % count for row in range(wanted)]
    spread = {name: _pick(tensor, rows[name], index) if name in rows else tensor for name, tensor in inputs.items()}
    return Inputs(spread, inputs.arguments)


def _pick(tensor: "torch.Tensor", axis: int, index: list[int]) -> "torch.Tensor":
    import torch

    return tensor.index_select(axis, torch.tensor(index))


def _add_axes(where: str, name: str, value: Any, axes: dict[str, dict[int, str]]) -> None:
    """Add the axes that ``dynamic`` names for one tensor or for a group of tensors."""
    inside = [other for other in axes if other == name or other.startswith(f"{name}.")]
    if not inside:
        raise SpecError(f"{where}: dynamic: expected names of {list(axes)}, got {name!r}")
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: dynamic of {name!r}: expected {{axis: name}}, got {value!r}")
    if value and all(isinstance(part, Mapping | list | tuple | None) for part in value.values()):
        for key, part in value.items():
            _add_axes(where, f"{name}.{key}", part or {}, axes)
        return
    for other in inside:
        axes[other] = dict(value)


def _check_names(where: str, name: str, shape: tuple[int, ...], axes: Mapping[int, str]) -> None:
    for axis, axis_name in axes.items():
        place = f"{where}: dynamic axis {axis} of {name!r}"
        if not isinstance(axis, int) or not 0 <= axis < len(shape):
            raise SpecError(f"{place}: the sample has the shape {shape}: name an axis that it has")
        if not isinstance(axis_name, str) or not axis_name.isidentifier():
            raise SpecError(f"{place}: expected a name such as 'time', got {axis_name!r}")
    if list(axes.values()).count(BATCH) > 1:
        raise SpecError(f"{where}: dynamic axes of {name!r}: expected one called {BATCH!r} at most, got {dict(axes)}")


def _check_sizes(where: str, inputs: Inputs, axes: Axes) -> None:
    sizes: dict[str, int] = {}
    for name, of_one in axes.items():
        for axis, axis_name in of_one.items():
            place, size = f"{where}: dynamic axis {axis} of {name!r}", inputs[name].shape[axis]
            if axis_name != BATCH and size < 2:
                raise SpecError(
                    f"{place}: expected an example of 2 or more, got {size}: the export would fix a size of 1"
                )
            if sizes.setdefault(axis_name, size) != size:
                shared = ": leave it out of dynamic if all rows share it" if axis_name == BATCH else ""
                raise SpecError(f"{place}: {axis_name!r} is {sizes[axis_name]} in another sample, {size} here{shared}")
    if sizes.get(BATCH) == 0:
        raise SpecError(f"{where}: inputs: expected an example of at least one row, got none")
