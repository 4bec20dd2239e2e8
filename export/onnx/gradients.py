"""The graph ``explain`` of a classifier: gradients of its scores as plain ONNX, so that a server needs no torch.

Autograd runs while the module is traced. The result is a flat graph of forward and backward operators, which exports
like any other and is proved against autograd. Simonyan et al., 2013 (saliency); Sundararajan et al., Axiomatic
Attribution for Deep Networks, 2017 (integrated gradients); Goodfellow et al., 2014 (fast gradient sign).
"""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from export.errors import ExportError, SpecError
from export.original import Original, limit_threads, set_evaluating
from export.spec import BATCH, ExportSpec, GraphSpec, Progress, Sizes

EXPLAIN = "explain"
OUTPUTS = ("gradient", "loss_gradient")
MOST_BYTES = 1 << 29
"""The most memory for the tensors of one run, here and in the server. Larger batches are not used."""
UNASKED_BYTES = 1 << 31
"""The most memory for the smallest run of a graph that the user did not ask for."""
_KINKS = 0.02
_KINKS_OF_ELEMENT = 3e-7
"""The probability that rounding decides the slope of one element, at the kink of a ReLU or between two maxima. In an
EfficientNet-Lite0 at 224x224, half of the rows had such an element."""
_MOST_KINKS = 0.8
_KINK_TOL = 0.25
_EXAMPLE_ROWS = 3
_LEAST_ROWS = 2  # a single row is padded to two


class Explained(nn.Module):
    """``(x, label) -> (gradient, loss_gradient)``, both of the shape of ``x``: of the label's score, and of its loss.

    ``label`` int64 [batch] is the class to explain. Integrated gradients are the mean of gradients along a path. The
    server runs the points of the path as rows, because one run of all points would take many times the memory. An
    adversarial perturbation is the sign of the loss gradient times a size. The sign is not in the graph, because for
    small slopes it depends on rounding.
    """

    def __init__(self, module: nn.Module, scores: int, multi_label: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        set_evaluating(self.module)
        self.scores = scores
        self.multi_label = multi_label

    def forward(self, x: torch.Tensor, /, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            here = x.detach().requires_grad_(True)
            scores: torch.Tensor = self.module(here)[self.scores]
            # Summed over rows, because then each row's gradient is that of its own score.
            (gradient,) = torch.autograd.grad(scores.gather(1, label[:, None]).sum(), here, retain_graph=True)
            logs = functional.logsigmoid(scores) if self.multi_label else functional.log_softmax(scores, dim=1)
            (uphill,) = torch.autograd.grad(-logs.gather(1, label[:, None]).sum(), here)
        return gradient.detach(), uphill.detach()


def make_explain(spec: ExportSpec, original: Original, progress: Progress = lambda step: None) -> GraphSpec:
    """The graph ``explain`` of a classifier with one floating point input. ``progress`` reports its memory.

    ``original`` is the module and ``spec`` its description. Raises SpecError if the model has other inputs, ExportError
    if it cannot be differentiated.
    """
    (name, sample), *others = spec.inputs.items()
    if others or not sample.is_floating_point() or spec.classes is None or not spec.batched:
        raise SpecError(
            f"{spec.name}: an explain graph needs a classifier with one floating point input and a batch axis: set "
            "explain=False to publish without one"
        )
    scores = spec.outputs.index(spec.classes.logits or spec.classes.probabilities)
    explained = Explained(original.call, scores, spec.classes.multi_label)
    make = _make_inputs(spec, name, sample)
    example = make({**spec.example_sizes, BATCH: _EXAMPLE_ROWS}, 0)
    dynamic = {name: dict(spec.axes[name]), "label": {0: BATCH}}
    try:
        with limit_threads():
            traced = trace(explained, list(example.values()), [sorted(dynamic[key]) for key in example])
    except Exception as error:
        raise ExportError(
            f"{spec.name}: the gradient of the scores cannot be traced ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error) else 'no reason given'}): set explain=False to publish "
            "without an explain graph"
        ) from error
    row_bytes = find_peak(traced) // _EXAMPLE_ROWS
    most_rows = max(_LEAST_ROWS, MOST_BYTES // row_bytes)
    progress(f"tracing the gradients: a row takes about {row_bytes / 1e6:,.0f} MB")
    if spec.explain is None and _LEAST_ROWS * row_bytes > UNASKED_BYTES:
        raise ExportError(
            f"{spec.name}: the gradients of a row take about {row_bytes / 1e9:.1f} GB of memory: set explain=True to "
            "get them anyway"
        )
    batches = _bound_batches(spec, row_bytes, most_rows, progress)
    return GraphSpec(
        module=explained,
        export_as=traced,
        inputs=example,
        outputs=OUTPUTS,
        dynamic=dynamic,
        finite=(name,),
        ranges={"label": (0, len(spec.labels) - 1)},
        random_inputs=make,
        atol=spec.explain_atol,
        rtol=spec.rtol,
        kinks=find_kinks(row_bytes),
        kink_tol=_KINK_TOL,
        row_atol=spec.row_atol,
        # The classifier's rows are proved independent, so each row's gradients depend on that row alone. The analysis
        # cannot follow MaxPool's indices through the batch.
        proved_by_trial=True,
        batches=batches,
        seeds=spec.seeds,
        lengths=spec.lengths,
        bounds=spec.bounds,
        opset=spec.opset,
        external_data_bytes=spec.external_data_bytes,
        max_rows=None if batches is spec.batches else most_rows,
    )


def _bound_batches(spec: ExportSpec, row_bytes: int, most_rows: int, progress: Progress) -> tuple[int, ...]:
    """The sizes of batches to compare: those of ``spec``, or at most ``most_rows``."""
    if max(spec.batches) <= most_rows:
        return spec.batches
    progress(
        f"note: a row of graph {EXPLAIN} takes about {row_bytes / 1e6:,.0f} MB, so its batches have up to {most_rows} "
        "rows here and in the server"
    )
    return (*(rows for rows in spec.batches if rows < most_rows), most_rows)


def is_optional(spec: ExportSpec, name: str) -> bool:
    """Whether a graph has gradients that the user did not ask for. If it cannot be made, it is left out."""
    return name == EXPLAIN and spec.explain is None and isinstance(spec.graphs[name].module, Explained)


def find_peak(traced: Any) -> int:
    """The most bytes that the tensors of a traced graph take at once, without its weights."""
    nodes = list(traced.graph.nodes)
    last_use = {given: number for number, node in enumerate(nodes) for given in node.all_input_nodes}
    sizes = {node: 0 if node.op == "get_attr" else _count_bytes(node.meta.get("val")) for node in nodes}
    held = most = 0
    for number, node in enumerate(nodes):
        held += sizes[node]
        most = max(most, held)
        held -= sum(sizes[given] for given in node.all_input_nodes if last_use[given] == number)
    return max(1, most)


def find_kinks(row_bytes: int) -> float:
    """The share of rows in which rounding may change a slope, estimated from how much a row computes."""
    expected = 1 - math.exp(-_KINKS_OF_ELEMENT * row_bytes / 4)
    return min(_MOST_KINKS, max(_KINKS, expected))


def _count_bytes(value: Any) -> int:
    """The bytes of a node's output tensors, with the example's sizes for free axes."""

    def size_of(size: Any) -> int:
        return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)

    tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
    return sum(math.prod(size_of(size) for size in one.shape) * one.element_size() for one in tensors)


def _make_inputs(
    spec: ExportSpec, name: str, sample: torch.Tensor
) -> Callable[[Sizes, int], Mapping[str, torch.Tensor]]:
    seen = sample if spec.samples is None else spec.samples[name]
    low, high = float(seen.min()), float(seen.max())

    def make(sizes: Sizes, seed: int) -> Mapping[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        shape = [sizes.get(spec.axes[name].get(axis, ""), size) for axis, size in enumerate(sample.shape)]
        rows = shape[0]
        return {
            name: low + (high - low) * torch.rand(shape, generator=draw, dtype=sample.dtype),
            "label": torch.randint(len(spec.labels), (rows,), generator=draw),
        }

    return make


def trace(module: nn.Module, inputs: Sequence[torch.Tensor], dynamic: Sequence[Sequence[int]]) -> nn.Module:
    """A flat graph of what ``module`` does, autograd included. Only the axes in ``dynamic`` keep a free size."""
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental import _config
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.nn.attention import SDPBackend, sdpa_kernel

    config: Any = _config
    aten = torch.ops.aten
    decompositions = dict(core_aten_decompositions())
    decompositions[aten.convolution_backward.default] = _differentiate_convolution
    decompositions[aten.avg_pool2d_backward.default] = _differentiate_average
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            config.patch(backed_size_oblivious=True),
        ):
            traced = make_fx(
                module, decomposition_table=decompositions, tracing_mode="symbolic", _allow_non_fake_inputs=True
            )(*_make_fakes(inputs, dynamic))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _make_fakes(inputs: Sequence[torch.Tensor], dynamic: Sequence[Sequence[int]]) -> tuple[Any, ...]:
    """Tensors without content; their listed axes are symbols. If all axes were symbols, tracing would fix the batch."""
    from torch._dynamo.source import ConstantSource
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)

    def make(number: int, tensor: torch.Tensor, free: Sequence[int]) -> Any:
        sizes = [DimDynamic.DYNAMIC if axis in free else DimDynamic.STATIC for axis in range(tensor.dim())]
        context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
        return mode.from_tensor(tensor, source=ConstantSource(f"input{number}"), symbolic_context=context)

    return tuple(make(i, tensor, free) for i, (tensor, free) in enumerate(zip(inputs, dynamic, strict=True)))


def _differentiate_convolution(
    gradient: Any,
    x: Any,
    weight: Any,
    bias_sizes: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Any, None, None]:
    """The gradient of the input alone, as a convolution: the weights are constants here."""
    if not wanted[0]:
        return None, None, None
    convolve = torch.ops.aten.convolution.default
    axes = x.dim() - 2
    stride, padding, dilation = (
        list(value) * (axes if len(value) == 1 else 1) for value in (stride, padding, dilation)
    )
    if transposed:
        return convolve(gradient, weight, None, stride, padding, dilation, False, [0] * axes, groups), None, None
    rest = [
        x.shape[2 + i]
        - ((gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1)
        for i in range(axes)
    ]
    return convolve(gradient, weight, None, stride, padding, dilation, True, rest, groups), None, None


def _differentiate_average(
    gradient: Any,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Any:
    """The gradient of an average over windows: a transposed convolution gives each element its share."""
    if ceil_mode or (not count_include_pad and any(padding)):
        raise ExportError("average pooling with ceil_mode, or without its padding in the count, has no gradient here")
    kernel, stride, padding = (
        list(value) * (2 if len(value) == 1 else 1) for value in (kernel_size, stride or kernel_size, padding or [0])
    )
    share = 1 / (divisor_override or kernel[0] * kernel[1])
    channels = x.shape[1]
    weight = torch.full((channels, 1, *kernel), share, dtype=x.dtype)
    rest = [x.shape[2 + i] - ((gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + kernel[i]) for i in range(2)]
    return torch.ops.aten.convolution.default(gradient, weight, None, stride, padding, [1, 1], True, rest, channels)
