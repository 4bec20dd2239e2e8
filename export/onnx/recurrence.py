"""Exports nn.RNN as ONNX's own RNN; the newer exporter would unroll it to the length of the example.

``torch.export._patches`` does the same for nn.LSTM and nn.GRU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from onnxscript import opset20
from torch._decomp import global_decomposition_table

_op: Any = opset20  # its types do not accept Python numbers
_OPERATORS = {torch.ops.aten.rnn_tanh.input: "Tanh", torch.ops.aten.rnn_relu.input: "Relu"}
_KEYS = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The ``custom_translation_table`` for ``torch.onnx.export``."""
    return {operator: partial(_translate, activation) for operator, activation in _OPERATORS.items()}


@contextmanager
def keep_whole() -> Iterator[None]:
    """Trace nn.RNN as one operator; only the shapes of its outputs are computed."""
    registry = global_decomposition_table["post_autograd"]
    before = {operator: (dict(operator.py_kernels), registry[operator]) for operator in _OPERATORS}
    for operator in _OPERATORS:
        operator._dispatch_cache.clear()
        operator.py_kernels.update(dict.fromkeys(_KEYS, _shape))
        registry[operator] = _shape
    try:
        yield
    finally:
        for operator, (kernels, decomposition) in before.items():
            operator.py_kernels.clear()
            operator.py_kernels.update(kernels)
            registry[operator] = decomposition
            operator._dispatch_cache.clear()


def _shape(
    input: torch.Tensor,
    hx: torch.Tensor,
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of the right shapes: [time, batch, directions x hidden], or batch first, and the last states."""
    return input.new_empty(*input.shape[:2], hx.shape[2] * (2 if bidirectional else 1)), hx.new_empty(hx.shape)


def _translate(
    activation: str,
    input: Any,
    hx: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """One RNN for each layer. Its output is [time, directions, batch, hidden], PyTorch's [time, batch, both]."""
    directions = 2 if bidirectional else 1
    width = 4 if has_biases else 2
    y = _op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
    last = []
    for layer in range(num_layers):
        first = layer * directions
        ways = [params[way * width : (way + 1) * width] for way in range(first, first + directions)]
        weights = [_stack([way[at] for way in ways]) for at in (0, 1)]
        if has_biases:
            weights.append(_stack([_op.Concat(way[2], way[3], axis=0) for way in ways]))
        y, h = _op.RNN(
            y,
            *weights,
            initial_h=_op.Slice(hx, [first], [first + directions], [0]),
            activations=[activation] * directions,
            direction="bidirectional" if bidirectional else "forward",
            hidden_size=hx.shape[2],
        )
        y = _op.Reshape(_op.Transpose(y, perm=[0, 2, 1, 3]), _op.Constant(value_ints=[0, 0, -1]))
        last.append(h)
    y = _op.Transpose(y, perm=[1, 0, 2]) if batch_first else y
    return y, _op.Concat(*last, axis=0)


def _stack(parts: Sequence[Any]) -> Any:
    return _op.Concat(*(_op.Unsqueeze(part, [0]) for part in parts), axis=0)
