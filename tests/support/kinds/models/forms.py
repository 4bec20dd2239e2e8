"""Kinds: scripted and traced modules, and those of a training framework.

Other forms are exported in tests/export/calling/test_forms.py.
"""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from tests.support.kinds.case import Kind, normal, time


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


def scripted(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with warnings.catch_warnings(action="ignore"):  # TorchScript warns that it is old
            return torch.jit.script(make().eval())

    return build


def make_traced() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.trace(Small().eval(), torch.randn(3, 6))


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
    Kind(name="form-lightning", module=make_lightning, inputs=_X, needs="pytorch_lightning"),
    Kind(name="form-scripted-loop", module=scripted(Loop), called=Loop, inputs={"x": normal(3, 5, 4)}),
    Kind(name="form-scripted-loop-free", module=scripted(Loop), called=Loop, inputs={"x": normal(3, time(5), 4)}),
    Kind(
        name="form-scripted-branch",
        module=scripted(Branch),
        called=Branch,
        inputs={"x": normal(3, 5)},
        dynamic={"x": {}},
    ),
    Kind(name="form-traced", module=make_traced, called=Small, inputs=_X),
)
