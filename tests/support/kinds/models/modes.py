"""Kinds: training mode, buffers that change, functions of autograd, parametrizations, hooks."""

import functools
import warnings

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from tests.support.kinds.case import Kind, normal


class Dropped(nn.Module):
    """Dropout that evaluation does not end."""

    def forward(self, x):
        return functional.dropout(x, 0.5)


class Trained(nn.Module):
    """Dropout and BatchNorm as they should be: only training changes them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))

    def forward(self, x):
        return self.net(x)


def make_trained() -> nn.Module:
    """After some training, and still in training mode."""
    module = Trained().train()
    for _ in range(5):
        module(torch.randn(16, 6) * 3 + 1)
    return module


class BatchStatistics(nn.Module):
    """BatchNorm that keeps no statistics: rows change each other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def forward(self, x):
        return self.norm(x)


class Frozen(nn.Module):
    """A layer that refuses to leave training mode, as of Monte Carlo dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def train(self, mode: bool = True):
        return super().train(True)

    def forward(self, x):
        return self.norm(x)


class InstanceStatistics(nn.Module):
    """The same for each row alone, which is no trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(3, affine=True)

    def forward(self, x):
        return self.norm(x)


class Counter(nn.Module):
    """Each call counts, and the answer depends on how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Cached(nn.Module):
    """What the last call had is kept in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(5))

    def forward(self, x):
        y = x + self.before
        self.before.copy_(x.mean(0))
        return y


class Running(nn.Module):
    """A running mean that only training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((5,), 0.3))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.1)
        return x - self.mean


class Remembered(nn.Module):
    """A table that is made at the first call, and kept as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.table = None

    def forward(self, x):
        if self.table is None or self.table.shape[0] != x.shape[1]:
            self.table = torch.arange(x.shape[1]).float().cos()
        return x * self.table


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.sign()

    @staticmethod
    def backward(context, gradient):
        return gradient


class Signs(nn.Module):
    """A function of autograd with a gradient of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(5, 4)

    def forward(self, x):
        return _Sign.apply(self.o(x)) * x.mean(1, keepdim=True)


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(context, x, slope):
        context.slope = slope
        context.save_for_backward(x)
        return torch.where(x > 0, x, x * slope)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return torch.where(x > 0, gradient, gradient * context.slope), None


class Leaky(nn.Module):
    """One that saves tensors, with a number beside the tensor."""

    def forward(self, x):
        return _Leaky.apply(x, 0.2)


def make_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 4)), nn.Tanh())


def make_parametrized() -> nn.Module:
    first = parametrizations.weight_norm(nn.Conv1d(3, 4, 3))
    return nn.Sequential(first, nn.ReLU(), parametrizations.spectral_norm(nn.Conv1d(4, 2, 1)))


def make_orthogonal() -> nn.Module:
    return parametrizations.orthogonal(nn.Linear(5, 5))


class _Lazy(nn.LazyLinear):
    """Its weights are made at the first call, and are the same each time."""

    def initialize_parameters(self, input):
        if self.has_uninitialized_params():
            super().initialize_parameters(input)
            with torch.no_grad():
                self.weight.copy_(torch.linspace(-1, 1, self.weight.numel()).cos().view_as(self.weight))
                self.bias.fill_(0.1)


def make_lazy() -> nn.Module:
    """Nobody has called it yet."""
    return nn.Sequential(_Lazy(7), nn.ReLU(), _Lazy(3))


def make_called_lazy() -> nn.Module:
    module = make_lazy()
    module(torch.zeros(2, 5))
    return module


def make_pruned() -> nn.Module:
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    prune.l1_unstructured(module[0], "weight", 0.5)
    return module


def make_hooked() -> nn.Module:
    """Hooks change what goes in and what comes out."""
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
    module[0].register_forward_pre_hook(lambda part, args: (args[0] * 2,))
    module[1].register_forward_hook(lambda part, args, output: output + 1)
    return module


def make_patched() -> nn.Module:
    """forward was replaced on the object."""
    module = nn.Linear(5, 5)
    module.forward = functools.partial(lambda part, input: functional.linear(input, part.weight) - 3, module)
    return module


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(checkpoint(lambda t: self.first(t).relu(), x, use_reentrant=False))


class Autocast(nn.Module):
    """Lower precision, inside forward alone."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(16, 8)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.o(x).float()


class Noise(nn.Module):
    """Noise is drawn in forward."""

    def forward(self, x):
        return x + torch.randn_like(x)


_X = {"x": normal(4, 5)}
_SEQUENTIAL = {"input": normal(4, 5)}

KINDS = (
    Kind(name="mode-dropout", module=Dropped, inputs=_X),
    Kind(name="mode-noise", module=Noise, inputs=_X),
    Kind(name="mode-trained", module=make_trained, inputs={"x": normal(4, 6)}),
    Kind(name="mode-batch-statistics", module=BatchStatistics, inputs={"x": normal(4, 6)}),
    Kind(name="mode-never-evaluates", module=Frozen, inputs={"x": normal(4, 6)}),
    Kind(name="mode-instance", module=InstanceStatistics, inputs={"x": normal(4, 3, 8)}),
    Kind(name="buffer-counter", module=Counter, inputs=_X, refused=True, fast=True),
    Kind(name="buffer-cached", module=Cached, inputs=_X),
    Kind(name="buffer-running", module=Running, inputs=_X),
    Kind(name="buffer-remembered", module=Remembered, inputs=_X),
    Kind(name="function-sign", module=Signs, inputs=_X),
    Kind(name="function-leaky", module=Leaky, inputs=_X),
    Kind(name="norm-weight", module=make_weight_norm, inputs=_SEQUENTIAL),
    Kind(name="norm-parametrized", module=make_parametrized, inputs={"input": normal(4, 3, 9)}),
    Kind(name="norm-orthogonal", module=make_orthogonal, inputs=_SEQUENTIAL),
    Kind(name="lazy", module=make_lazy, called=make_called_lazy, inputs=_SEQUENTIAL),
    Kind(name="lazy-called", module=make_called_lazy, inputs=_SEQUENTIAL),
    Kind(name="pruned", module=make_pruned, inputs=_SEQUENTIAL),
    Kind(name="hooked", module=make_hooked, inputs=_SEQUENTIAL),
    Kind(name="patched", module=make_patched, inputs=_SEQUENTIAL),
    Kind(name="checkpointed", module=Checkpointed, inputs=_X),
    Kind(name="autocast", module=Autocast, inputs={"x": normal(4, 16)}, tolerance=0.02),
)
