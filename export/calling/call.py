"""A model as a function of tensors: what is exported, and what the exported graph is compared with."""

from collections.abc import Sequence

import torch

from export.calling.arguments import Binding, bind, signature_of
from export.calling.forms import Model
from export.calling.nesting import Inputs, fill
from export.calling.outputs import order_outputs


class Call(torch.nn.Module):
    """``forward(*tensors)`` takes the inputs in order and returns a tuple of the outputs in the order of ``keys``."""

    def __init__(self, where: str, model: Model, binding: Binding, inputs: Sequence[str], keys: Sequence[str]) -> None:
        super().__init__()
        self.where, self.model, self.binding, self.inputs, self.keys = where, model, binding, tuple(inputs), tuple(keys)
        for number, module in enumerate(model.modules):  # registered, so that their weights belong to this module
            self.register_module(f"module_{number}", module)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(self.inputs, tensors, strict=True))
        arguments = fill(self.binding.positional, named)
        keywords = fill(dict(self.binding.keyword), named)
        return order_outputs(self.where, self.keys, self.model.function(*arguments, **keywords))


def make_calls(where: str, model: Model, inputs: Inputs, keys: Sequence[str]) -> list[Call]:
    """The ways to call the model, the preferred one first; nearly always there is just one. Raises SpecError."""
    bindings = bind(where, signature_of(model.function), inputs.arguments)
    return [Call(where, model, binding, tuple(inputs), keys) for binding in bindings]
