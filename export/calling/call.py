"""A model as a function of tensors alone: what is exported, and what its exported graph is compared with."""

from collections.abc import Sequence

import torch

from export.calling.arguments import Binding, bind, signature_of
from export.calling.forms import Model
from export.calling.nesting import Inputs, fill
from export.calling.outputs import order_outputs


class Call(torch.nn.Module):
    """``forward(*tensors)`` takes the inputs in their order, and returns a tuple of the outputs in that of ``keys``."""

    def __init__(self, where: str, model: Model, binding: Binding, inputs: Sequence[str], keys: Sequence[str]) -> None:
        super().__init__()
        self.where, self.model, self.binding, self.inputs, self.keys = where, model, binding, tuple(inputs), tuple(keys)
        for number, module in enumerate(model.modules):  # so that their weights are weights of this one
            self.register_module(f"module_{number}", module)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(self.inputs, tensors, strict=True))
        arguments = fill(self.binding.positional, named)
        keywords = fill(dict(self.binding.keyword), named)
        return order_outputs(self.where, self.keys, self.model.function(*arguments, **keywords))


def make_calls(where: str, model: Model, inputs: Inputs, keys: Sequence[str]) -> list[Call]:
    """The ways to call the model: nearly always one, else the first that works. Raises SpecError."""
    bindings = bind(where, signature_of(model.function), inputs.arguments)
    return [Call(where, model, binding, tuple(inputs), keys) for binding in bindings]
