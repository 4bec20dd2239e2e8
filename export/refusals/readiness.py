"""Checks before the export: the module's tensors, and whether equal inputs always give equal outputs."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from export.errors import ExportError, SpecError
from export.original import Original
from export.spec import Arrays


def check_ready(original: Original) -> None:
    """Raise SpecError or ExportError, which names the bad tensor, the random operator, or the state."""
    with original.evaluating():
        for kind, name, tensor in _list_tensors(original):
            reason = _refuse(tensor)
            if reason:
                raise SpecError(f"{original.spec.name}: {kind} {name!r} {reason}")
        with _restored(original):
            _check_repetition(original)


def _list_tensors(original: Original) -> Iterator[tuple[str, str, torch.Tensor]]:
    yield from (("input", name, tensor) for name, tensor in original.inputs.items())
    yield from (("parameter", name, tensor) for name, tensor in original.call.named_parameters())
    yield from (("buffer", name, tensor) for name, tensor in original.call.named_buffers())


def _refuse(tensor: torch.Tensor) -> str:
    """What is wrong with a tensor and what to do; "" if nothing is."""
    if is_lazy(tensor):
        return (
            "has no values yet, because its lazy module never ran: call module(*inputs) once, and load trained weights"
        )
    if tensor.device.type == "meta":
        return "is on the meta device, where tensors have no values: build the module on the CPU and load its weights"
    if tensor.layout is not torch.strided:
        return "is sparse, which ONNX does not support: call .to_dense() on it"
    if tensor.dtype is torch.bfloat16:
        return "is of bfloat16, for which ONNX Runtime has almost no kernels: cast to float32, by .float()"
    if tensor.is_complex():
        return (
            "is of complex numbers, which requests cannot carry: give torch.view_as_real(...) of it, and convert it in "
            "forward by torch.view_as_complex"
        )
    return ""


@contextmanager
def _restored(original: Original) -> Iterator[None]:
    """Undo what the runs change in the buffers."""
    before = [
        (part, name, buffer, buffer.clone())
        for part in original.call.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for part, name, buffer, values in before:
            if not torch.equal(buffer, values):
                buffer.copy_(values)
            if not isinstance(part, torch.jit.ScriptModule) and getattr(part, name, None) is not buffer:
                setattr(part, name, buffer)


def _check_repetition(original: Original) -> None:
    """Check that the same inputs give the same outputs, with the same random seed and with another one."""
    name = original.spec.name
    with _seeded(0):
        before = {key: buffer.clone() for key, buffer in original.call.named_buffers()}
        first = original.run_example()
    for key, output in first.items():
        if output.dtype.kind == "c":
            raise ExportError(
                f"{name}: output {key!r} is of complex numbers, which answers cannot carry: return "
                "torch.view_as_real(...) of it, or its .abs()"
            )
    with _seeded(0):
        again = original.run_example()
    if _differ(original, first, again):
        buffers = dict(original.call.named_buffers())
        changed = [k for k, values in before.items() if k in buffers and not torch.equal(buffers[k], values)]
        what = (
            f"buffer {', '.join(map(repr, changed))}" if changed else "an attribute of the module, or something global"
        )
        raise ExportError(
            f"{name}: the module keeps a state: the same inputs give other outputs the second time ({what} changes in "
            "forward): make the state an input and an output, which the caller passes on, or change it in training "
            "only (if self.training: ...)"
        )
    with _seeded(1):
        other = original.run_example()
    if _differ(original, first, other):
        drawn = _Drawn()
        with _seeded(1), drawn.watching():
            original.run_example()
        raise ExportError(
            f"{name}: the module draws random numbers ({drawn.names()}) in evaluation too, so its answers cannot be "
            f"repeated: {drawn.advice()}"
        )


def _differ(original: Original, before: Arrays, after: Arrays) -> bool:
    """Whether outputs differ by more than rounding: kernels may sum in another order if the memory alignment
    differs."""
    spec = original.spec
    for name, expected in before.items():
        is_float = expected.dtype.kind == "f"
        atol, rtol = (spec.atol, spec.rtol) if is_float else (0.0, 0.0)
        got = after[name]
        if expected.shape != got.shape or not np.allclose(got, expected, rtol, atol, equal_nan=is_float):
            return True
    return False


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed all generators that a module may use, and restore them afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


class _Drawn:
    """Records the operators and dropout functions that draw random numbers while it is active."""

    def __init__(self) -> None:
        self.operators: dict[str, None] = {}
        self.has_dropout = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        with _Operators(self), _Functions(self):
            yield

    def names(self) -> str:
        if self.has_dropout:
            return "Dropout"
        return ", ".join(self.operators) or "of Python or NumPy"

    def advice(self) -> str:
        if self.has_dropout:
            return (
                "use torch.nn.Dropout, or functional.dropout(x, p, training=self.training), which change nothing in "
                "evaluation; or make the mask an input"
            )
        return "make the noise an input, or compute it from a seed that is an input"


class _Functions(TorchFunctionMode):
    def __init__(self, drawn: _Drawn) -> None:
        super().__init__()
        self._drawn = drawn

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._drawn.has_dropout |= "dropout" in getattr(func, "__name__", "")
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    supports_higher_order_operators = True

    def __init__(self, drawn: _Drawn) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._drawn = drawn

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._drawn.operators[str(func.overloadpacket)] = None
        return func(*args, **(kwargs or {}))
