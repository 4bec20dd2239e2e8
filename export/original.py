"""The PyTorch original: the model in evaluation mode, run eagerly on one thread."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from export.calling.arguments import signature_of
from export.calling.call import Call, make_calls
from export.calling.forms import find_model
from export.calling.nesting import Inputs
from export.errors import NotPublished, SpecError
from export.inputs import count_rows, rows_first, take_rows, to_array
from export.spec import BATCH, Arrays, GraphSpec


@contextmanager
def limit_threads(count: int = 1) -> Iterator[None]:
    """Run torch on ``count`` threads, then restore the setting. With one thread, sums always have the same order, and
    no thread spins on shared cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Original:
    """The model of a spec. Use it inside ``with original.evaluating():``, which restores its modules afterwards."""

    def __init__(self, spec: GraphSpec) -> None:
        self.spec = spec
        self.inputs = Inputs.of(spec.inputs)
        if isinstance(spec.module, Call):  # of another original
            self._calls = [spec.module]
        else:
            model = find_model(spec.name, spec.module, tuple(self.inputs.arguments))
            keys = [spec.output_keys.get(name, name) for name in spec.outputs]
            self._calls = make_calls(spec.name, model, self.inputs, keys)
        self._model = self._calls[0].model
        for name, tensor in [*self._calls[0].named_parameters(), *self._calls[0].named_buffers()]:
            if tensor.device.type != "cpu":
                raise SpecError(f"{spec.name}: {name} lies on {tensor.device}: move the module with .cpu()")

    @property
    def module(self) -> torch.nn.Module:
        """The module without its wrappers. If the model is a function, a module that calls it."""
        function = self._model.function
        return function if isinstance(function, torch.nn.Module) else self.call

    @property
    def is_scripted(self) -> bool:
        return self._model.is_scripted

    @property
    def is_exported(self) -> bool:
        return self._model.is_exported

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain module, which can be differentiated."""
        return self.module is self._model.function and not (self.is_scripted or self.is_exported)

    @cached_property
    def call(self) -> Call:
        """The model as a function of the input tensors alone."""
        tensors = list(self.inputs.values())
        for call in self._calls[:-1]:
            try:
                with self.evaluating():
                    call(*tensors)
            except Exception:  # noqa: BLE001, S112  # try the next way
                continue
            return call
        return self._calls[-1]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameter names of ``forward``."""
        return tuple(signature_of(self._model.function).parameters)

    def notes(self) -> Iterator[str]:
        """Notes for the user on how the model is called."""
        if self.call.binding.note:
            yield self.call.binding.note
        if self.inputs.constants:
            fixed = ", ".join(f"{name}={value!r}" for name, value in self.inputs.constants.items())
            yield f"forward is always called with {fixed}"
        if not self.spec.batched and any(self.spec.axes.values()):
            yield f"no axis is called {BATCH!r}, so requests run one at a time"

    def described_by(self, spec: GraphSpec) -> "Original":
        """The same module with another spec."""
        original = copy.copy(self)
        original.spec = spec
        return original

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        modes = [(part, part.training) for part in self._calls[0].modules() if hasattr(part, "training")]
        for module in self._model.modules:
            set_evaluating(module)
        try:
            with limit_threads(), torch.no_grad(), self._model.uncompiled():
                yield
        finally:
            for part, training in modes:
                part.training = training

    @cached_property
    def output_axes(self) -> dict[str, int]:
        """The axis of the rows of each output: the one that grows by one if the inputs get one more row."""
        if not self.spec.batched:
            return {}
        arrays = {name: to_array(tensor) for name, tensor in self.inputs.items()}
        rows = count_rows(self.spec, arrays)
        with self.evaluating():
            before = self.run(arrays)
            after = self.run(take_rows(self.spec, arrays, [*range(rows), 0]))
        return {
            name: axis
            for name in self.spec.outputs
            if (axis := _find_growth(before[name].shape, after[name].shape, rows)) is not None
        }

    def run_example(self) -> dict[str, np.ndarray]:
        """The outputs for the example inputs of the spec."""
        return self.run({name: to_array(tensor) for name, tensor in self.inputs.items()})

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name. Raises SpecError if the module itself fails on these inputs."""
        tensors = [torch.from_numpy(np.array(inputs[name])) for name in self.spec.inputs]
        try:
            returned = self.call(*tensors)
        except NotPublished:
            raise
        except Exception as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            advice = "fix it, or set other batches, lengths or random_inputs"
            if self.is_exported:
                advice = "export the program with dynamic_shapes that leave its axes free, or leave them out of dynamic"
            raise SpecError(
                f"{self.spec.name}: the PyTorch module itself fails on inputs of {shapes} ({type(error).__name__}: "
                f"{error}): {advice}"
            ) from error
        return {name: to_array(tensor) for name, tensor in zip(self.spec.outputs, returned, strict=True)}

    def run_rows(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """As ``run``, with the rows of every output on axis 0."""
        return rows_first(self.output_axes, self.run(inputs))


def set_evaluating(module: torch.nn.Module) -> None:
    """As ``module.eval()``, also for modules that have no mode."""
    try:
        module.eval()
    except (AttributeError, NotImplementedError):  # frozen and exported modules have no mode
        for part in module.children():
            set_evaluating(part)
        if hasattr(module, "training"):
            module.training = False


def _find_growth(before: tuple[int, ...], after: tuple[int, ...], rows: int) -> int | None:
    if len(before) != len(after):
        return None
    axes = range(len(before))
    return next((axis for axis in axes if before[axis] == rows and after[axis] == rows + 1), None)
