"""Inlines the functions of an ONNX model."""

import onnx
from onnx import inliner

from model_store.rows.graph.inner import every_node
from model_store.rows.graph.nodes import OWN_DOMAINS

_MORE_DOMAINS = ("ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
_OPERATOR_DOMAINS = frozenset((*OWN_DOMAINS, *_MORE_DOMAINS))
"""Domains of ONNX Runtime's operators."""


def write_out_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of its functions in place of their calls.

    A function in a domain of operators is kept, because ONNX Runtime prefers an operator of the same name.
    """
    _write_out_defaults(model)
    kept = [function for function in model.functions if function.domain in _OPERATOR_DOMAINS]
    others = [function for function in model.functions if function.domain not in _OPERATOR_DOMAINS]
    del model.functions[:]
    model.functions.extend(others)
    model = inliner.inline_local_functions(model)
    model.functions.extend(kept)
    return model


def _write_out_defaults(model: onnx.ModelProto) -> None:
    """Add the attributes that calls leave out, because the inliner loses their defaults."""
    defaults = {(f.domain, f.name): f.attribute_proto for f in model.functions if f.attribute_proto}
    for graph in (model.graph, *model.functions):
        for node in every_node(graph.node):
            given = {attribute.name for attribute in node.attribute}
            missing = [a for a in defaults.get((node.domain, node.op_type), ()) if a.name not in given]
            node.attribute.extend(missing)
