"""Operators of other domains: classical machine learning (ai.onnx.ml) and ONNX Runtime's own (com.microsoft)."""

from collections.abc import Mapping

from model_store.rows.facts import FIXED, Fact, Mixing, Rows, Unknown
from model_store.rows.rules.algebra import RULES as ALGEBRA
from model_store.rows.rules.algebra import all_on_first_axis, broadcast_to, give_rows, keep, multiply
from model_store.rows.rules.elementwise import RULES as ELEMENTWISE
from model_store.rows.rules.elementwise import broadcast, join
from model_store.rows.rules.indexing import RULES as INDEXING
from model_store.rows.sizes import ONE
from model_store.rows.steps import Rule, Step


def _table(step: Step) -> list[Fact | None]:
    """Estimators: one row of a table is one example; a vector is one example by itself."""
    if step.fact(0).rank < 2 and step.rows(0) is not None:
        raise Mixing("a vector is one example, so it computes over the rows")
    return keep(step)


def _columns(step: Step) -> list[Fact | None]:
    """Operators with one parameter for each column, or one for all."""
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
        places = [size for axis, size in enumerate(step.fact(1).dims) if axis != picks.axis]
        if any(size != ONE for size in places):
            raise Unknown("it picks several places for each row")
        return give_rows(step, picks.at(max(rank - 1, 1)))
    if rows is not None and rows.axis == rank - 1:
        raise Mixing("it picks rows of the batch by their place")
    return give_rows(step, rows)


def _join_columns(step: Step) -> list[Fact | None]:
    """FeatureVectorizer: tables side by side."""
    if any(fact is None or fact.rank != 2 for fact in step.facts):
        raise Unknown("it joins what is no table")
    return all_on_first_axis(step, range(len(step.facts)))


def _fused_multiply(step: Step) -> list[Fact | None]:
    if any(step.attribute(name, 0) for name in ("transA", "transB", "transBatchA", "transBatchB")):
        raise Unknown("it transposes")
    return multiply(step)


def _quantized_multiply(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(1)
    return multiply(step)


def _qlinear_binary(step: Step) -> list[Fact | None]:
    step.expect_fixed(1, 2, 4, 5, 6, 7)
    return [step.give(broadcast(step, (0, 3)))]


def _skip_normalize(step: Step) -> list[Fact | None]:
    """[batch, length, width] added to another, then normalised over the width."""
    rows, rank = step.rows(0), step.fact(0).rank
    skipped = broadcast_to(step, 1, rank)
    for found in (rows, skipped):
        if found is not None and found.axis == rank - 1:
            raise Mixing("it normalises over the rows")
    step.expect_fixed_after(1)
    if skipped is not None:
        rows = join(rows, skipped)
    elif rows is not None and step.fact(1).rank == rank and step.fact(1).dims[rows.axis] != ONE:
        raise Unknown("a fixed tensor lies along the rows")
    return give_rows(step, rows)


def _embed(step: Step) -> list[Fact | None]:
    """EmbedLayerNormalization: ids, segments and mask are [batch, length], positions too or the same for all."""
    step.expect_fixed(2, 3, 4, 5, 6)
    return all_on_first_axis(step, (0, 1, 7))


def _attend(step: Step) -> list[Fact | None]:
    """Attention: one input with queries, keys and values. Axis 0 of the data, masks and caches is the batch."""
    step.expect_fixed(1, 2)
    return _attend_on(step, (0, 3, 4, 5))


def _attend_heads(step: Step) -> list[Fact | None]:
    step.expect_fixed(3)
    return _attend_on(step, (0, 1, 2, 4, 5, 6, 7))


def _attend_on(step: Step, places: tuple[int, ...]) -> list[Fact | None]:
    """The cache of Attention is [2, batch, ...], and the mask may be one of each row's length."""
    facts = all_on_first_axis(step, places)
    if step.node.op == "Attention":
        rows = facts[0].rows if facts[0] is not None else None
        cached = [step.give(FIXED if rows is None else rows.at(1), output=1)] if len(step.node.outputs) > 1 else []
        return [facts[0], *cached]
    return facts


def _one_scale(step: Step) -> list[Fact | None]:
    raise Mixing("one scale is taken over the whole batch")


def _first(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    return give_rows(step, step.rows(0))


def _bias(step: Step) -> list[Fact | None]:
    return [step.give(broadcast(step, range(len(step.facts))))]


def _normalize(step: Step) -> list[Fact | None]:
    """Normalizer: each row of a table by itself; a vector as a whole."""
    return _table(step)


def _last_axis(step: Step) -> list[Fact | None]:
    """Products with packed weights: along the last axis."""
    step.expect_fixed_after(0)
    rows: Rows | None = step.rows(0)
    if rows is not None and rows.axis == step.fact(0).rank - 1:
        raise Mixing("it sums over the rows")
    return give_rows(step, rows)


_ESTIMATORS = (
    "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsembleClassifier TreeEnsembleRegressor "
    "TreeEnsemble"
)


def _tokenize(step: Step) -> list[Fact | None]:
    raise Mixing("it fills each row up to the longest of the batch")


ML: Mapping[str, Rule] = {
    **dict.fromkeys(_ESTIMATORS.split(), _table),
    **dict.fromkeys(("Binarizer", "CategoryMapper", "LabelEncoder"), _first),
    **dict.fromkeys(("Scaler", "Imputer"), _columns),
    "Normalizer": _normalize,
    "OneHotEncoder": _append_axis,
    "ArrayFeatureExtractor": _pick_columns,
    "FeatureVectorizer": _join_columns,
}

CONTRIB: Mapping[str, Rule] = {
    **dict.fromkeys(("Gelu", "FastGelu", "BiasGelu", "BiasAdd", "BiasSplitGelu"), _bias),
    **dict.fromkeys(("QuickGelu",), _first),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _qlinear_binary),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu"), _first),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "FusedConv", "NhwcConv", "NhwcMaxPool"), keep),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skip_normalize),
    **dict.fromkeys(("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"), _one_scale),
    **dict.fromkeys(("MatMulIntegerToFloat", "MatMulInteger16"), _quantized_multiply),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), _last_axis),
    "Tokenizer": _tokenize,
    "FusedMatMul": _fused_multiply,
    "FusedGemm": ALGEBRA["Gemm"],
    "LayerNormalization": ALGEBRA["LayerNormalization"],
    "SimplifiedLayerNormalization": ALGEBRA["SimplifiedLayerNormalization"],
    "RotaryEmbedding": ALGEBRA["RotaryEmbedding"],
    "GridSample": INDEXING["GridSample"],
    "QuantizeLinear": ELEMENTWISE["QuantizeLinear"],
    "DequantizeLinear": ELEMENTWISE["DequantizeLinear"],
    "EmbedLayerNormalization": _embed,
    "Attention": _attend,
    "MultiHeadAttention": _attend_heads,
}


def _count_words(step: Step) -> list[Fact | None]:
    """TfIdfVectorizer: a vector of texts is one document."""
    return _table(step)


TEXT: Mapping[str, Rule] = {"TfIdfVectorizer": _count_words}
