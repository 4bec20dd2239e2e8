"""What a graph takes and gives, as the service finds it in an ONNX file without a manifest."""

from model_store.graph import Graph
from model_store.graphs.batch import apply_analysis
from model_store.rows import analyse
from service.engine.onnx.session import Session
from service.engine.tensors import Signature


def graph_of(content: bytes) -> Graph:
    return apply_analysis(Session(content).describe("model.onnx"), analyse(content))


def signature_of(content: bytes) -> Signature:
    """Without the ranges of values, so that a row can poison a run."""
    graph = graph_of(content)
    unbounded = tuple(t.model_copy(update={"least": None, "largest": None}) for t in graph.inputs)
    return Signature(graph.model_copy(update={"inputs": unbounded}))
