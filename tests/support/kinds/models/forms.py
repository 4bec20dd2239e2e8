"""Kinds: functions, compiled, parallel, scripted and exported programs, and files of them."""

import atexit
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tests.support.kinds.case import Kind, normal


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x))))


class Loop(nn.Module):
    """A loop over time that a scripted module keeps as one."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Linear(4, 4)

    def forward(self, x):
        state = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            state = torch.tanh(self.o(x[:, step]) + state)
        return state


class Branch(nn.Module):
    """A branch on values that a scripted module keeps as one; for one example at a time."""

    def forward(self, x):
        if x.sum() > 0:
            return x * 2
        return x - 1


def double(x):
    """A function, not a module."""
    return x * 2 + x.mean(1, keepdim=True)


def make_function() -> Callable[..., torch.Tensor]:
    return double


def scripted(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with warnings.catch_warnings(action="ignore"):  # TorchScript warns that it is old
            return torch.jit.script(make().eval())

    return build


def make_traced() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.trace(Small().eval(), torch.randn(3, 6))


def make_frozen() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.freeze(torch.jit.script(Small().eval()))


def make_program(**bounds: int):
    free = {"x": {0: torch.export.Dim("batch", **bounds)}}
    return torch.export.export(Small().eval(), (torch.randn(4, 6),), dynamic_shapes=free)


def make_bounded_program():
    """For 500 rows at most, as its author has said."""
    return make_program(max=500)


def make_program_module():
    return make_program().module()


def _make_folder() -> Path:
    """A folder until the tests end."""
    folder = tempfile.TemporaryDirectory(prefix="kinds-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def make_program_file() -> str:
    path = _make_folder() / "small.pt2"
    torch.export.save(make_program(), path)
    return str(path)


def make_script_file() -> str:
    path = _make_folder() / "small.pt"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(Small().eval()), str(path))
    return str(path)


def make_compiled():
    return torch.compile(Small())


def make_compiled_in_place() -> nn.Module:
    module = Small()
    module.compile()
    return module


def make_parallel() -> nn.Module:
    return nn.DataParallel(Small())


def make_averaged() -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(Small())


def make_lightning() -> nn.Module:
    import pytorch_lightning

    class Classifier(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Small()
            self.save_hyperparameters()

        def forward(self, x):
            return self.net(x).softmax(-1)

        def training_step(self, batch, index):
            return self(batch).sum()

    return Classifier()


_X = {"x": normal(4, 6)}

KINDS = (
    Kind(name="form-function", module=make_function, inputs=_X),
    Kind(name="form-compiled", module=make_compiled, called=Small, inputs=_X),
    Kind(name="form-compiled-in-place", module=make_compiled_in_place, called=Small, inputs=_X),
    Kind(name="form-parallel", module=make_parallel, called=Small, inputs=_X),
    Kind(name="form-averaged", module=make_averaged, called=Small, inputs=_X),
    Kind(name="form-lightning", module=make_lightning, inputs=_X, needs="pytorch_lightning"),
    Kind(name="form-scripted", module=scripted(Small), called=Small, inputs=_X),
    Kind(name="form-scripted-loop", module=scripted(Loop), called=Loop, inputs={"x": normal(3, 5, 4)}),
    Kind(
        name="form-scripted-loop-free",
        module=scripted(Loop),
        called=Loop,
        inputs={"x": normal(3, 5, 4)},
        dynamic={"x": {0: "batch", 1: "time"}},
    ),
    Kind(
        name="form-scripted-branch",
        module=scripted(Branch),
        called=Branch,
        inputs={"x": normal(3, 5)},
        dynamic={"x": {}},
    ),
    Kind(name="form-traced", module=make_traced, called=Small, inputs=_X),
    Kind(name="form-frozen", module=make_frozen, called=Small, inputs=_X),
    Kind(name="form-script-file", module=make_script_file, called=Small, inputs=_X),
    Kind(name="form-program", module=make_program, called=Small, inputs=_X, refused=False, fast=True),
    Kind(name="form-program-bounded", module=make_bounded_program, called=Small, inputs=_X),
    Kind(name="form-program-module", module=make_program_module, called=Small, inputs=_X),
    Kind(name="form-program-file", module=make_program_file, called=Small, inputs=_X),
)
