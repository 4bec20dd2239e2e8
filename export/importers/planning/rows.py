"""Tasks with one answer for a row: labels, vectors, masks, numbers."""

from math import prod

from export.errors import SpecError
from export.importers.changes.classes import AddProbabilities
from export.importers.changes.shapes import FlattenRows, PoolPlaces
from export.importers.planning.draft import (
    FLOATS,
    Draft,
    ask_labels,
    choose_output,
    holds_floats,
    resize,
    show,
    show_shape,
)
from export.importers.planning.texts import is_tagger, plan_tags, pool
from export.importers.sources.source import OnnxModel
from model_store.graph import Tensor
from model_store.tasks import Classes, Embedding, Regression, Segmentation

PROBABLE = ("Softmax", "Sigmoid", "TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier", "Normalizer")
"""Operators whose results are probabilities already."""
RAW = (
    "Gemm",
    "MatMul",
    "Add",
    "Conv",
    "Flatten",
    "Reshape",
    "Squeeze",
    "GlobalAveragePool",
    "ReduceMean",
    "LogSoftmax",
)
"""Operators after which softmax is still to come."""


def plan_classes(draft: Draft) -> None:
    """Find the output with the probabilities of the labels, or with scores that become probabilities."""
    if "classes" in draft.found.more:
        return
    if is_tagger(draft):
        plan_tags(draft)
        return
    ledger = draft.ledger
    output = choose_output(draft, "its scores", lambda tensor: _width(tensor) is not None)
    width = None if output is None else _width(output)
    labels = ask_labels(draft, "scores" if width is None else f"{width} scores")
    if output is None or labels is None:
        return
    if width != len(labels):
        raise SpecError(_differ(draft, output, len(labels)))
    maker = draft.maker(output.name)
    if len(output.shape) > 2:
        output = _flatten(draft, output)
    activation = _find_activation(draft, output.name, maker)
    if activation is None:
        return
    probabilities = output.name
    if activation != "none":
        probabilities = draft.choose_name("probabilities")
        change = AddProbabilities(output.name, probabilities, "sigmoid" if activation == "sigmoid" else "softmax")
        draft.change(change, output.name, output, resize(output, probabilities, output.shape))
    draft.answers |= {output.name, probabilities}
    multi_label = ledger.get("multi_label")
    draft.fields["classes"] = draft.make(
        Classes,
        "classes",
        probabilities=probabilities,
        logits=output.name if activation != "none" else None,
        multi_label=multi_label,
        threshold=ledger.get("threshold") if multi_label else None,
    )


def _width(tensor: Tensor) -> int | None:
    """The size of a row that is a vector, [batch, size] or [batch, size, 1, 1]; None for other rows."""
    if tensor.datatype not in FLOATS or len(tensor.shape) < 2:
        return None
    size, *others = tensor.shape[1:]
    return size if isinstance(size, int) and all(other == 1 for other in others) else None


def _differ(draft: Draft, output: Tensor, count: int) -> str:
    width = _width(output)
    where = f"{draft.name}: output {output.name!r} {show_shape(output)}"
    if width is None:
        return f"{where}: expected [batch, {count}], a score for each of the {count} labels"
    advice = "name each of them"
    if width == count + 1:
        advice = "one of them may mean 'none of these': give it a name too, at its position"
    return f"{where} has {width} scores, but there are {count} labels ({draft.ledger.origin('labels')}): {advice}"


def _flatten(draft: Draft, output: Tensor) -> Tensor:
    name = draft.choose_name(f"{output.name}_rows")
    size = prod(axis for axis in output.shape[1:] if isinstance(axis, int))
    flat = resize(output, name, [output.shape[0], size])
    draft.change(FlattenRows(output.name, name), output.name, flat)
    return flat


def _find_activation(draft: Draft, name: str, maker: str) -> str | None:
    """The function that turns the output into probabilities; None if it must be asked for."""
    ledger = draft.ledger
    if ledger.get("activation") is None:
        if ledger.get("multi_label") and maker in RAW:
            ledger.guess("activation", "sigmoid", "a row may have several labels")
        elif maker in PROBABLE:
            ledger.add("activation", "none", f"the graph: {maker} makes {name!r}")
        elif maker in RAW:
            ledger.guess("activation", "softmax", f"{maker} makes {name!r}, so it has scores of any size")
        else:
            by = f", which {maker} makes" if maker else ""
            ledger.ask(
                f"whether {name!r}{by}, has probabilities: give --activation none, or softmax or sigmoid to "
                "have them made"
            )
            return None
    activation = str(ledger.get("activation"))
    if activation == "sigmoid" or (activation == "none" and maker == "Sigmoid"):
        ledger.guess("multi_label", True, "each label has a probability of its own")
    return activation


def plan_vectors(draft: Draft) -> None:
    """Find the output with the vector."""
    ledger = draft.ledger
    output = choose_output(draft, "the vector", lambda t: _width(t) is not None or holds_floats(t, 3))
    if output is None:
        return
    has_places = holds_floats(output, 3)
    if has_places and "tokens" in draft.fields:
        pooled = pool(draft, output)
        if pooled is None:
            return
        output = pooled
    elif has_places:
        pooling = ledger.get("vectors.pooling")
        if pooling not in ("first", "mean"):
            ledger.ask(
                f"how {output.name!r} {show_shape(output)}, a vector for each place, becomes one "
                "vector: give --pooling first (such as a class token) or mean, or another output"
            )
            return
        vector = resize(output, draft.choose_name("vector"), [output.shape[0], output.shape[2]])
        draft.change(PoolPlaces(output.name, vector.name, pooling == "mean"), output.name, vector)
        output = vector
    elif _width(output) is None:
        raise SpecError(f"{draft.name}: output {show([output])}: expected a vector, floats [batch, size]")
    elif isinstance(draft.found.model, OnnxModel) and ledger.get("vectors.pooling") in ("first", "mean"):
        raise SpecError(
            f"{draft.name}: {ledger.origin('vectors.pooling')}: output {show([output])} has one vector for each row "
            "already: leave it out, or name another output"
        )
    elif len(output.shape) > 2:
        output = _flatten(draft, output)
    draft.answers.add(output.name)
    draft.fields["embedding"] = draft.make(
        Embedding,
        "vectors",
        output=output.name,
        normalise=ledger.get("vectors.normalise"),
        metric=ledger.get("vectors.metric"),
        threshold=ledger.get("threshold"),
    )


def plan_masks(draft: Draft) -> None:
    """Find the output with a label for each pixel."""
    ledger = draft.ledger
    output = choose_output(draft, "the mask", lambda tensor: len(tensor.shape) in (3, 4))
    labels = ask_labels(draft, "pixels")
    if output is None or labels is None:
        return
    ignored = ledger.get("ignored")
    if ignored is not None and ignored not in labels:
        raise SpecError(f"{draft.name}: --ignored {ignored}: expected one of the labels {', '.join(labels)}")
    draft.answers.add(output.name)
    draft.fields["segmentation"] = draft.make(
        Segmentation,
        "masks",
        output=output.name,
        threshold=ledger.get("threshold"),
        ignored=None if ignored is None else list(labels).index(ignored),
    )


def plan_numbers(draft: Draft) -> None:
    """Find the output with the numbers."""
    if "regression" in draft.found.more:
        return
    output = choose_output(
        draft, "the numbers", lambda tensor: tensor.datatype in FLOATS and len(tensor.shape) in (1, 2)
    )
    if output is None:
        return
    draft.answers.add(output.name)
    size = output.shape[1] if len(output.shape) > 1 else 1
    names = draft.ledger.get("labels") or ()
    if isinstance(size, int) and size > 1 and not names:
        draft.ledger.ask(f"what the {size} numbers are, in their order: give --labels a,b,c or a file")
        return
    draft.fields["regression"] = draft.make(Regression, "numbers", output=output.name, names=tuple(names))
    draft.ledger.facts.pop("labels", None)
