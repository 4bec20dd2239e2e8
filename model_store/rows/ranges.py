"""Which inputs of whole numbers pick from a table, and how long that table is."""

import onnx

_SAME_VALUES = frozenset({"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Expand"})
_WHOLE = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64})
_PLACES = {"Gather": ((0, 1),), "EmbedLayerNormalization": ((2, 0), (4, 1))}
"""For each operator that picks: the place of its table and that of its indices."""


def find_tables(graph: onnx.GraphProto) -> dict[str, int]:
    """The number of entries of the smallest table that each input picks from, with all of its values.

    ONNX's Gather also takes negative indices, which count from the end.
    """
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    inputs = {value.name for value in graph.input if value.type.tensor_type.elem_type in _WHOLE} - sizes.keys()
    source = {name: name for name in inputs}
    tables: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _SAME_VALUES and node.input and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        for table, indices in _PLACES.get(node.op_type, ()):
            if max(table, indices) >= len(node.input) or node.input[indices] not in source:
                continue
            dims = sizes.get(node.input[table])
            if dims:
                axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
                name = source[node.input[indices]]
                tables[name] = min(tables.get(name, dims[axis]), dims[axis])
    return tables
