"""Attention and related operators: axis 0 is the batch, and everything else is computed along."""

from collections.abc import Mapping, Sequence

from model_store.rows.facts import FIXED, Fact, Mixing, Rows, Unknown
from model_store.rows.rules.algebra import (
    all_on_first_axis,
    broadcast_to,
    expect_no_rows_along,
    expect_on,
    give_rows,
    read_first_axis,
)
from model_store.rows.rules.elementwise import join
from model_store.rows.sizes import ONE
from model_store.rows.steps import Rule, Step


def _attend(step: Step) -> list[Fact | None]:
    """ONNX's own Attention: axis 0 is the batch of queries, keys, values, masks and caches."""
    rows: Rows | None = None
    for at, fact in enumerate(step.facts):
        if fact is None:
            continue
        state = step.rows(at)
        if state is None:
            continue
        aligned = state
        if at == 3:  # a mask is aligned with [batch, heads, queries, keys] at its end
            aligned = state.at(state.axis + 4 - fact.rank)
        if aligned.axis != 0:
            raise Mixing("it attends over the rows")
        rows = join(rows, aligned)
    if rows is None:
        return give_rows(step, None)
    for at, fact in enumerate(step.facts):
        lies_along = fact is not None and (at != 3 or fact.rank == 4) and fact.rank > 0 and fact.dims[0] != ONE
        if lies_along and step.rows(at) is None:
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
    return give_rows(step, rows)


def _rotate(step: Step) -> list[Fact | None]:
    """RotaryEmbedding: data, then positions and tables of cosines and sines. In ONNX's own version the tables come
    first."""
    positions, tables = (1, (2, 3)) if step.node.domain else (3, (1, 2))
    rows = expect_on(step)
    for at in range(1, len(step.facts)):
        if not step.has(at):
            continue
        state, rank = step.rows(at), step.fact(at).rank
        if state is not None:
            if state.axis != 0 or rows is None or (at in tables and rank < 3):
                raise Mixing("positions lie across the rows")
            rows = join(rows, state)
        elif rows is not None and (rank == 3 or (at == positions and rank == 2)):
            expect_no_rows_along(step.fact(at), rows, rank)
    return give_rows(step, rows)


def _scatter_into_cache(step: Step) -> list[Fact | None]:
    """TensorScatter: each row's update is written into its own cache, along another axis."""
    rank = step.fact(0).rank
    if step.rows(0) is None or step.rows(1) is None or step.axis(rank, -2) == 0:
        raise Unknown("the cache or what is written into it has no rows on axis 0")
    return all_on_first_axis(step, (0, 1, 2))


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
        raise Unknown("a tensor that is the same for every row has its own length along the rows")
    return give_rows(step, rows)


def _embed(step: Step) -> list[Fact | None]:
    """EmbedLayerNormalization: ids, segments and mask are [batch, length]; positions too, or they are shared."""
    step.expect_fixed(2, 3, 4, 5, 6)
    return all_on_first_axis(step, (0, 1, 7, 8))


def _attend_packed(step: Step) -> list[Fact | None]:
    """Attention: queries, keys and values come from one input. Caches are [2, batch, ...]."""
    step.expect_fixed(1, 2)
    return _attend_with_cache(step, (0, 3, 5), cache=4)


def _attend_quantized(step: Step) -> list[Fact | None]:
    """QAttention, with scales and zero points that are the same for every row."""
    step.expect_fixed(1, 2, 3, 4, 6, 7)
    return _attend_with_cache(step, (0, 5), cache=8)


def _attend_with_cache(step: Step, places: Sequence[int], cache: int) -> list[Fact | None]:
    rows = read_first_axis(step, places)
    if step.has(cache):
        state = step.rows(cache)
        if state is None or state.axis != 1:
            raise Unknown("its cache has no rows on axis 1")
        rows = join(rows, state.at(0))
    present = FIXED if rows is None else rows.at(1)
    return [
        (step.give(present, output=at) if at else step.give(rows or FIXED)) if name else None
        for at, name in enumerate(step.node.outputs)
    ]


def _attend_heads(step: Step) -> list[Fact | None]:
    """MultiHeadAttention: queries, keys, values, a bias of the weights, masks, a bias of the scores, caches."""
    step.expect_fixed(3)
    return all_on_first_axis(step, (0, 1, 2, 4, 5, 6, 7, 8))


def _attend_groups(step: Step) -> list[Fact | None]:
    """GroupQueryAttention: queries, keys, values, caches, lengths; the total length and the tables are shared."""
    step.expect_fixed(6, 7, 8)
    return all_on_first_axis(step, (0, 1, 2, 3, 4, 5, 9, 10))


def _mix_experts(step: Step) -> list[Fact | None]:
    """MoE: each position of the data is routed by its own scores."""
    data, routes = step.rows(0), step.rows(1)
    step.expect_fixed_after(1)
    if data is None or routes is None or data.axis != 0 or routes.axis != 0:
        raise Unknown("the data or its routes have no rows on axis 0")
    places = step.fact(0).dims[1] if step.fact(0).rank == 3 else ONE
    if (routes.outer, routes.inner) != (data.outer, data.inner * places):
        raise Mixing("a row takes the route of another")
    return give_rows(step, data)


def _block_repeats(step: Step) -> list[Fact | None]:
    """NGramRepeatBlock: the tokens of a row so far, and its scores."""
    if step.rows(0) is None or step.rows(1) is None:
        raise Unknown("one side has no rows")
    return all_on_first_axis(step, (0, 1))


RULES: Mapping[str, Rule] = {
    "Attention": _attend,
    "RotaryEmbedding": _rotate,
    "TensorScatter": _scatter_into_cache,
}

CONTRIB: Mapping[str, Rule] = {
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skip_normalize),
    "RotaryEmbedding": _rotate,
    "EmbedLayerNormalization": _embed,
    "Attention": _attend_packed,
    "QAttention": _attend_quantized,
    "MultiHeadAttention": _attend_heads,
    "GroupQueryAttention": _attend_groups,
    "MoE": _mix_experts,
    "NGramRepeatBlock": _block_repeats,
}
