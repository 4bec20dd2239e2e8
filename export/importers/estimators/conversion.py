"""Converts an estimator by skl2onnx, and brings the outputs of its graph into the form of ``answers.py``.

The changes are standard operators of ONNX and ai.onnx.ml. The result is compared with the estimator itself, so nothing
here needs to be trusted.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.errors import ExportError
from export.importers.changes.change import add_constant, add_node, rename_tensor
from export.importers.estimators.answers import PROBABILITIES, SCORE, VALUES, Answers
from export.importers.estimators.columns import Features, walk
from export.importers.rows.tables import is_missing
from model_store.errors import first_line

OPSETS = {"": 21, "ai.onnx.ml": 3}
_ML = "ai.onnx.ml"
_WORDS = r"[\p{L}\p{N}_]{2,}"
"""Words as scikit-learn splits them. skl2onnx knows only ASCII letters, and also takes words of one letter."""


def convert(estimator: Any, features: Features, answers: Answers, path: Path) -> bytes:
    """The graph, with the outputs that ``Answers.ask`` gives. Raises ExportError."""
    try:
        import skl2onnx
    except ImportError:
        raise ExportError(f"{path}: importing it needs skl2onnx: pip install skl2onnx") from None
    types = {"FP32": "FloatTensorType", "FP64": "DoubleTensorType", "INT64": "Int64TensorType"}
    kinds = skl2onnx.common.data_types
    names = features.names if features.are_apart else [tensor.name for tensor in features.list_inputs()]
    initial = [  # named as the columns, by which a ColumnTransformer finds them
        (name, getattr(kinds, types.get(tensor.datatype, "StringTensorType"))([None, tensor.shape[1]]))
        for name, tensor in zip(names, features.list_inputs(), strict=True)
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _to_onnx(skl2onnx.to_onnx, _prepare(estimator), initial, answers)
        for given, tensor in zip(model.graph.input, features.list_inputs(), strict=True):
            rename_tensor(model.graph, given.name, tensor.name)
            given.name = tensor.name
        _shape_outputs(model, answers, path)
    except ExportError:
        raise
    except Exception as error:  # converters raise many types
        raise ExportError(
            f"{path}: skl2onnx cannot convert {type(estimator).__name__} ({type(error).__name__}: "
            f"{first_line(error)}): see https://onnx.ai/sklearn-onnx/supported.html for what it converts"
        ) from error
    content: bytes = model.SerializeToString()
    return content


def _to_onnx(to_onnx: Any, estimator: Any, initial: Any, answers: Answers) -> onnx.ModelProto:
    """The graph, with probabilities as a tensor. Which options there are depends on the estimator."""
    tensors = {"zipmap": False} if answers.kind in ("probabilities", "several") else {}
    words = {id(part): {"tokenexp": _WORDS} for part in walk(estimator) if _has_usual_words(part)}
    last_step = estimator
    while getattr(last_step, "steps", None):
        last_step = last_step.steps[-1][1]
    last: Exception | None = None
    for own in (tensors, {"output_class_labels": False}, {}):
        options = {**words, id(last_step): own} if own else words
        try:
            model: onnx.ModelProto = to_onnx(estimator, initial_types=initial, target_opset=OPSETS, options=options)
            return model
        except (NameError, RuntimeError) as error:  # it has no such option, or fails without it too
            last = last or error
    assert last is not None  # noqa: S101  # three were tried
    raise last


def _has_usual_words(part: Any) -> bool:
    """Whether it splits texts as vectorizers do by default: into words of two letters or more."""
    return getattr(part, "token_pattern", None) == r"(?u)\b\w\w+\b" and part.analyzer == "word" and not part.tokenizer


def _prepare(estimator: Any) -> Any:
    """A copy with the same answers that can be converted. A missing text becomes the empty text, because graphs have
    no other way to express it; results in forms that ONNX lacks, such as sparse ones, become dense."""
    prepared = copy.deepcopy(estimator)
    for part in walk(prepared):
        fills = getattr(part, "statistics_", None)
        if fills is not None and np.asarray(fills).dtype == object and hasattr(part, "missing_values"):
            part.missing_values = "" if is_missing(part.missing_values) else part.missing_values
        if hasattr(part, "categories_") and hasattr(part, "drop_idx_"):
            part.categories_ = [_name_missing(np.asarray(each)) for each in part.categories_]
        if getattr(part, "handle_unknown", "") == "error" and hasattr(part, "drop_idx_"):
            part.handle_unknown = "ignore"  # a graph that fails would fail a whole batch; the server refuses the value
        if hasattr(part, "flatten_transform"):
            part.flatten_transform = False
        if getattr(part, "encode", None) == "onehot":
            part.encode = "onehot-dense"
    return prepared


def _name_missing(categories: np.ndarray) -> np.ndarray:
    if categories.dtype != object:
        return categories
    return np.array(["" if is_missing(value) else value for value in categories.tolist()], object)


def _shape_outputs(model: onnx.ModelProto, answers: Answers, path: Path) -> None:
    """Replace the outputs by those of the answers."""
    graph = model.graph
    _use_opset(model, _ML, OPSETS[_ML])
    given = [output.name for output in graph.output]
    made: dict[str, tuple[str, int | None]]
    if answers.kind == "numbers":
        made = {VALUES: (_cast(graph, given[0]), answers.width)}
    elif answers.kind == "probabilities":
        made = {PROBABILITIES: (_cast(graph, given[1]), answers.width)}
    elif answers.kind == "several":
        made = {PROBABILITIES: (_cast(graph, _join_labels(graph, given, answers, path)), answers.width)}
    elif answers.kind == "outliers":
        score = _reshape(graph, _cast(graph, given[1]), [-1])
        made = {PROBABILITIES: (_mark(graph, given[0], [-1, 1]), 2), SCORE: (score, None)}
    else:
        made = {PROBABILITIES: (_mark(graph, given[0], list(answers.classes)), answers.width)}
    del graph.output[:]
    for name, (tensor, width) in made.items():
        rename_tensor(graph, tensor, name)
        shape: list[str | int | None] = ["batch"] if width is None else ["batch", width]
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    for given_input in graph.input:
        given_input.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    _drop_unused(graph)


def _use_opset(model: onnx.ModelProto, domain: str, version: int) -> None:
    """Declare at least this version; skl2onnx declares only what its own nodes need."""
    found = next((entry for entry in model.opset_import if entry.domain == domain), None)
    if found is None:
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))
    else:
        found.version = max(found.version, version)


def _join_labels(graph: onnx.GraphProto, given: list[str], answers: Answers, path: Path) -> str:
    """The probabilities of several labels, [batch, labels], from the forms in which skl2onnx returns them."""
    kind = graph.output[1].type
    if kind.HasField("sequence_type"):  # for each label the probabilities of no and yes, [batch, 2]
        maker = next((node for node in graph.node if given[1] in node.output), None)
        if maker is None or maker.op_type != "SequenceConstruct" or len(maker.input) != answers.width:
            raise ExportError(f"{path}: skl2onnx returns the labels in an unknown form: import one label at a time")
        one = add_constant(graph, "yes", np.array([1]))
        return add_node(
            graph,
            "Concat",
            [add_node(graph, "Gather", [name, one], f"{name}_yes", axis=1) for name in list(maker.input)],
            "joined",
            axis=1,
        )
    if len(kind.tensor_type.shape.dim) == 3:  # [labels, batch, 2]
        one = add_constant(graph, "yes", np.array(1))
        yes = add_node(graph, "Gather", [given[1], one], "labels_yes", axis=2)
        return add_node(graph, "Transpose", [yes], "joined", perm=[1, 0])
    return given[1]


def _mark(graph: onnx.GraphProto, label: str, classes: list[Any]) -> str:
    """1 at the place of the predicted label, 0 elsewhere, [batch, labels]."""
    if isinstance(classes[0], str):
        numbered = add_node(
            graph,
            "LabelEncoder",
            [label],
            "place",
            domain=_ML,
            keys_strings=classes,
            values_int64s=list(range(len(classes))),
            default_int64=-1,
        )
        label, classes = numbered, list(range(len(classes)))
    column = _reshape(graph, label, [-1, 1])
    whole = add_node(graph, "Cast", [column], "whole", to=onnx.TensorProto.INT64)
    wanted = add_constant(graph, "classes", np.array([int(value) for value in classes])[None])
    return _cast(graph, add_node(graph, "Equal", [whole, wanted], "hit"))


def _reshape(graph: onnx.GraphProto, name: str, shape: list[int]) -> str:
    return add_node(graph, "Reshape", [name, add_constant(graph, "shape", np.array(shape))], f"{name}_column")


def _cast(graph: onnx.GraphProto, name: str) -> str:
    return add_node(graph, "Cast", [name], f"{name}_float", to=onnx.TensorProto.FLOAT)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes whose results nothing needs."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):  # they are in order
        if needed & set(node.output):
            needed |= {name for name in node.input if name} | _inner_names(node)
            kept.append(node)
    kept = [copy.deepcopy(node) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(kept)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    constants = [copy.deepcopy(tensor) for tensor in constants]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _inner_names(node: onnx.NodeProto) -> set[str]:
    """The tensors that the graphs inside a node read."""
    inner = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    return {name for graph in inner for each in graph.node for name in {*each.input, *_inner_names(each)}}
