"""Measures how far rounding alone moves a model's outputs, which no implementation can avoid.

The original runs several more times, and the result of each operation is changed at random by up to one rounding error
of its datatype. The outputs then differ like those of two correct implementations that sum in different orders: more in
half precision, in deep models, for large numbers and for cancellation, and completely if a tie decides an ``argmax``.
So the measured tolerance follows datatype, depth and scale.
"""

from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from export.errors import SpecError
from export.original import Original
from export.spec import Arrays

_RUNS = 8
_MARGIN = 16.0
"""In standard deviations. In convolutional, recurrent and attention networks of up to 300 layers, in 16 and 32 bits, no
element of a correct graph was off by more than 10."""
_LEAST = 0.25
_TRANSFORM = 8.0
"""By how many rounding errors a Fourier transform is moved. If its length is no power of two, ONNX Runtime is that much
less exact than torch."""


def measure_rounding(original: Original, inputs: Arrays, ties: bool = False) -> dict[str, np.ndarray]:
    """How far rounding moves each element of each output, as float64 of its shape.

    Infinite for integers and booleans that change, and where outputs are sometimes not finite. With ``ties``, equal
    integers such as zeros are moved too.
    """
    expected = original.run(inputs)
    squares = {name: np.zeros(array.shape) for name, array in expected.items()}
    for seed in range(_RUNS):
        try:
            with _Rounding(seed, ties) as mode:
                moved = original.run(mode.move_arrays(inputs))
        except SpecError:  # the model does not run with changed numbers, so its rounding cannot be measured
            return {name: np.zeros(array.shape) for name, array in expected.items()}
        for name, array in expected.items():
            squares[name] += _square_difference(array, moved[name])
    return {
        name: _with_least(expected[name], _MARGIN * np.sqrt(total / _RUNS))
        if expected[name].dtype.kind == "f"
        else total
        for name, total in squares.items()
    }


def _with_least(expected: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """At least a quarter of the usual rounding of such a number: with few bits, some numbers never move by chance."""
    magnitudes = np.abs(expected.astype(np.float64))
    moved = np.isfinite(rounding) & np.isfinite(magnitudes) & (rounding > 0) & (magnitudes > 0)
    if not moved.any():
        return rounding
    usual = float(np.median(rounding[moved] / magnitudes[moved]))
    least: np.ndarray = np.maximum(rounding, _LEAST * usual * np.nan_to_num(magnitudes, posinf=0.0))
    return least


def _square_difference(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    if expected.shape != got.shape:  # for example if a threshold decides the number of outputs
        return np.full(expected.shape, np.inf)
    if expected.dtype.kind not in "f":
        return np.where(expected != got, np.inf, 0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        square = np.square(got.astype(np.float64) - expected.astype(np.float64))
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    return np.where(same, 0.0, np.nan_to_num(square, nan=np.inf, posinf=np.inf))


class _Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Moves the result of each operation. Integers stay: they are masks, counts and indices, and exact."""

    def __init__(self, seed: int, ties: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ties = ties
        self._random = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if func._schema.is_mutable or any(one.alias_info is not None for one in returns):
            return given  # a view, or a tensor that was written to
        return pytree.tree_map_only(torch.Tensor, self._move, given)

    def move_arrays(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return {name: self._move(torch.from_numpy(np.array(array))).numpy() for name, array in inputs.items()}

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout != torch.strided or not tensor.numel():
            return tensor
        if tensor.is_quantized:
            return self._move_steps(tensor)
        if tensor.is_complex():
            return self._move_complex(tensor)
        if not tensor.is_floating_point():
            return tensor
        step = torch.finfo(tensor.dtype).eps
        with _disable_current_modes():
            share = torch.rand(tensor.shape, generator=self._random, dtype=torch.float64) * 2 - 1
            if self._ties:
                return (tensor.double() + step * share * tensor.double().abs().clamp(min=1)).to(tensor.dtype)
            moved = (tensor.double() * (1 + step * share)).to(tensor.dtype)
            exact = (tensor == tensor.round()) & (tensor.abs() < step**-0.5)
            return torch.where(exact, tensor, moved)

    def _move_complex(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move the result of a transform: each number is a sum over all inputs, so all are equally inexact."""
        with _disable_current_modes():
            parts = torch.view_as_real(tensor.resolve_conj())
            wide = parts.double()
            size = _TRANSFORM * wide.abs().maximum(wide.square().mean().sqrt())
            share = torch.rand(parts.shape, generator=self._random, dtype=torch.float64) * 2 - 1
            return torch.view_as_complex((wide + torch.finfo(parts.dtype).eps * share * size).to(parts.dtype))

    def _move_steps(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move quantised numbers up or down by one step."""
        if tensor.qscheme() != torch.per_tensor_affine:
            return tensor
        with _disable_current_modes():
            steps = tensor.int_repr()
            limits = torch.iinfo(steps.dtype)
            moved = steps.long() + torch.randint(-1, 2, steps.shape, generator=self._random)
            return torch._make_per_tensor_quantized_tensor(
                moved.clamp(limits.min, limits.max).to(steps.dtype), tensor.q_scale(), tensor.q_zero_point()
            )
