"""Runs graphs with BF16 tensors through ONNX Runtime's own values: it exchanges no BF16 with NumPy.

An input is passed as its bits, without a copy; an output is copied once. On a GPU, such a graph runs without buffers at
fixed addresses, so ONNX Runtime copies its tensors at each run.
"""

import ctypes
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from model_store.datatypes import DATATYPES
from model_store.errors import BadGraph
from model_store.graphs import Arrays

_BF16 = DATATYPES["BF16"]
_BF16_NUMBER = 16
"""ONNX's number for BF16, TensorProto.BFLOAT16."""


def needs_values(session: Any) -> bool:
    return any(value.type == _BF16.onnx for value in (*session.get_inputs(), *session.get_outputs()))


class Values:
    """Runs a session through values. ``run`` may be called from several threads at once.

    Raises BadGraph for a graph that takes strings too, because ONNX Runtime cannot make values of them.
    """

    def __init__(self, session: Any, run_options: Any = None) -> None:
        self._session = session
        self._run_options = run_options
        self.output_names: Sequence[str] = [value.name for value in session.get_outputs()]
        """The outputs of a run, in order."""
        texts = [value.name for value in session.get_inputs() if value.type == DATATYPES["BYTES"].onnx]
        if texts:
            raise BadGraph(
                f"input {texts[0]!r} has strings, which ONNX Runtime does not accept together with BF16 tensors"
            )

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Outputs in the order of ``output_names``. Raises whatever ONNX Runtime raises."""
        lent = {name: _lend(array) for name, array in inputs.items()}
        found = self._session.run_with_ort_values(list(self.output_names), lent, self._run_options)
        return [_read(value) for value in found]

    def step(self, inputs: Mapping[str, Any], stay: Collection[str]) -> Sequence[Any]:
        """As ``run``: nothing stays on a device."""
        return self.run(inputs)

    def upload(self, array: np.ndarray) -> Any:
        return array


def _lend(array: np.ndarray) -> Any:
    """A value on an array's own memory. Both must outlive the run."""
    if array.dtype != _BF16.dtype:
        return ort.OrtValue.ortvalue_from_numpy(np.require(array, None, ("C", "A")))
    bits = np.require(array.view(np.uint16), None, ("C", "A"))
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BF16_NUMBER)


def _read(value: Any) -> np.ndarray:
    if value.element_type() != _BF16_NUMBER:
        array: np.ndarray = value.numpy()
        return array
    array = np.empty(value.shape(), _BF16.dtype)
    ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array
