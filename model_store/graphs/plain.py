"""Plain repositories: reads from the ONNX file, its row analysis and ``config.pbtxt`` what a manifest would say."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Graph, Tensor
from model_store.graphs import Arrays
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import apply_analysis
from model_store.graphs.configuration import Configured, configure_graph, known_sizes
from model_store.graphs.reshape import Reshape
from model_store.graphs.sequences import Sequences
from model_store.graphs.warmups import Sample, read_samples
from model_store.manifest import Manifest
from model_store.plain import PlainModel
from model_store.rows import Analysis
from model_store.rows.graph.nodes import read_inputs
from model_store.rows.graph.weights import strip_weights
from model_store.store import ModelVersion
from model_store.triton import TritonConfig

_SIZE = 8
"""The size of a free axis if no size is known."""
_SAMPLES = 8
_LARGER = 4
"""The factor by which larger made-up inputs exceed the sizes of the others, for a second look at their bits."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a manifest would say about a plain version, and how that is known.

    ``shapes`` is None if callers and graph use the same shapes. ``samples`` are made-up inputs at sizes at which the
    graph ran; None if there are none. ``longer`` are larger ones, which may fail; empty if no size is free.
    ``may_batch`` is False if the configuration forbids batches. ``sequences`` and ``warmups`` come from the
    configuration too.
    """

    manifest: Manifest
    found: Analysis
    shapes: Reshape | None
    samples: Arrays | None
    longer: tuple[Arrays, ...]
    may_batch: bool = True
    sequences: Sequences | None = None
    warmups: tuple[Sample, ...] = ()

    @property
    def graph(self) -> Graph:
        return self.manifest.graphs[MAIN]

    @property
    def candidates(self) -> tuple[Arrays, ...]:
        """Inputs to try the graph with, the best first. All made-up rows differ."""
        made_up = () if self.samples is None else (self.samples,)
        return (*made_up, *(warmup.inputs for warmup in self.warmups))


def describe_plain(
    version: ModelVersion, plain: PlainModel, content: bytes, declared: Graph, config: TritonConfig | None
) -> Described:
    """Describe a version. ``content`` is the ONNX file to run, ``declared`` is ONNX Runtime's description. Raises
    StoreError."""
    declared = mark_any_shape(declared, content)
    found = analyst.analyse(content, plain.external, known_sizes(declared, config) if config else {})
    graph = apply_analysis(declared, found)
    configured = configure_graph(graph, config, version) if config else Configured(graph)
    manifest = Manifest(
        name=version.name,
        task="tensors",
        graphs={MAIN: configured.graph},
        files={plain.file: plain.digest},
        batching=configured.batching,
        output_labels=configured.labels,
    )
    samples = None if found.sizes is None else make_samples(configured.graph, found.sizes, _SAMPLES)
    longer: tuple[Arrays, ...] = ()
    if found.sizes and not found.only_sizes:
        sizes = found.sizes
        others = ({name: _LARGER * size + more for name, size in sizes.items()} for more in (1, 0))
        longer = tuple(make_samples(configured.graph, other, _SAMPLES) for other in others)
    warmups = () if config is None else read_samples(configured.graph, config, configured.sequences, version)
    own = (configured.may_batch, configured.sequences, warmups)
    return Described(manifest, found, configured.reshape, samples, longer, *own)


def mark_any_shape(graph: Graph, content: bytes) -> Graph:
    """The graph with tensors marked that the file declares without a rank. ONNX Runtime reports them as scalars."""
    try:
        declared = strip_weights(content)[0].graph
        given = read_inputs(declared)
    except Exception:  # noqa: BLE001  # the parser raises several types; ONNX Runtime may know the format
        return graph
    unranked = {one.name for one in given if one.axes is None}
    unranked |= {one.name for one in declared.output if not one.type.tensor_type.HasField("shape")}
    if not unranked:
        return graph

    def mark(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(t.model_copy(update={"any_shape": t.name in unranked and not t.shape}) for t in tensors)

    return graph.model_copy(update={"inputs": mark(graph.inputs), "outputs": mark(graph.outputs)})


def make_samples(graph: Graph, sizes: Mapping[str, int], rows: int, seed: int = 0) -> Arrays:
    """``rows`` different made-up rows, at sizes of the free axes at which the graph ran."""
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
        if tensor.batch_axis is not None:  # magnitudes over several decades reveal a shared scale
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
