"""One small model in the spirit of a public bug report, and the values that its inputs may have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from torch import nn

Sizes = Mapping[str, int]
Draw = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]

ROWS = {0: "batch"}
TIME = {0: "batch", 1: "time"}
PICTURE = {0: "batch", 2: "height", 3: "width"}
LARGE, OUTSIDE, NEGATIVE = "large", "outside", "negative"
MAY_BE_OUT_OF_RANGE = frozenset({LARGE, OUTSIDE, NEGATIVE})
"""Changes after which a server may refuse the values with 400, because the samples have no such values."""


class Axis(int):
    """The size of a free axis in the example, and the axis's name."""

    name: str

    def __new__(cls, size: int, name: str) -> Self:
        axis = super().__new__(cls, size)
        axis.name = name
        return axis


def time(size: int) -> Axis:
    return Axis(size, "time")


def height(size: int) -> Axis:
    return Axis(size, "height")


def width(size: int) -> Axis:
    return Axis(size, "width")


@dataclass(frozen=True)
class Sample:
    """An input: the shape of its example, how more values are drawn, and how they can be changed."""

    shape: tuple[int, ...]
    draw: Draw
    changes: Mapping[str, Change] = field(default_factory=dict)
    longest: tuple[str, int] | None = None
    """For an input of lengths: the free axis whose places they count, and its size in the example."""

    @property
    def free(self) -> dict[int, str]:
        return {place: size.name for place, size in enumerate(self.shape) if isinstance(size, Axis)}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A model of one kind. Everything is made anew from a seed, so the module that is exported is never the one that
    is called.
    """

    name: str
    module: Callable[[], Any]
    """Makes what is given to ``ExportSpec``."""
    called: Callable[[], Any] | None = None
    """Makes the module that is called for the right answer. None: ``module`` does."""
    inputs: Mapping[str, Any]
    """A Sample for each name of ``forward``, or nested dictionaries, lists and tuples of them."""
    outputs: tuple[str, ...] = ("y",)
    dynamic: Mapping[str, Mapping[int, str]] | None = None
    """By flat name, such as ``batch.image`` for an entry of a dictionary. None: the rows, and each ``Axis``."""
    by_name: bool = True
    """Whether the inputs are passed to forward by name, otherwise in their order."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of ``ExportSpec``."""
    sizes: tuple[Sizes, ...] | None = None
    """Sizes of the free axes at which answers are compared. None: see ``values.py``."""
    tolerance: float | None = None
    """As a part of the largest magnitude of an output. None: by the datatype."""
    needs: str | None = None
    """A package that not every environment has."""
    fast: bool = False
    """Whether `make test` runs it. It must then be published; another kind must only be right if it is published."""

    def __str__(self) -> str:
        return self.name


class Kinds(list[Kind]):
    """The kinds of a theme."""

    def add(
        self, inputs: Mapping[str, Any], layers: Callable[[], Mapping[str, Any]] = dict, name: str = "", **fields: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates the ``forward`` of a module, named like the kind; ``layers`` makes the module's attributes."""

        def decorate(forward: Callable[..., Any]) -> Callable[..., Any]:
            def init(self: nn.Module) -> None:
                nn.Module.__init__(self)
                for attribute, layer in layers().items():
                    setattr(self, attribute, layer)

            module = type(forward.__name__, (nn.Module,), {"__init__": init, "forward": forward})
            kind = name or forward.__name__.rstrip("_").replace("_", "-")
            self.append(Kind(name=kind, module=module, inputs=inputs, **fields))
            return forward

        return decorate


def normal(*shape: int, dtype: Any = np.float32) -> Sample:
    changes: dict[str, Change] = {
        "×30": lambda a: (a * 30).astype(a.dtype),
        "×0.03": lambda a: (a * 0.03).astype(a.dtype),
        "negated": lambda a: -a,
        "ones": np.ones_like,
        "zeros": np.zeros_like,
    }
    return Sample(shape, lambda s, g: g.standard_normal(s).astype(dtype), changes)


def distinct(*shape: int) -> Sample:
    """Values of which no two are equal, for models in which their order counts."""
    kept = ("×30", "×0.03", "negated")
    free = normal(*shape)
    return Sample(shape, free.draw, {change: free.changes[change] for change in kept})


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Sample:
    """Values that mean something only within a range, such as those of pictures."""
    changes: dict[str, Change] = {
        "least": lambda a: np.full_like(a, low),
        "most": lambda a: np.full_like(a, high),
        "darker": lambda a: (low + (a - low) * 0.1).astype(a.dtype),
    }
    return Sample(shape, lambda s, g: g.uniform(low, high, s).astype(np.float32), changes)


def ids(*shape: int, table: int, dtype: Any = np.int64) -> Sample:
    """Places of a table of ``table`` entries."""
    changes: dict[str, Change] = {
        "first": np.zeros_like,
        "last": lambda a: np.full_like(a, table - 1),
        OUTSIDE: lambda a: np.full_like(a, table),
        NEGATIVE: lambda a: np.full_like(a, -1),
    }
    return Sample(shape, lambda s, g: g.integers(0, table, s).astype(dtype), changes)


def whole(*shape: int, low: int, high: int, dtype: Any = np.int64) -> Sample:
    """Integers that are no places of a table: amounts, times, hashes. Some are as large as the datatype allows."""
    factor = np.iinfo(dtype).max // (8 * max(abs(low), abs(high), 1))
    changes: dict[str, Change] = {
        LARGE: lambda a: (a * factor + 1).astype(dtype),
        NEGATIVE: lambda a: (-a).astype(dtype),
        "zeros": np.zeros_like,
    }
    return Sample(shape, lambda s, g: g.integers(low, high, s, endpoint=True).astype(dtype), changes)


def pixels(*shape: int) -> Sample:
    changes: dict[str, Change] = {"black": np.zeros_like, "white": lambda a: np.full_like(a, 255)}
    return Sample(shape, lambda s, g: g.integers(0, 256, s).astype(np.uint8), changes)


def mask(*shape: int, dtype: Any = np.bool_) -> Sample:
    """Which places of each row count. The first always does."""

    def draw(s: tuple[int, ...], g: np.random.Generator) -> np.ndarray:
        drawn = g.random(s) < 0.6
        drawn[..., 0] = True
        return drawn.astype(dtype)

    changes: dict[str, Change] = {"all": np.ones_like}
    return Sample(shape, draw, changes if dtype is np.bool_ else {**changes, NEGATIVE: lambda a: -a})


def lengths(rows: int, longest: int, axis: str = "") -> Sample:
    """The lengths of rows that are padded to the size of ``axis``, or to ``longest`` if that is fixed."""
    return Sample(
        (rows,),
        lambda s, g: g.integers(1, longest, s, endpoint=True),
        {"shortest": np.ones_like, NEGATIVE: np.zeros_like},
        (axis, longest),
    )
