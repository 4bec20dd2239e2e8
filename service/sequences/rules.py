"""The state that a model keeps between the requests of a sequence, and the inputs that the server fills in.

They come from the loop of a manifest, or from ``sequence_batching`` of a Triton configuration.
"""

from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Tensor
from model_store.graphs.sequences import Flag, Id, Sequences, State
from model_store.manifest import Manifest
from service.codecs.series import zeros_of
from service.engine.tensors import Arrays, Rows, Signature, show_shape
from service.errors import InvalidInput
from service.protocol.infer_request import SequenceStep


@dataclass(frozen=True)
class SequenceRules:
    """The rules of a model. ``is_required``: each request must belong to a sequence, and must not send the state."""

    facts: Sequences
    is_required: bool = False

    def check(self, inputs: Arrays, signature: Signature) -> None:
        """Check the inputs that a caller has sent. Raises InvalidInput, also for more than one row."""
        if self.is_required:
            signature.check_names(inputs, signature.public_inputs)
        for name, array in inputs.items():
            tensor = signature.inputs.get(name)
            if self.facts.takes_rows:
                if array.shape[:1] != (1,):
                    shape = list(array.shape)
                    raise InvalidInput(f"input {name!r}: a sequence takes one row a request, got shape {shape}")
            elif tensor is not None and not _has_declared_rows(array, tensor):
                raise InvalidInput(
                    f"input {name!r}: expected shape {show_shape(tensor.shape)}, got {list(array.shape)}"
                )

    def begin(self, inputs: Arrays) -> Arrays:
        """The state of a new sequence whose first request has these inputs. Raises InvalidInput."""
        state = {}
        for each in self.facts.states:
            initial = inputs.get(each.input, each.initial)
            if initial is None:
                expected = "expected it in the first request of a sequence, because its size is open"
                raise InvalidInput(f"input {each.input!r}: {expected}")
            state[each.input] = initial
        return state

    def fill(self, step: SequenceStep) -> Arrays:
        """The inputs that the server fills in. Raises InvalidInput."""
        return {control.input: _fill(control, step) for control in self.facts.controls}

    def go_on(self, taken: Arrays, outputs: Arrays) -> Arrays:
        """The state after a request. It is a copy, because the arrays are views of a batch or a body."""
        states = self.facts.states
        return {state.input: (outputs[state.output] if state.output else taken[state.input]).copy() for state in states}

    @staticmethod
    def check_rows(inputs: Arrays, signature: Signature) -> Rows:
        """Check all inputs of a request. If it does not have exactly one row, it runs alone. Raises InvalidInput."""
        rows = signature.check(inputs, may_be_empty=True)
        if rows.whole or all(
            axis is None or inputs[name].shape[axis] == 1 for name, axis in signature.axes.items() if name in inputs
        ):
            return rows
        return Rows(rows.inputs, 1, object(), whole=True)


def _fill(control: Flag | Id, step: SequenceStep) -> np.ndarray:
    """The value of an input that the server fills in. Raises InvalidInput for an id of the wrong type."""
    if isinstance(control, Flag):
        holds = {"START": step.starts, "END": step.ends}.get(control.kind, True)
        return control.true if holds else control.false
    takes_text = control.datatype == "BYTES"
    if isinstance(step.id, str) != takes_text:
        expected = "a text" if takes_text else "a number"
        raise InvalidInput(f"sequence_id: expected {expected}, which the model takes, got {step.id!r:.60}")
    if isinstance(step.id, str):
        return np.full(control.shape, step.id, object)
    return np.full(control.shape, step.id, np.uint64).astype(DATATYPES[control.datatype].dtype)


def _has_declared_rows(array: np.ndarray, tensor: Tensor) -> bool:
    """Whether there are as many rows as the model declares; True if it leaves the number open."""
    axis = tensor.batch_axis
    if axis is None or array.ndim <= axis or not isinstance(tensor.shape[axis], int):
        return True
    return bool(array.shape[axis] == tensor.shape[axis])


def read_loop(manifest: Manifest) -> SequenceRules | None:
    """The rules of a model with a loop; None for others."""
    if manifest.loop is None:
        return None
    zeros = {tensor.name: zeros_of(tensor)[None] for tensor in manifest.graphs[MAIN].inputs if tensor.has_fixed_rows}
    return SequenceRules(Sequences([State(c.input, c.output, zeros.get(c.input)) for c in manifest.loop.carries]))
