"""A plain repository: what a manifest would say is read from the ONNX file, its row analysis and ``config.pbtxt``."""

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.manifest import AxisRange, Graph, Rows, Tensor
from model_store.rows import Analysis, AnalystProcess, analyse, is_risky
from model_store.rows.fingerprint import fingerprint
from model_store.rows.nodes import read_inputs
from model_store.rows.weights import strip_weights
from service.engine.tensors import Arrays

_MOST_KNOWN = 1024
"""Graphs whose analysis is remembered."""
_SIZE = 8
"""Of a free axis of which no size is known."""


class Analyst:
    """Analyses graphs here, and those that may end the process in another, which ends when nobody holds it."""

    def __init__(self) -> None:
        self._process = AnalystProcess()
        self._lock = threading.Lock()
        self._holders = 0
        self._known: dict[Hashable, Analysis] = {}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the other process, once it is started, for a further graph."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._process.close()

    def analyse(self, content: bytes, external: Mapping[str, bytes], hint: Mapping[str, int]) -> Analysis:
        """As ``model_store.rows.analyse``, once for all graphs that differ in their weights only."""
        try:
            digest, risky = fingerprint(content), is_risky(content)
        except Exception:  # noqa: BLE001  # the parser raises several types; the analysis says what is wrong
            return analyse(content, external)
        key = None if digest is None else (digest, *sorted(hint.items()))
        with self._lock:
            known = self._known.get(key) if key is not None else None
        if known is not None:
            return known
        ask = self._process.analyse if risky else analyse
        found = ask(content, external, hints=[hint] if hint else [])
        if key is not None:
            with self._lock:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = found
        return found


analyst = Analyst()
"""Of this process."""


def apply_analysis(graph: Graph, found: Analysis) -> Graph:
    """The graph with its batch, where that is proved, and with the ranges that it implies."""
    proved = found.rows == "proved"
    return graph.model_copy(
        update={
            "inputs": tuple(_limit(_place(tensor, found, proved), found) for tensor in graph.inputs),
            "outputs": tuple(_place(tensor, found, proved) for tensor in graph.outputs),
            "axis_ranges": _ranges(found),
            "proved_sizes": dict(found.sizes or {}) if proved and found.only_sizes else {},
            "rows": Rows(verdict=found.rows, reason=found.reason),
        }
    )


def mark_any_shape(graph: Graph, content: bytes) -> Graph:
    """The graph with tensors marked that the file declares without a rank: ONNX Runtime tells them as scalars."""
    declared = strip_weights(content)[0].graph
    unranked = {given.name for given in read_inputs(declared) if given.axes is None}
    unranked |= {given.name for given in declared.output if not given.type.tensor_type.HasField("shape")}
    if not unranked:
        return graph

    def mark(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(t.model_copy(update={"any_shape": t.name in unranked and not t.shape}) for t in tensors)

    return graph.model_copy(update={"inputs": mark(graph.inputs), "outputs": mark(graph.outputs)})


def batch_anyway(graph: Graph, found: Analysis) -> Graph | None:
    """The graph with the batch that was measured and not proved; None where there is none to see."""
    outputs = {tensor.name for tensor in graph.outputs}
    if found.rows != "unknown" or not outputs <= found.axes.keys():
        return None
    return graph.model_copy(
        update={
            "inputs": tuple(_place(tensor, found, True) for tensor in graph.inputs),
            "outputs": tuple(_place(tensor, found, True) for tensor in graph.outputs),
        }
    )


def _place(tensor: Tensor, found: Analysis, proved: bool) -> Tensor:
    axis = found.axes.get(tensor.name) if proved else None
    return tensor.model_copy(update={"batch_axis": axis})


def _limit(tensor: Tensor, found: Analysis) -> Tensor:
    """ONNX counts negative indices from the end of a table, so these are inside of it too."""
    size = found.tables.get(tensor.name)
    return tensor if size is None else tensor.model_copy(update={"least": -size, "largest": size - 1})


def _ranges(found: Analysis) -> dict[str, AxisRange]:
    names = {*found.least, *found.bounds}
    return {name: AxisRange(least=found.least.get(name), largest=found.bounds.get(name)) for name in names}


def make_samples(graph: Graph, sizes: Mapping[str, int], rows: int, seed: int = 0) -> Arrays:
    """``rows`` different rows for a graph without stored samples, at sizes of its free axes at which it has run."""
    draw = np.random.default_rng(seed)
    return {tensor.name: _fill(tensor, sizes, rows, draw) for tensor in graph.inputs if not tensor.optional}


def _fill(tensor: Tensor, sizes: Mapping[str, int], rows: int, draw: np.random.Generator) -> np.ndarray:
    shape = [
        rows if axis == tensor.batch_axis else size if isinstance(size, int) else sizes.get(size, _SIZE)
        for axis, size in enumerate(tensor.shape)
    ]
    datatype = DATATYPES[tensor.datatype]
    if datatype.is_float:
        values = draw.standard_normal(shape)
        if tensor.batch_axis is not None:  # magnitudes over several decades, so that a common scale shows
            scales = np.logspace(-1, 1, rows).reshape([-1 if a == tensor.batch_axis else 1 for a in range(len(shape))])
            values = values * scales
        return values.astype(datatype.dtype)
    if not datatype.itemsize:
        return np.full(shape, "1", object)  # a text that is also a number
    if datatype.kind == "b":
        return np.ones(shape, bool)
    if tensor.largest is not None:
        return draw.integers(0, tensor.largest + 1, shape).astype(datatype.dtype)
    return np.ones(shape, datatype.dtype)


def describe_verdict(found: Rows) -> str:
    """For the log: the verdict and its reason."""
    return f"{found.verdict} ({found.reason})" if found.reason else str(found.verdict)
