"""Measures how the memory of a run depends on the size of a row, by the process's peak for larger and larger rows."""

import re
import time
from pathlib import Path

import numpy as np

from export.errors import ExportError, SpecError
from export.inputs import make_random
from export.onnx.weights import Files
from export.runtime import Runtime
from export.spec import BATCH, GraphSpec
from model_store.graph import RunBytes, fit

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_MOST_BYTES = 256 << 20
_LONGEST_S = 1.0
"""After a run that took longer, no larger row is tried."""
_LARGEST_FACTOR = 256
_POINTS = 3
_LEAST_SHARE = 0.1
"""A quadratic term below this share of the largest run is measurement noise."""


def measure_run_bytes(spec: GraphSpec, files: Files) -> RunBytes | None:
    """The memory of a row, if rows may have any size. None for fixed sizes, or if the system does not report it."""
    if set(spec.example_sizes) <= {BATCH} or not _reset_peak():
        return None
    runtime = Runtime(files.content, files.external)
    points: list[tuple[float, float]] = []
    factor = 1
    while factor <= _LARGEST_FACTOR:
        sizes = {name: 1 if name == BATCH else size * factor for name, size in spec.example_sizes.items()}
        try:
            inputs = make_random(spec, sizes, 0)
            run_bytes, seconds = _measure(runtime, inputs)
        except (ExportError, SpecError):  # it does not accept rows of that size
            break
        points.append((float(sum(array.size for array in inputs.values())), run_bytes))
        if run_bytes > _MOST_BYTES or seconds > _LONGEST_S:
            break
        factor *= 2
    terms = fit(points[-_POINTS:])
    if terms is None:
        return None
    elements, run_bytes = points[-1]
    if terms[2] * elements**2 < _LEAST_SHARE * run_bytes:
        terms = fit(points[-2:]) or terms
    return RunBytes(fixed=terms[0], linear=terms[1], square=terms[2])


def _measure(runtime: Runtime, inputs: dict[str, np.ndarray]) -> tuple[float, float]:
    """Bytes that a run takes, inputs and outputs included, and its seconds."""
    _reset_peak()
    before, began = _read("VmRSS"), time.perf_counter()
    runtime.run_and_release(inputs)
    seconds = time.perf_counter() - began
    return float(_read("VmHWM") - before + sum(array.nbytes for array in inputs.values())), seconds


def _read(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    return int(found[1]) << 10 if found else 0


def _reset_peak() -> bool:
    """Restart Linux's count of the peak. False if there is none."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True
