"""Small manifests."""

from pathlib import Path

import onnxruntime as ort

from model_store import Manifest, Store
from model_store.datatypes import BY_ONNX
from model_store.graph import Graph, Tensor

X = Tensor(name="x", datatype="FP32", shape=("batch", 1), batch_axis=0)
GRAPH = Graph(file="main.onnx", inputs=(X,), outputs=(X.model_copy(update={"name": "y"}),))


def describe(**fields: object) -> Manifest:
    """A manifest of the model ``m`` with one graph; ``fields`` replace its own."""
    return Manifest.model_validate({"name": "m", "task": "tensors", "graphs": {"main": GRAPH}} | fields)


def publish_each(root: Path, *contents: bytes) -> Store:
    """A store with a version of the model ``m`` for each of these contents of its graph."""
    store = Store(root)
    for content in contents:
        store.publish(describe(), {"main.onnx": content})
    return store


def describe_graph(session: ort.InferenceSession, file: str = "main.onnx") -> Graph:
    """The graph of a session; the batch is axis 0 of all its tensors."""

    def describe(found: ort.NodeArg) -> Tensor:
        return Tensor(name=found.name, datatype=BY_ONNX[found.type].name, shape=tuple(found.shape), batch_axis=0)

    inputs, outputs = (tuple(map(describe, found)) for found in (session.get_inputs(), session.get_outputs()))
    return Graph(file=file, inputs=inputs, outputs=outputs)


def describe_pipeline(name: str, *steps: tuple[str, str | None]) -> Manifest:
    """A pipeline of embedding models one after the other; each step is a model, and a version or alias of it."""
    named = {
        f"s{number}": {"model": model, "version": version, "task": "embed", "input": "request"}
        for number, (model, version) in enumerate(steps)
    }
    pipeline = {"steps": named, "outputs": {"vector": "s0.embedding"}}
    return Manifest.model_validate({"name": name, "task": "pipeline", "pipeline": pipeline})
