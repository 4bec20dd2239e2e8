"""Finds decisions of ``forward`` by values or sizes of tensors, which the TorchScript exporter would fix silently.

That exporter records the operators of one run. If forward reads a number from a tensor (``if x.max() > 10``,
``int(n)``, ``range(x.shape[1])``), the graph keeps the value of that run, with a warning at best. Reading a size that
does not depend on a free axis is fine: two runs with different free sizes show which sizes these are.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxscript
import sympy  # type: ignore[import-untyped]
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from export.errors import ExportError

_EXPORT = Path(__file__).parents[1]
_OTHERS = tuple(
    f"{path}{os.sep}"
    for path in (*(Path(module.__file__ or "").parent for module in (torch, onnx, onnxscript, sympy)), _EXPORT)
)
_REFERENCE_MODELS = f"{_EXPORT / 'zoo'}{os.sep}"
_ASKING = {
    "__bool__": "decides by",
    "__int__": "takes a Python integer from",
    "__index__": "takes a Python integer from",
    "__float__": "takes a Python float from",
    "__len__": "takes the length of",
    "__iter__": "iterates over the rows of",
    "item": "takes a Python number from",
    "tolist": "takes Python numbers from",
    "numpy": "takes NumPy's numbers from",
    "__array__": "takes NumPy's numbers from",
    "equal": "decides by",
    "allclose": "decides by",
    "is_nonzero": "decides by",
    "tensor": "makes a constant of",
}
_Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """``sizes`` are the sizes that decided; None if values of the inputs decided."""

    line: str
    text: str
    sizes: _Sizes | None


def refuse_decisions(
    name: str, run: Callable[..., Any], example: Sequence[torch.Tensor], other: Sequence[torch.Tensor] | None
) -> None:
    """Raise ExportError, with file and line, if tracing ``run`` would fix something that depends on its inputs.

    ``other`` are inputs whose free axes have other sizes than the example's; None if there are none.
    """
    found, warned = _trace(run, example)
    if not found and not warned:
        return
    steady = _trace_again(run, other)
    for number, decision in enumerate(found):
        if decision.sizes is None:
            raise _refusal(name, decision.line, f"{decision.text} values of its inputs", _BY_VALUE)
        if decision.sizes and (number >= len(steady) or steady[number] != decision):
            raise _refusal(name, decision.line, f"{decision.text} a size that is free", _BY_SIZE)
    for line, text in warned.items():
        if line not in {decision.line for decision in found}:
            raise _refusal(name, line, f"does something that cannot be traced ({text})", _BY_VALUE)


_BY_VALUE = "use torch.where, torch.cond or tensor operations instead of Python's numbers"
_BY_SIZE = "use tensor operations instead, or leave that axis out of dynamic"


def _refusal(name: str, line: str, what: str, advice: str) -> ExportError:
    return ExportError(
        f"{name}: {line}: forward {what}, which the TorchScript exporter would fix to the example's value: {advice}"
    )


def _trace(run: Callable[..., Any], inputs: Sequence[torch.Tensor]) -> tuple[list[Decision], dict[str, str]]:
    """The decisions of one run in order, and the tracer's warnings by line of the model's code."""
    mode = _Decisions()
    with warnings.catch_warnings(record=True) as caught, mode:
        warnings.simplefilter("always")
        torch.jit.trace(run, tuple(inputs), check_trace=False, strict=False)  # type: ignore[no-untyped-call]
    warned = {
        f"{warning.filename}:{warning.lineno}": str(warning.message).partition(". ")[0]
        for warning in caught
        if issubclass(warning.category, torch.jit._trace.TracerWarning) and _is_own(warning.filename)
    }
    return mode.found, warned


def _trace_again(run: Callable[..., Any], other: Sequence[torch.Tensor] | None) -> list[Decision]:
    """The decisions of a run with other sizes; none if the model refuses them, so that any size may be free."""
    try:
        return [] if other is None else _trace(run, other)[0]
    except Exception:  # noqa: BLE001  # whatever the model raises
        return []


class _Decisions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Decision] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _ASKING and torch._C._get_tracing_state() is not None:
            line = _find_line()
            asked = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
            if line is not None and asked:
                sizes = tuple(asked[0].shape[:1]) if name in ("__len__", "__iter__") else _find_sizes(asked)
                self.found.append(Decision(line, _ASKING[name], None if sizes is None else tuple(map(int, sizes))))
        return func(*args, **(kwargs or {}))


def _find_line() -> str | None:
    """The line of the model's code that is running; None if torch's own code is."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == torch.overrides.__file__:
        frame = frame.f_back  # type: ignore[assignment]
    file = frame.f_code.co_filename
    return f"{file}:{frame.f_lineno}" if _is_own(file) else None


def _is_own(file: str) -> bool:
    """Whether the code belongs to the model, not to the exporters or this package."""
    return file.startswith(_REFERENCE_MODELS) or not file.startswith(_OTHERS)


def _find_sizes(tensors: Sequence[torch.Tensor]) -> _Sizes | None:
    """The sizes from which the tensors were computed; None if values of the inputs were used."""
    sizes: list[int] = []
    waiting = [torch._C._get_value_trace(tensor) for tensor in tensors]  # type: ignore[attr-defined]
    seen = set()
    while waiting:
        value = waiting.pop()
        node = value.node()
        if value.debugName() in seen or node.kind() in ("prim::Constant", "prim::GetAttr"):
            continue
        seen.add(value.debugName())
        if node.kind() == "aten::size":
            sizes += _read_size(node)
        elif node.kind() == "prim::Param":
            return None
        else:
            waiting += node.inputs()
    return tuple(sizes)


def _read_size(node: Any) -> Iterator[int]:
    of, axis = node.inputsAt(0), node.inputsAt(1).toIValue()
    yield of.type().sizes()[axis]
