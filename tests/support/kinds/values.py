"""The inputs at which a published model is compared with PyTorch. The export's own check uses other ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.kinds.case import MAY_BE_OUT_OF_RANGE, Kind, Sample, Sizes

_SEED = 90_001
_BATCHES = (1, 2, 5, 33)
_LENGTHS = ((1, 11), (2, 1), (5, 67), (3, 4))
"""Rows, and the size of the first other free axis; each further axis is a little longer."""
_CHANGED = (2, 11)


@dataclass(frozen=True)
class Check:
    """Inputs by flat name; ``changed`` says how their values were changed, if they were."""

    sizes: Sizes
    changed: str | None
    inputs: Mapping[str, np.ndarray]
    only: str | None = None
    """The one input that is changed. None: all that can be."""

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={size}" for name, size in self.sizes.items())
        return ", ".join(filter(None, (sizes, self.only, self.changed)))


def flatten(nested: Any, prefix: str = "") -> dict[str, Any]:
    """``{"batch": {"image": x}}`` as ``{"batch.image": x}``; places of lists are numbers."""
    if isinstance(nested, Mapping):
        parts = [(str(key), value) for key, value in nested.items()]
    elif isinstance(nested, list | tuple):
        parts = [(str(place), value) for place, value in enumerate(nested)]
    else:
        return {prefix: nested}
    flat: dict[str, Any] = {}
    for key, value in parts:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def fill(nested: Any, flat: Mapping[str, Any], prefix: str = "") -> Any:
    """The nested form again, with what ``flat`` has under each name."""
    if isinstance(nested, Mapping):
        return {key: fill(value, flat, f"{prefix}.{key}" if prefix else str(key)) for key, value in nested.items()}
    if isinstance(nested, list | tuple):
        parts = [fill(value, flat, f"{prefix}.{place}") for place, value in enumerate(nested)]
        return type(nested)(parts)
    return flat[prefix]


def axes_of(kind: Kind) -> dict[str, Mapping[int, str]]:
    """The free axes of every flat input, as ``ExportSpec.dynamic`` says or leaves out."""
    samples = flatten(kind.inputs)
    if kind.dynamic is None:
        return {name: {0: "batch", **sample.free} for name, sample in samples.items()}
    return {name: kind.dynamic.get(name, {}) for name in samples}


def draw(
    kind: Kind, sizes: Sizes, seed: int, changed: str | None = None, only: str | None = None
) -> dict[str, np.ndarray]:
    """Inputs by flat name with these sizes of the free axes. ``changed`` changes all inputs, or ``only`` one."""
    generator, axes = np.random.default_rng([seed, *sizes.values()]), axes_of(kind)
    drawn = {}
    for name, sample in flatten(kind.inputs).items():
        shape = tuple(sizes.get(axes[name].get(axis, ""), size) for axis, size in enumerate(sample.shape))
        array = np.asarray(sample.draw(shape, generator))
        if sample.longest is not None:
            axis, longest = sample.longest
            array = generator.integers(1, sizes.get(axis, longest), shape, endpoint=True)
        if changed in sample.changes and only in (None, name):
            array = np.asarray(sample.changes[changed](array))
        drawn[name] = array
    return drawn


def make_checks(kind: Kind) -> Iterator[Check]:
    """A check at every size, then one for every change of values, at one size."""
    names = list(dict.fromkeys(name for axes in axes_of(kind).values() for name in axes.values()))
    sizes = list(kind.sizes if kind.sizes is not None else _sizes_of(names))
    for number, one in enumerate(sizes):
        yield Check(one, None, draw(kind, one, _SEED + number))
    usual = sizes[-1] if kind.sizes is not None else _spread(names, *_CHANGED)
    samples: dict[str, Sample] = flatten(kind.inputs)
    for changed in dict.fromkeys(change for sample in samples.values() for change in sample.changes):
        if changed not in MAY_BE_OUT_OF_RANGE:
            yield Check(usual, changed, draw(kind, usual, _SEED, changed))
            continue
        for name in samples:  # one of several inputs that are out of range is enough to be refused
            if changed in samples[name].changes:
                yield Check(usual, changed, draw(kind, usual, _SEED, changed, name), name)


def _sizes_of(names: list[str]) -> list[Sizes]:
    if not names:
        return [{}]
    if names == ["batch"]:
        return [{"batch": rows} for rows in _BATCHES]
    return [_spread(names, rows, length) for rows, length in _LENGTHS]


def _spread(names: list[str], rows: int, length: int) -> dict[str, int]:
    others = [name for name in names if name != "batch"]
    sizes = {"batch": rows} if "batch" in names else {}
    return sizes | {name: length + 2 * place if length > 1 else 1 for place, name in enumerate(others)}
