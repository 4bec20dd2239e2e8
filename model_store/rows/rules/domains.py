"""Rules for other domains: classical machine learning (ai.onnx.ml) and ONNX Runtime's own (com.microsoft)."""

from collections.abc import Mapping
from dataclasses import replace

from model_store.rows.facts import Fact, Filled, Mixing, Rows, Unknown
from model_store.rows.rules import attention, products
from model_store.rows.rules.algebra import RULES as ALGEBRA
from model_store.rows.rules.algebra import all_on_first_axis, avoid, give_rows, keep
from model_store.rows.rules.cutting import RULES as CUTTING
from model_store.rows.rules.cutting import concat
from model_store.rows.rules.elementwise import RULES as ELEMENTWISE
from model_store.rows.rules.elementwise import broadcast
from model_store.rows.rules.indexing import RULES as INDEXING
from model_store.rows.rules.layout import RULES as LAYOUT
from model_store.rows.rules.layout import relay
from model_store.rows.sizes import ONE, product
from model_store.rows.steps import Rule, Step


def _table(step: Step) -> list[Fact | None]:
    """Estimators: each row of a table is one example; a vector is a single example."""
    if step.fact(0).rank < 2 and step.rows(0) is not None:
        raise Mixing("a vector is a single example, so it computes over the rows")
    return keep(step)


def _columns(step: Step) -> list[Fact | None]:
    """Operators with one parameter per column, or one for all."""
    rows = step.rows(0)
    if rows is not None and rows.axis == step.fact(0).rank - 1 and step.fact(0).rank > 1:
        raise Unknown("the rows lie on the axis of the columns")
    several = max((len(v) for v in step.node.attributes.values() if isinstance(v, list)), default=1) > 1
    if rows is not None and step.fact(0).rank == 1 and several:
        raise Unknown("parameters lie along the rows")
    return give_rows(step, rows)


def _append_axis(step: Step) -> list[Fact | None]:
    """OneHotEncoder: categories become a new last axis."""
    return give_rows(step, step.rows(0))


def _pick_columns(step: Step) -> list[Fact | None]:
    """ArrayFeatureExtractor picks along the last axis; a vector becomes one row."""
    rows, picks, rank = step.rows(0), step.rows(1), step.fact(0).rank
    if picks is not None:
        if rows is not None:
            raise Mixing("every row picks from every other")
        dims = step.fact(1).dims
        flat = relay(picks, dims, (product(dims),))
        if not isinstance(flat, Rows):
            raise Unknown("the position of a row in its batch indexes a table")
        return give_rows(step, flat.at(max(rank - 1, 1)))
    if rows is not None and rows.axis == rank - 1:
        raise Mixing("it picks rows of the batch by position")
    return give_rows(step, rows)


def _join_columns(step: Step) -> list[Fact | None]:
    """FeatureVectorizer: tables side by side."""
    if any(fact is None or fact.rank != 2 for fact in step.facts):
        raise Unknown("it joins tensors that are no tables")
    return all_on_first_axis(step, range(len(step.facts)))


def _qlinear_binary(step: Step) -> list[Fact | None]:
    step.expect_fixed(1, 2, 4, 5, 6, 7)
    return [step.give(broadcast(step, (0, 3)))]


def _qlinear_where(step: Step) -> list[Fact | None]:
    step.expect_fixed(2, 3, 5, 6, 7, 8)
    return [step.give(broadcast(step, (0, 1, 4)))]


def _qlinear_concat(step: Step) -> list[Fact | None]:
    """Scale and zero point of the result, then each tensor with its own."""
    tensors = range(2, len(step.facts), 3)
    step.expect_fixed(*(at for at in range(len(step.facts)) if at not in tensors))
    if not step.has(2) or step.attribute("axis") is None:
        raise Unknown("the tensors that it joins are not known")
    step.read.update(tensors)
    return concat(replace(step, facts=step.facts[2::3]))


def _qlinear_softmax(step: Step) -> list[Fact | None]:
    """An attribute names the version of Softmax: before 13, it computes along all axes from ``axis`` on."""
    step.expect_fixed_after(0)
    rank = step.fact(0).rank
    axis = step.axis(rank, -1)
    last = axis + 1 if step.attribute("opset", 0) >= 13 else rank
    return give_rows(step, avoid(step, range(axis, last), "normalises"))


def _first(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    return give_rows(step, step.rows(0))


def _bias(step: Step) -> list[Fact | None]:
    return [step.give(broadcast(step, range(len(step.facts))))]


def _normalize(step: Step) -> list[Fact | None]:
    """Normalizer: each row of a table alone, or a vector as a whole."""
    return _table(step)


_ESTIMATORS = (
    "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsembleClassifier TreeEnsembleRegressor "
    "TreeEnsemble"
)


def _tokenize(step: Step) -> list[Fact | None]:
    """Tokenizer: one text per row, [batch] or [batch, 1], split into parts."""
    rows, filler = step.rows(0), step.attribute("pad_value")
    if (
        rows is None
        or rows.axis != 0
        or step.fact(0).dims[1:] not in ((), (ONE,))
        or (rows.outer, rows.inner) != (ONE, ONE)
        or not isinstance(filler, bytes)
    ):
        raise Mixing("it pads each row to the longest of the batch")
    return [Fact(Filled(filler), None)]


ML: Mapping[str, Rule] = {
    **dict.fromkeys(_ESTIMATORS.split(), _table),
    **dict.fromkeys(("Binarizer", "CategoryMapper", "LabelEncoder"), _first),
    **dict.fromkeys(("Scaler", "Imputer"), _columns),
    "Normalizer": _normalize,
    "OneHotEncoder": _append_axis,
    "ArrayFeatureExtractor": _pick_columns,
    "FeatureVectorizer": _join_columns,
}


def _unfold(step: Step) -> list[Fact | None]:
    """UnfoldTensor: windows along one axis, which become a new last axis."""
    rank = step.fact(0).rank
    return give_rows(step, avoid(step, [step.axis(rank, -1, "dim")], "takes windows"))


def _pool_masked(step: Step) -> list[Fact | None]:
    """MaxpoolWithMask: one mask for all channels of all rows, or one for each channel."""
    step.expect_fixed(1)
    batch, channels = step.fact(1).dims[:2]
    if batch != ONE or channels not in (ONE, step.fact(0).dims[1]):
        raise Unknown("the position of a row decides its mask")
    return keep(step)


CONTRIB: Mapping[str, Rule] = {
    **dict.fromkeys(("Gelu", "FastGelu", "BiasGelu", "BiasAdd", "BiasSplitGelu"), _bias),
    **dict.fromkeys(("QuickGelu", "MurmurHash3", "SampleOp"), _first),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _qlinear_binary),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu"), _first),
    "QLinearWhere": _qlinear_where,
    "QLinearConcat": _qlinear_concat,
    "QLinearSoftmax": _qlinear_softmax,
    "Pad": CUTTING["Pad"],
    "ExpandDims": LAYOUT["Unsqueeze"],
    "GatherND": INDEXING["GatherND"],
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearConv"), keep),
    **dict.fromkeys(("FusedConv", "NhwcConv", "NhwcFusedConv", "NhwcMaxPool"), keep),
    **dict.fromkeys(("DynamicQuantizeMatMul", "DynamicQuantizeLSTM"), INDEXING["DynamicQuantizeLinear"]),
    **dict.fromkeys(("Inverse", "Trilu"), LAYOUT["Det"]),
    **products.CONTRIB,
    **attention.CONTRIB,
    "Tokenizer": _tokenize,
    "UnfoldTensor": _unfold,
    "MaxpoolWithMask": _pool_masked,
    "LayerNormalization": ALGEBRA["LayerNormalization"],
    "SimplifiedLayerNormalization": ALGEBRA["SimplifiedLayerNormalization"],
    "GridSample": INDEXING["GridSample"],
    "QuantizeLinear": ELEMENTWISE["QuantizeLinear"],
    "DequantizeLinear": ELEMENTWISE["DequantizeLinear"],
}


def _count_words(step: Step) -> list[Fact | None]:
    """TfIdfVectorizer: a vector of texts is one document. Padding at its end counts only if it is searched for."""
    state = step.look(0).state
    if not isinstance(state, Filled):
        return _table(step)
    if state.filler in (step.attribute("pool_strings") or [state.filler]):
        raise Mixing("it counts the padding of shorter rows")
    return [step.give(Rows(0))]


TEXT: Mapping[str, Rule] = {"TfIdfVectorizer": _count_words}
