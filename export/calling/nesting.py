"""Nested values: the parts of dictionaries, lists, tuples and dataclasses, and flat names for their tensors."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from export.errors import SpecError

if TYPE_CHECKING:
    import torch

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes)


class Slot(NamedTuple):
    """A placeholder for a tensor in nested arguments, with its flat name."""

    name: str


class Inputs(dict[str, "torch.Tensor"]):
    """The sample tensors by flat name. ``arguments`` has the original nesting, with slots for the tensors.

    Values that are not tensors are passed to every call unchanged.
    """

    def __init__(self, tensors: Mapping[str, "torch.Tensor"], arguments: Mapping[str, Any]) -> None:
        super().__init__(tensors)
        self.arguments = arguments

    @classmethod
    def of(cls, given: Mapping[str, "torch.Tensor"]) -> Self:
        """Flat tensors, each as an argument of its own."""
        return given if isinstance(given, cls) else cls(given, {name: Slot(name) for name in given})

    @property
    def constants(self) -> dict[str, Any]:
        """The arguments that contain no tensor."""
        return {name: value for name, value in self.arguments.items() if not any(True for _ in _slots(value))}


class Part(NamedTuple):
    """A part of a container. ``named``: parts of the container have keys, not positions."""

    key: str
    value: Any
    named: bool


def parts_of(value: Any) -> list[Part] | None:
    """The parts of a container in order; None for anything else.

    Containers are dictionaries, dataclasses, lists, tuples, and classes registered with torch's ``_pytree``.
    """
    if isinstance(value, Mapping):
        return [Part(str(key), part, True) for key, part in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [Part(field.name, getattr(value, field.name), True) for field in dataclasses.fields(value)]
    if isinstance(value, list | tuple):
        return [Part(str(position), part, False) for position, part in enumerate(value)]
    registered = _flatten_registered(value)
    return registered and [Part(str(position), part, False) for position, part in enumerate(registered[0])]


def _flatten_registered(value: Any) -> tuple[list[Any], Any] | None:
    """The parts of a class registered with torch, and how to rebuild it."""
    from torch.utils import _pytree as pytree

    if type(value) not in pytree.SUPPORTED_NODES:
        return None
    return pytree.tree_flatten(value, is_leaf=lambda part: part is not value)


def take_inputs(where: str, given: Mapping[str, Any]) -> Inputs:
    """The sample inputs of a spec. Raises SpecError for values that are neither tensors nor constants.

    Each tensor is copied. If two inputs shared a tensor, or a module had it too, the exporter would make them one.
    """
    if isinstance(given, Inputs):
        return given
    tensors: dict[str, torch.Tensor] = {}

    def visit(name: str, value: Any) -> Any:
        if not _is_tensor(where, name, value):
            return _rebuild(value, lambda part: visit(f"{name}.{part.key}", part.value))
        if name in tensors:
            raise SpecError(f"{where}: inputs: two tensors are called {name!r}: rename one of them")
        tensors[name] = value.detach().clone()
        return Slot(name)

    arguments = {str(name): visit(str(name), value) for name, value in given.items()}
    return Inputs(tensors, arguments)


def take_tensors(given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tensors by flat name; constants are left out."""
    flat: dict[str, Any] = {}

    def visit(name: str, value: Any) -> None:
        parts = parts_of(value)
        if parts is None:
            if not isinstance(value, _CONSTANTS):
                flat[name] = value
            return
        for part in parts:
            visit(f"{name}.{part.key}", part.value)

    for name, value in given.items():
        visit(str(name), value)
    return flat


def fill(value: Any, tensors: Mapping[str, "torch.Tensor"]) -> Any:
    """The value with its slots replaced by tensors."""
    return tensors[value.name] if isinstance(value, Slot) else _rebuild(value, lambda part: fill(part.value, tensors))


def _slots(value: Any) -> Iterator[Slot]:
    if isinstance(value, Slot):
        yield value
    else:
        for part in parts_of(value) or ():
            yield from _slots(part.value)


def _is_tensor(where: str, name: str, value: Any) -> bool:
    import torch

    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise SpecError(f"{where}: input {name!r}: expected a tensor on the CPU, got {value.device}: use .cpu()")
        return True
    if parts_of(value) is None and not isinstance(value, (*_CONSTANTS, torch.dtype, torch.device)):
        raise SpecError(
            f"{where}: input {name!r}: expected a torch.Tensor, got {type(value).__name__}: give tensors, in "
            "dictionaries, lists, tuples or dataclasses if forward needs them; None, numbers and texts are passed as "
            "they are"
        )
    return False


def _rebuild(value: Any, change: Callable[[Part], Any]) -> Any:
    """A container of the same type with changed parts; anything else unchanged."""
    parts = parts_of(value)
    if parts is None:
        return value
    changed = [change(part) for part in parts]
    if isinstance(value, Mapping):
        made: Any = {} if type(value) is dict else copy.copy(value)
        made.update(zip(value, changed, strict=True))
        return made
    if isinstance(value, Sequence):
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)  # type: ignore[call-arg]
    registered = _flatten_registered(value)
    if registered is not None and not dataclasses.is_dataclass(value):
        return registered[1].unflatten(changed)
    made_object = copy.copy(value)
    for part, new in zip(parts, changed, strict=True):
        object.__setattr__(made_object, part.key, new)
    return made_object
