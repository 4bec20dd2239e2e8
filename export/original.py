"""The PyTorch original: the module in evaluation mode, run eagerly on one thread."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils import _pytree as pytree

from export.errors import ExportError, SpecError
from export.inputs import to_array
from export.spec import Arrays, GraphSpec


@contextmanager
def limit_threads(count: int = 1) -> Iterator[None]:
    """Run torch on ``count`` threads and restore what was set: sums in one order, and no spinning on shared cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Original:
    """The module of a spec. Use it inside ``with original.evaluating():``, which restores the module afterwards."""

    def __init__(self, spec: GraphSpec) -> None:
        self.spec = spec
        self.module = spec.module if isinstance(spec.module, torch.nn.Module) else spec.module()
        if not isinstance(self.module, torch.nn.Module):
            raise SpecError(f"{spec.name}: module: expected a torch.nn.Module, got {type(self.module).__name__}")
        for name, tensor in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if tensor.device.type != "cpu":
                raise SpecError(f"{spec.name}: {name} lies on {tensor.device}: move the module with .cpu()")

    def described_by(self, spec: GraphSpec) -> "Original":
        """The same module under another spec."""
        original = copy.copy(self)
        original.spec = spec
        return original

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        modes = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        try:
            with limit_threads(), torch.no_grad():
                yield
        finally:
            for part, training in modes:
                part.training = training

    def run_example(self) -> dict[str, np.ndarray]:
        """The outputs for the inputs that the spec gives as an example."""
        return self.run({name: to_array(tensor) for name, tensor in self.spec.inputs.items()})

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name. Raises SpecError where the module itself fails on these inputs."""
        tensors = [torch.from_numpy(np.array(inputs[name])) for name in self.spec.inputs]
        try:
            returned = self.module(*tensors)
        except Exception as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise SpecError(
                f"{self.spec.name}: the PyTorch module itself fails on inputs of {shapes} ({type(error).__name__}: "
                f"{error}): mend it, or ask for other batches, lengths or random_inputs"
            ) from error
        leaves = [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, torch.Tensor)]
        if len(leaves) != len(self.spec.outputs):
            raise ExportError(
                f"{self.spec.name}: the module returns {len(leaves)} tensors, but outputs has {len(self.spec.outputs)} "
                f"names ({', '.join(self.spec.outputs)}): name every tensor of forward"
            )
        return {name: to_array(leaf) for name, leaf in zip(self.spec.outputs, leaves, strict=True)}
