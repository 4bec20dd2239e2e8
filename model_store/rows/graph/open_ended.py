"""Whether the sizes of the inputs bound the time of a run.

They do not if values decide how often a loop runs, which branch is taken, or how large a tensor becomes. Then earlier
runs tell a server nothing about the next one.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx

from model_store.rows.graph.weights import strip_weights

_BY_VALUES = frozenset({"Loop", "If", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"})
"""Operators, in all domains, that decide at run time how much they do."""
_SIZED_BY: Mapping[str, Sequence[int]] = {
    "Range": (0, 1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Tile": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "Upsample": (1,),
    "Resize": (2, 3),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "MaxUnpool": (2,),
    "AffineGrid": (1,),
    "DFT": (1,),
    "STFT": (1,),
    "BlackmanWindow": (0,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MelWeightMatrix": (0, 1),
}
"""Operators that make more elements than they take, and the inputs that say how many."""
_SIZES = frozenset({"Shape", "Size"})


def find_open_ended(content: bytes) -> str | None:
    """The operator that makes the time of a run depend on values, for messages; None if there is none."""
    try:
        model = strip_weights(content)[0]
    except Exception:  # noqa: BLE001  # the parser raises several types
        return "a file that is not in ONNX's own format"
    for function in model.functions:
        found = _find(function.node, set())
        if found is not None:
            return found
    given = {value.name for value in model.graph.input}  # a caller may replace initializers among these
    return _find(model.graph.node, {tensor.name for tensor in model.graph.initializer} - given)


def _find(nodes: Iterable[onnx.NodeProto], known: set[str]) -> str | None:
    """``known`` are the tensors that only constants and sizes decide; it grows."""
    for node in nodes:
        if node.op_type in _BY_VALUES:
            return str(node.op_type)
        sized_by = _SIZED_BY.get(node.op_type, ())
        if any(at < len(node.input) and node.input[at] not in {"", *known} for at in sized_by):
            return f"{node.op_type} of a size that is a value"
        for attribute in node.attribute:
            if attribute.HasField("g") and (found := _find(attribute.g.node, set(known))) is not None:
                return found
        if node.op_type in _SIZES or all(name in known for name in node.input if name):
            known.update(node.output)
    return None
