"""Finds the tensors that a manifest's tasks name, and checks them. Raises ValueError, which names the field."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from model_store.graph import Graph, Tensor
from model_store.tasks.classes import Classes
from model_store.tasks.detection import Detection, Embedding, Segmentation
from model_store.tasks.generation import Generation
from model_store.tasks.language import Tags, Tokens, Writing
from model_store.tasks.loop import Loop
from model_store.tasks.picture import Image
from model_store.tasks.reading import Reading
from model_store.tasks.reconstruction import Reconstruction
from model_store.tasks.sequences import Forecast, Text
from model_store.tasks.sounds import Sound
from model_store.tasks.tables import Regression, Table

FLOATS = ("FP16", "FP32", "FP64")


class Place(NamedTuple):
    """A tensor of a graph, for messages: ``input 'x' of the graph 'main'``."""

    graph: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of the graph {self.graph!r}"


class Described(Protocol):
    """The parts of a manifest that describe its graphs."""

    @property
    def task(self) -> str: ...
    @property
    def graphs(self) -> Mapping[str, Graph]: ...
    @property
    def graph_golden(self) -> Collection[str]: ...
    @property
    def graph_parity(self) -> Collection[str]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> Classes | None: ...
    @property
    def image(self) -> Image | None: ...
    @property
    def tokens(self) -> Tokens | None: ...
    @property
    def sound(self) -> Sound | None: ...
    @property
    def detection(self) -> Detection | None: ...
    @property
    def segmentation(self) -> Segmentation | None: ...
    @property
    def embedding(self) -> Embedding | None: ...
    @property
    def table(self) -> Table | None: ...
    @property
    def regression(self) -> Regression | None: ...
    @property
    def loop(self) -> Loop | None: ...
    @property
    def forecast(self) -> Forecast | None: ...
    @property
    def text(self) -> Text | None: ...
    @property
    def tags(self) -> Tags | None: ...
    @property
    def writing(self) -> Writing | None: ...
    @property
    def reading(self) -> Reading | None: ...
    @property
    def reconstruction(self) -> Reconstruction | None: ...
    @property
    def generation(self) -> Generation | None: ...


def find(manifest: Described, field: str, place: Place) -> Tensor:
    graph = manifest.graphs.get(place.graph)
    if graph is None:
        raise ValueError(f"{field}: there is no graph {place.graph!r}, only {', '.join(manifest.graphs)}")
    tensors = graph.inputs if place.kind == "input" else graph.outputs
    found = next((t for t in tensors if t.name == place.name), None)
    if found is None:
        have = ", ".join(t.name for t in tensors)
        raise ValueError(f"{field}: there is no {place}, only {have}")
    return found


def expect(
    manifest: Described, field: str, place: Place, datatypes: Sequence[str], axes: Sequence[int | str | None] | None
) -> Tensor:
    """The tensor, checked: it has a batch axis, one of ``datatypes``, and rows of shape ``axes``.

    An element of ``axes`` is a size, "" for a free axis, or None for either. ``axes`` None: any shape.
    """
    tensor = find(manifest, field, place)
    if tensor.batch_axis != 0:
        raise ValueError(f"{field}: {place} needs a batch axis, the first")
    if tensor.datatype not in datatypes:
        raise ValueError(f"{field}: {place}: expected {' or '.join(datatypes)}, got {tensor.datatype}")
    if axes is not None:
        fits = len(axes) == len(tensor.row_shape) and all(
            wanted is None or wanted == got or (wanted == "" and isinstance(got, str))
            for wanted, got in zip(axes, tensor.row_shape, strict=True)
        )
        if not fits:
            shown = [("free" if axis == "" else "any" if axis is None else axis) for axis in axes]
            raise ValueError(f"{field}: {place}: expected rows of {shown}, got {list(tensor.row_shape)}")
    return tensor
