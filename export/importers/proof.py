"""Runs a graph row by row, and proves a changed graph: its results must equal those of the original and of NumPy."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from export.errors import ExportError, ParityError
from export.importers.changes.change import Arrays, Change, InputChange, apply_all, sorts
from export.importers.changes.shapes import FreeSizes
from export.importers.rounding import LIMIT, measure_errors
from export.importers.sources.source import OnnxModel
from model_store.errors import StoreError, first_line
from model_store.graph import Graph
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import make_samples
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.manifest import Parity, ParityCase
from model_store.tasks import Image

_LIMITS = {np.dtype(np.float16): 1e-2, np.dtype(np.float64): 1e-6}
_ROWS = 8
_SIDES = (64, 96)
"""Height and width of made-up pictures, if any are taken."""


class RowRunner:
    """A graph on ONNX Runtime, one row a run. If the graph has a larger fixed batch, it is filled with the same row.

    Raises ExportError if ONNX Runtime cannot load the graph.
    """

    def __init__(self, name: str, content: bytes, external: Mapping[str, bytes]) -> None:
        self.name = name
        try:
            self._session = CpuSession(with_available_locale(content), external)
            self.graph: Graph = describe_session(self._session.raw, "model.onnx")
        except StoreError as error:
            raise ExportError(f"{name}: the changed graph does not load: {error}") from error

    def run(self, inputs: Arrays, row: int) -> dict[str, np.ndarray]:
        """The outputs for one row of the inputs. Raises ExportError if the graph fails on it."""
        given = [tensor for tensor in self.graph.inputs if tensor.shape and not tensor.optional]
        fixed = {tensor.name: tensor.shape[0] for tensor in given if isinstance(tensor.shape[0], int)}
        one = {name: np.repeat(array[row : row + 1], fixed.get(name, 1), 0) for name, array in inputs.items()}
        try:
            outputs = dict(zip(self._session.output_names, self._session.run(one), strict=True))
        except Exception as error:  # ONNX Runtime raises many types
            shapes = {name: array.shape for name, array in one.items()}
            raise ExportError(
                f"{self.name}: ONNX Runtime fails on a row of {shapes} ({first_line(error)}): give --samples that the "
                "model accepts"
            ) from error
        size = max(fixed.values(), default=1)
        return {name: array[:1] if size > 1 and len(array) == size else array for name, array in outputs.items()}


def count_rows(inputs: Arrays) -> int:
    return min(len(array) for array in inputs.values())


def prove_changes(
    name: str, model: OnnxModel, changed: bytes, changes: Sequence[Change], inputs: Arrays, origin: str
) -> Parity:
    """Compare the changed graph, on up to eight rows, with the original whose outputs NumPy changes.

    Before a change that sorts, the graph with the changes so far replaces the original, because a rounding error may
    exchange two candidates. ``origin`` says where the rows come from. Raises ParityError, which names the output and
    the difference.
    """
    cuts = [place for place, change in enumerate(changes) if sorts(change) and place > 0]
    steps = [
        (RowRunner(name, apply_all(model.content, changes[:stop]), model.external), changes[start:stop])
        for start, stop in pairwise((0, *cuts))
    ]
    steps.append((RowRunner(name, changed, model.external), changes[cuts[-1] if cuts else 0 :]))
    original = model.original or _run_file(name, model, changes)
    cases = []
    for row in range(min(_ROWS, count_rows(inputs))):
        one = {key: array[row : row + 1] for key, array in inputs.items()}
        given = _restore(one, changes)
        expected = dict(original(given))
        worst = [0.0, 0.0]
        done = 0
        for runner, made in steps:
            for change in made:
                expected = change.expect(one, expected)
            done += len(made)
            got = runner.run(_restore(one, changes[done:]), 0)
            worst = np.maximum(worst, _compare(name, expected, got, row, model.scales)).tolist()
            expected = got
        cases.append(ParityCase(rows=1, seed=0, inputs=origin, max_abs_error=worst[0], max_rel_error=worst[1]))
    return Parity(atol=0.0, rtol=0.0, scale_tol=LIMIT, rungs=tuple(cases))


def _run_file(name: str, model: OnnxModel, changes: Sequence[Change]) -> Callable[[Arrays], Arrays]:
    """A function that runs the file's graph on one row, also of other sizes if the changes free them."""
    freed = apply_all(model.content, [change for change in changes if isinstance(change, FreeSizes)])
    runner = RowRunner(name, freed, model.external)
    return lambda inputs: runner.run(inputs, 0)


def _restore(inputs: Arrays, changes: Sequence[Change]) -> Arrays:
    """The inputs before these changes, from the inputs after them."""
    for change in changes:
        inputs = change.restore(inputs) if isinstance(change, InputChange) else inputs
    return inputs


def _compare(name: str, expected: Arrays, got: Arrays, row: int, scales: Mapping[str, float]) -> tuple[float, float]:
    """The largest difference over all outputs, absolute and relative. Raises ParityError."""
    largest, relative = 0.0, 0.0
    for output, wanted in expected.items():
        if output not in got:
            raise ParityError(f"{name}: the changed graph has no output {output!r}", f"row {row}")
        found = got[output]
        where = f"{name}: output {output!r} of the changed graph, row {row} of the samples"
        if found.shape != wanted.shape:
            raise ParityError(f"{where}: expected the shape {wanted.shape}, got {found.shape}", f"row {row}")
        if wanted.dtype.kind not in "fc":
            if not np.array_equal(found, wanted):
                raise ParityError(f"{where}: expected {_first(wanted, found)}", f"row {row}")
            continue
        error, share = _differ(wanted.astype(np.float64), found.astype(np.float64), scales.get(output, 0.0))
        limit = _LIMITS.get(wanted.dtype, LIMIT)
        if not share <= limit:
            raise ParityError(
                f"{where}: differs from the original by {error:.3g}, {share:.2g} of its largest magnitude: expected at "
                f"most {limit:g}",
                f"row {row}",
            )
        largest, relative = max(largest, error), max(relative, share)
    return largest, relative


def _differ(wanted: np.ndarray, found: np.ndarray, scale: float) -> tuple[float, float]:
    error = float(measure_errors(wanted, found).max(initial=0.0))
    finite = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
    return error, 0.0 if error == 0 else error / max(float(finite), scale, 1e-30)


def _first(wanted: np.ndarray, found: np.ndarray) -> str:
    at = tuple(int(i) for i in np.argwhere(wanted != found)[0])
    return f"{wanted[at]} at {list(at)}, got {found[at]}"


def make_rows(graph: Graph, image: Image | None, rows: int = _ROWS) -> dict[str, np.ndarray]:
    """Made-up rows: noise over the levels of a picture, or numbers over several decades."""
    placed = graph.model_copy(
        update={"inputs": tuple(t.model_copy(update={"batch_axis": 0 if t.shape else None}) for t in graph.inputs)}
    )
    made = dict(make_samples(placed, {}, rows))
    if image is None or image.input not in made:
        return made
    draw = np.random.default_rng(0)
    shape = next(tensor.shape for tensor in graph.inputs if tensor.name == image.input)
    declared = shape[2:] if image.layout == "NCHW" else shape[1:3]
    height, width = (
        side if isinstance(side, int) else said or _make_multiple(usual, image.multiple)
        for side, said, usual in zip(declared, (image.height, image.width), _SIDES, strict=True)
    )
    size = (image.channels, height, width) if image.layout == "NCHW" else (height, width, image.channels)
    levels = draw.integers(0, 256, (rows, *size))
    # Some pictures have less contrast, because pure noise always has the same mean.
    dimmed = (levels * np.linspace(0.2, 1, rows).reshape(-1, 1, 1, 1)).round()
    values = dimmed * image.spread(image.scale) + image.spread(image.offset)
    return {**made, image.input: values.astype(made[image.input].dtype)}


def _make_multiple(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
