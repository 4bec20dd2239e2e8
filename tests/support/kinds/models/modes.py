"""Kinds: training mode, buffers that change, functions of autograd, parametrizations, hooks."""

import functools
import warnings

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from tests.support.kinds.case import Kind, Kinds, normal

KINDS = Kinds()
_X = {"x": normal(4, 5)}


@KINDS.add({"x": normal(4, 3, 8)}, lambda: {"norm": nn.InstanceNorm1d(3, affine=True)})
def mode_instance(self, x):
    """The same for each row alone, which is no trouble."""
    return self.norm(x)


@KINDS.add(_X, lambda: {"mean": nn.Buffer(torch.full((5,), 0.3))})
def buffer_running(self, x):
    """A running mean that only training changes."""
    if self.training:
        self.mean.lerp_(x.detach().mean(0), 0.1)
    return x - self.mean


@KINDS.add(_X, lambda: {"table": None})
def buffer_remembered(self, x):
    """A table that is made at the first call, and kept as an attribute."""
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


@KINDS.add(_X, lambda: {"o": nn.Linear(5, 4)})
def function_sign(self, x):
    """A function of autograd with a gradient of its own."""
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


@KINDS.add(_X)
def function_leaky(self, x):
    """One that saves tensors, with a number beside the tensor."""
    return _Leaky.apply(x, 0.2)


def make_weight_norm() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
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


@KINDS.add(_X, lambda: {"first": nn.Linear(5, 8), "second": nn.Linear(8, 3)})
def checkpointed(self, x):
    return self.second(checkpoint(lambda t: self.first(t).relu(), x, use_reentrant=False))


@KINDS.add({"x": normal(4, 16)}, lambda: {"o": nn.Linear(16, 8)}, tolerance=0.02)
def autocast(self, x):
    """Lower precision, inside forward alone."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.o(x).float()


_SEQUENTIAL = {"input": normal(4, 5)}

KINDS += [
    Kind(name="norm-weight", module=make_weight_norm, inputs=_SEQUENTIAL),
    Kind(name="norm-parametrized", module=make_parametrized, inputs={"input": normal(4, 3, 9)}),
    Kind(name="norm-orthogonal", module=make_orthogonal, inputs=_SEQUENTIAL),
    Kind(name="lazy-called", module=make_called_lazy, inputs=_SEQUENTIAL),
    Kind(name="pruned", module=make_pruned, inputs=_SEQUENTIAL),
    Kind(name="hooked", module=make_hooked, inputs=_SEQUENTIAL),
    Kind(name="patched", module=make_patched, inputs=_SEQUENTIAL),
]
