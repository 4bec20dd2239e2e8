"""Golden samples: stored inputs of a graph, and the outputs that they must give within a tolerance.

A tolerance must be less than half of an output's largest magnitude in the samples. Otherwise zeros, or the output with
the opposite sign, would pass. An output of zeros counts as having the magnitude 1. The exporter's own tolerances are
far smaller: 1e-3 for float32, a tenth for weights of eight bits. Texts must be equal.
"""

import io
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES, datatype_of
from model_store.errors import BadManifest, IntegrityError, escape, first_line
from model_store.manifest import Golden
from model_store.tasks import Classes

_MOST_OF_MAGNITUDE = 0.5
_ATOL = 1e-3
_SUM_TOL = 1e-3
"""How far the sum of a row's probabilities may be from 1; ten times as far for 16 bits, which are rounded more."""

_READING = threading.Lock()
"""NumPy reads the header of an array by ``ast.literal_eval``, which may fail in Python 3.11 if two threads use it."""

_SCORES = (
    "if these are scores, say so by Classes(logits=...), or by --activation softmax of an import, and probabilities "
    "are added"
)


@dataclass(frozen=True, slots=True)
class GoldenSamples:
    """Inputs of a graph, and its outputs for them at export. Axis 0 is the batch, if there is one."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """The content of a .npz file. Raises BadManifest for a text that it cannot hold."""
        arrays = {f"in.{k}": v for k, v in self.inputs.items()} | {f"out.{k}": v for k, v in self.outputs.items()}
        arrays = {name: _as_stored(name, array) for name, array in arrays.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the arrays for allow_pickle
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "GoldenSamples":
        """Read stored samples. Raises IntegrityError if the content is not a file of arrays."""
        try:
            with _READING, np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                named = {name: _as_served(arrays[name]) for name in arrays.files}
        except Exception as error:  # noqa: BLE001  # NumPy, zipfile and tokenize raise more than a dozen kinds
            why = escape(first_line(error))
            raise IntegrityError(f"golden samples: expected NumPy's .npz: {why:.200}") from None
        return cls(
            {k.removeprefix("in."): v for k, v in named.items() if k.startswith("in.")},
            {k.removeprefix("out."): v for k, v in named.items() if k.startswith("out.")},
        )


def check_tolerance(facts: Golden, samples: GoldenSamples) -> None:
    """Raise BadManifest if the tolerance would let wrong outputs pass; see the docstring of the module."""
    for name, expected in samples.outputs.items():
        if datatype_of(expected).kind not in "fiu" or not expected.size:
            continue
        magnitude = measure_magnitude(expected)
        allowed = facts.atol + facts.rtol * magnitude
        if not allowed < _MOST_OF_MAGNITUDE * (magnitude or 1.0):
            raise BadManifest(
                f"golden samples: atol {facts.atol:g} and rtol {facts.rtol:g} let output {name!r} differ by "
                f"{allowed:.3g}, but its largest magnitude is {magnitude:.3g}, so they prove nothing: expected less "
                "than half of the magnitude; publish it again with smaller tolerances"
            )


def default_atol(outputs: Mapping[str, np.ndarray]) -> float:
    """1e-3, or a hundredth of the smallest magnitude of an output if that is less."""
    magnitudes = (measure_magnitude(array) for array in outputs.values() if datatype_of(array).kind == "f")
    return min(_ATOL, min((magnitude for magnitude in magnitudes if magnitude), default=math.inf) / 100)


def find_no_probability(classes: Classes, outputs: Mapping[str, np.ndarray], atol: float) -> str:
    """Why an output does not hold probabilities, and what to do; "" if it does.

    ``atol``: the allowed error of an element, which matters for versions of low precision.
    """
    values = outputs.get(classes.probabilities)
    if values is None or not values.size:
        return ""
    allowed = max(atol, _SUM_TOL * (10 if values.dtype.itemsize == 2 else 1))
    values = values.astype(np.float64)
    where = f"output {classes.probabilities!r}, which classes.probabilities names"
    outside = ~((values >= -allowed) & (values <= 1 + allowed))  # negated, so that NaN is outside too
    if outside.any():
        at = np.argwhere(outside)[0]
        value = values[tuple(at)]
        advice = _SCORES if math.isfinite(value) else "look for what makes it in the model, or give other samples"
        return f"{where}, is {value:.6g} in row {at[0]} of the samples: expected 0 to 1; {advice}"
    if classes.multi_label or values.ndim < 2:
        return ""
    sums = values.sum(axis=-1)
    place = np.unravel_index(int(np.abs(sums - 1).argmax()), sums.shape)
    if abs(sums[place] - 1) <= allowed:
        return ""
    return (
        f"{where}, sums to {sums[place]:.6g} in row {place[0]} of the samples: expected 1, within {allowed:g}: set "
        f"Classes(multi_label=True), or --multi-label of an import, if a row may have several labels; {_SCORES}"
    )


def measure_magnitude(array: np.ndarray) -> float:
    """The largest finite magnitude, or 0 if there is none."""
    values = array.astype(np.float64)
    magnitude = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return magnitude if math.isfinite(magnitude) else 0.0


def _as_stored(name: str, array: np.ndarray) -> np.ndarray:
    """Texts as Unicode of fixed width, because objects would be pickled. NumPy drops NUL at the end of such texts."""
    if datatype_of(array).name != "BYTES":
        return array
    try:
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise BadManifest(f"golden samples: {name}: expected texts in UTF-8: {error}") from None
    ends = next((text for text in texts if text.endswith("\0")), None)
    if ends is not None:
        raise BadManifest(f"golden samples: {name}: {ends!r:.60} ends with NUL, which NumPy's .npz cannot hold")
    return np.array(texts, np.str_).reshape(array.shape)


def _as_served(array: np.ndarray) -> np.ndarray:
    """The array as the server uses it. NumPy stores BF16, and no other datatype, as two bytes without a type."""
    if array.dtype.kind == "U":
        return array.astype(object)
    return array.view(DATATYPES["BF16"].dtype) if array.dtype == "V2" else array
