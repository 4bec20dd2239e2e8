"""What a model keeps between the requests of a sequence, and what the server puts into each of them.

A manifest with a loop says it by what the loop carries, a Triton configuration by ``sequence_batching``.
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
    """``is_required``: the model answers requests of sequences only, and callers cannot send what the server keeps."""

    facts: Sequences
    is_required: bool = False

    def check(self, inputs: Arrays, signature: Signature) -> None:
        """What a caller sends of a request. Raises InvalidInput, also for more than one row."""
        if self.is_required:
            signature.check_public_names(inputs)
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
                raise InvalidInput(f"input {each.input!r}: expected it where the sequence starts, for its size is open")
            state[each.input] = initial
        return state

    def fill(self, step: SequenceStep) -> Arrays:
        """The inputs that the server fills of a request. Raises InvalidInput."""
        return {control.input: _fill(control, step) for control in self.facts.controls}

    def go_on(self, taken: Arrays, outputs: Arrays) -> Arrays:
        """The state after a request: copies, for these are views of a batch and of a request's body."""
        states = self.facts.states
        return {state.input: (outputs[state.output] if state.output else taken[state.input]).copy() for state in states}

    @staticmethod
    def check_rows(inputs: Arrays, signature: Signature) -> Rows:
        """Checked inputs of a whole request. One with other than one row is a run of its own. Raises InvalidInput."""
        rows = signature.check(inputs, may_be_empty=True)
        if rows.whole or all(
            axis is None or inputs[name].shape[axis] == 1 for name, axis in signature.axes.items() if name in inputs
        ):
            return rows
        return Rows(rows.inputs, 1, object(), whole=True)


def _fill(control: Flag | Id, step: SequenceStep) -> np.ndarray:
    """Raises InvalidInput for an id that is a text where the model takes a number, and the other way round."""
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
    """Whether the axis of the rows is as long as it must be, where shapes are whole and that is fixed."""
    axis = tensor.batch_axis
    if axis is None or array.ndim <= axis or not isinstance(tensor.shape[axis], int):
        return True
    return bool(array.shape[axis] == tensor.shape[axis])


def read_loop(manifest: Manifest) -> SequenceRules | None:
    """What a model with a loop carries between requests."""
    if manifest.loop is None:
        return None
    tensors = {tensor.name: tensor for tensor in manifest.graphs[MAIN].inputs}

    def begin(name: str) -> np.ndarray | None:
        return zeros_of(tensors[name])[None] if tensors[name].has_fixed_rows else None

    return SequenceRules(Sequences([State(c.input, c.output, begin(c.input)) for c in manifest.loop.carries]))
