"""Products, reductions, normalisations and convolutions: operators that compute along some axes."""

from collections.abc import Mapping, Sequence

from model_store.rows.facts import FIXED, Fact, Failed, Mixing, Rows, Unknown
from model_store.rows.rules.elementwise import broadcast, join
from model_store.rows.sizes import ONE
from model_store.rows.steps import Rule, Step, norm

_COUNTS = Failed("mixing", "MaxPool counts the places of its maxima over the whole batch")


def keep(step: Step, *, least_axis: int = 0, most_axis: int | None = None) -> list[Fact | None]:
    """Outputs lie as the first input; its rows must be on an axis within these, the other inputs fixed."""
    step.expect_fixed_after(0)
    return give_rows(step, expect_on(step, least_axis, most_axis))


def expect_on(step: Step, least_axis: int = 0, most_axis: int | None = None, at: int = 0) -> Rows | None:
    rows = step.rows(at)
    if rows is not None and not least_axis <= rows.axis <= (least_axis if most_axis is None else most_axis):
        raise Mixing(f"it computes along axis {rows.axis}, on which the rows lie")
    return rows


def give_rows(step: Step, rows: Rows | None) -> list[Fact | None]:
    return step.give_all(rows or FIXED)


def avoid(step: Step, axes: Sequence[int], what: str) -> Rows | None:
    """The rows of the first input, if they lie on none of these axes. Raises Mixing."""
    rows = step.rows(0)
    if rows is not None and rows.axis in axes:
        raise Mixing(f"it {what} over the rows")
    return rows


def multiply(step: Step, left: int = 0, right: int = 1) -> list[Fact | None]:
    """Matrix products, stacked along the leading axes."""
    a, b = step.fact(left), step.fact(right)
    rank = max(a.rank, b.rank, 2)
    rows: Rows | None = None
    for fact, at, contracted in ((a, left, a.rank - 1), (b, right, max(b.rank - 2, 0))):
        state = step.rows(at)
        if state is None:
            continue
        if state.axis == contracted:
            raise Mixing("it sums over the rows")
        axis = state.axis + rank - fact.rank
        if fact is b and state.axis < contracted and a.rank == 1:
            raise Unknown("a vector times a stack of matrices")
        rows = join(rows, Rows(axis, state.outer, state.inner, state.even))
    if rows is None:
        return give_rows(step, None)
    both = step.rows(left) is not None and step.rows(right) is not None
    if both and rows.axis >= rank - 2:
        raise Mixing("every row meets every other")
    for fact, at in ((a, left), (b, right)):
        axis = rows.axis - (rank - fact.rank)
        if step.rows(at) is None and rows.axis < rank - 2 and axis >= 0 and fact.dims[axis] != ONE:
            raise Unknown("a fixed tensor lies along the rows")
    return give_rows(step, rows)


def _matmul_integer(step: Step) -> list[Fact | None]:
    step.expect_fixed(2, 3)
    return multiply(step)


def _qlinear_matmul(step: Step) -> list[Fact | None]:
    step.expect_fixed(1, 2, 4, 5, 6, 7)
    return multiply(step, 0, 3)


def _gemm(step: Step) -> list[Fact | None]:
    a, b = step.rows(0), step.rows(1)
    if a is not None and b is not None:
        raise Mixing("every row meets every other")
    rows = None
    if a is not None:
        rows = a.at(1 - a.axis if step.attribute("transA", 0) else a.axis)
        if rows.axis != 0:
            raise Mixing("it sums over the rows")
    elif b is not None:
        rows = b.at(1 - b.axis if step.attribute("transB", 0) else b.axis)
        if rows.axis != 1:
            raise Mixing("it sums over the rows")
    if step.has(2):
        step.rows(2)
        added = broadcast_to(step, 2, rank=2)
        if added is not None:
            rows = join(rows, added)
        elif rows is not None:
            _expect_no_rows_along(step.fact(2), rows, 2)
    return give_rows(step, rows)


def broadcast_to(step: Step, at: int, rank: int) -> Rows | None:
    state = step.rows(at)
    return None if state is None else state.at(state.axis + rank - step.fact(at).rank)


def _expect_no_rows_along(fact: Fact, rows: Rows, rank: int) -> None:
    axis = rows.axis - (rank - fact.rank)
    if axis >= 0 and fact.dims[axis] != ONE:
        raise Unknown("a fixed tensor lies along the rows")


def _first_axis(step: Step) -> list[Fact | None]:
    """Convolutions and pools: the batch is axis 0, all else is computed along or mixed."""
    return keep(step)


def _convolve(step: Step) -> list[Fact | None]:
    if step.rows(1) is not None:
        raise Unknown("its weights depend on the rows")
    return keep(step)


def _batch_normalize(step: Step) -> list[Fact | None]:
    if step.attribute("training_mode", 0) or (step.opset < 14 and sum(map(bool, step.node.outputs)) > 1):
        raise Mixing("it takes mean and variance over the batch")
    step.expect_fixed_after(0)
    rows = step.rows(0)
    if rows is not None and rows.axis == 1 and step.fact(0).rank > 1:
        raise Unknown("rows lie on the axis of the channels")
    return give_rows(step, rows)


def _layer_normalize(step: Step) -> list[Fact | None]:
    rank = step.fact(0).rank
    axis = norm(step.attribute("axis", -1), rank)
    step.expect_fixed_after(0)
    rows = expect_on(step, 0, axis - 1) if axis else avoid(step, range(rank), "normalises")
    for at in range(1, len(step.facts)):
        if rows is not None and step.has(at):
            _expect_no_rows_along(step.fact(at), rows, rank)
    return _reduced_statistics(step, rows)


def _reduced_statistics(step: Step, rows: Rows | None) -> list[Fact | None]:
    return step.give_all(rows or FIXED)


def _mean_variance(step: Step) -> list[Fact | None]:
    rank = step.fact(0).rank
    axes = step.attribute("axes") or ([0, 2, 3] if rank == 4 else [0, 2, 3, 4])
    return give_rows(step, avoid(step, [norm(axis, rank) for axis in axes], "normalises"))


def _lp_normalize(step: Step) -> list[Fact | None]:
    return give_rows(step, avoid(step, [step.axis(step.fact(0).rank, -1)], "normalises"))


def _softmax(step: Step) -> list[Fact | None]:
    """Before version 13 it computes along all axes from ``axis`` on."""
    rank = step.fact(0).rank
    if step.opset >= 13:
        return give_rows(step, avoid(step, [step.axis(rank, -1)], "normalises"))
    return give_rows(step, avoid(step, range(step.axis(rank, 1), rank), "normalises"))


def _reduce(step: Step) -> list[Fact | None]:
    rank, rows = step.fact(0).rank, step.rows(0)
    step.expect_fixed_after(0)
    axes = step.numbers(1) if step.has(1) else list(step.attribute("axes") or ())
    if axes is None:
        raise Unknown("the axes are not known")
    if not axes and step.attribute("noop_with_empty_axes", 0):
        return give_rows(step, rows)
    gone = {norm(axis, rank) for axis in axes} or set(range(rank))
    rows = avoid(step, sorted(gone), "computes one number")
    if rows is not None and not step.attribute("keepdims", 1):
        rows = rows.at(rows.axis - sum(at < rows.axis for at in gone))
    return give_rows(step, rows)


def _arg(step: Step) -> list[Fact | None]:
    rank = step.fact(0).rank
    axis = step.axis(rank, 0)
    rows = avoid(step, [axis], "picks one place")
    if rows is not None and axis < rows.axis and not step.attribute("keepdims", 1):
        rows = rows.at(rows.axis - 1)
    return give_rows(step, rows)


def _top_k(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    return give_rows(step, avoid(step, [step.axis(step.fact(0).rank, -1)], "sorts"))


def _cumulate(step: Step) -> list[Fact | None]:
    axes = step.numbers(1)
    if axes is None:
        raise Unknown("its axis is not known")
    return give_rows(step, avoid(step, [norm(axes[0], step.fact(0).rank)], "sums up"))


def _einsum(step: Step) -> list[Fact | None]:
    terms, result = _read_equation(step)
    rows: Rows | None = None
    letter = ""
    for at, term in enumerate(terms):
        state = step.rows(at)
        if state is None:
            continue
        if term.count(term[state.axis]) > 1:
            raise Mixing("it takes a diagonal of the rows")
        if letter and term[state.axis] != letter:
            raise Mixing("every row meets every other")
        letter = term[state.axis]
        rows = join(rows, state.at(0))
    if rows is None:
        return give_rows(step, None)
    if letter not in result:
        raise Mixing("it sums over the rows")
    for at, term in enumerate(terms):
        if step.rows(at) is None and letter in term and step.fact(at).dims[term.index(letter)] != ONE:
            raise Unknown("a fixed tensor lies along the rows")
    return give_rows(step, rows.at(result.index(letter)))


def _read_equation(step: Step) -> tuple[list[str], str]:
    """One letter for each axis of every operand and of the result; an ellipsis becomes upper-case Greek letters."""
    equation = step.text("equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted({c for term in terms for c in term if c.isalpha()})
        result = ("..." if "..." in left else "") + "".join(c for c in letters if left.count(c) == 1)
    hidden = [step.fact(at).rank - len(term.replace("...", "")) for at, term in enumerate(terms)]
    most = max([count for count, term in zip(hidden, terms, strict=True) if "..." in term], default=0)
    greek = "".join(chr(0x391 + i) for i in range(most))
    spelled = [t.replace("...", greek[most - n :] if n else "") for t, n in zip(terms, hidden, strict=True)]
    return spelled, result.replace("...", greek)


def _resize(step: Step) -> list[Fact | None]:
    rows = step.rows(0)
    step.expect_fixed(1)
    if rows is None:
        raise Unknown("a fixed tensor is resized by the number of rows")
    rank, axes = step.fact(0).rank, step.attribute("axes")
    places = [norm(axis, rank) for axis in axes] if axes is not None else list(range(rank))
    if step.text("coordinate_transformation_mode") == "tf_crop_and_resize" and rows.axis in places:
        raise Unknown("it crops")
    if rows.axis in places:
        if step.text("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise Unknown("one scale holds for several axes")
        at, length = places.index(rows.axis), step.fact(0).dims[rows.axis]
        scales, sizes = (2, 3) if step.opset >= 11 else (1, 9)
        if step.node.op == "Upsample" and step.opset < 9:
            same = list(step.attribute("scales"))[at] == 1
        elif step.has(sizes) and step.fact(sizes).dims[0] != 0:
            wanted = step.sizes(sizes)
            same = wanted is not None and wanted[at] == length
        else:
            factors = step.sizes(scales) or _first_numbers(step, scales)
            same = factors is not None and factors[at] == 1
        if not same:
            raise Mixing("it resizes the batch")
    return give_rows(step, rows)


def _first_numbers(step: Step, at: int) -> list[object] | None:
    """The elements of an input where some of them, such as 0.5, are no sizes."""
    values = step.fact(at).values
    return None if values is None else list(values.reshape(-1))


def _attend(step: Step) -> list[Fact | None]:
    """Attention as one operator: axis 0 is the batch of queries, keys, values, masks and caches."""
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
            raise Unknown("a fixed tensor lies along the rows")
    return give_rows(step, rows)


def _rotary(step: Step) -> list[Fact | None]:
    rows = expect_on(step)
    for at in range(1, len(step.facts)):
        state = step.rows(at) if step.has(at) else None
        if state is not None:
            if state.axis != 0 or rows is None:
                raise Mixing("positions lie across the rows")
            rows = join(rows, state)
        elif step.has(at) and at < 3 and step.fact(at).rank == 3 and rows is not None:
            _expect_no_rows_along(step.fact(at), rows, 3)
    return give_rows(step, rows)


def _deform(step: Step) -> list[Fact | None]:
    step.expect_fixed(1, 3)
    return all_on_first_axis(step, (0, 2, 4))


def all_on_first_axis(step: Step, places: Sequence[int]) -> list[Fact | None]:
    """The rows lie on axis 0 of all these inputs. Raises Unknown where one of them is fixed but for a length of 1."""
    rows: Rows | None = None
    for at in places:
        state = step.rows(at) if step.has(at) else None
        if state is not None:
            if state.axis != 0:
                raise Mixing(f"rows lie on axis {state.axis} of input {at}")
            rows = join(rows, state)
    for at in places:
        if rows is not None and step.has(at) and step.rows(at) is None and step.fact(at).dims[:1] not in ((), (ONE,)):
            raise Unknown("a fixed tensor lies along the rows")
    return give_rows(step, rows)


def _pool(step: Step) -> list[Fact | None]:
    """Its second output counts places over the whole batch."""
    first, *others = keep(step)
    return [first, *(None if other is None else Fact(_COUNTS, other.shape) for other in others)]


def _recur(step: Step) -> list[Fact | None]:
    """LSTM, GRU and RNN: [time, batch, features], or batch first with layout 1."""
    layout = step.attribute("layout", 0)
    where = 0 if layout else 1
    rows = step.rows(0)
    if rows is not None and rows.axis != where:
        raise Mixing("the rows lie on the axis of time or of features")
    step.expect_fixed(1, 2, 3, 7)
    for at, axis in ((4, 0), (5, where), (6, where)):
        if not step.has(at):
            continue
        state = step.rows(at)
        if state is None:
            if step.fact(at).dims[axis] != ONE or rows is not None:
                raise Unknown(f"input {at} is the same for all rows but not for any number of them")
        elif state.axis != axis:
            raise Mixing(f"the rows lie on axis {state.axis} of input {at}")
        else:
            rows = join(rows, state.at(where))
    if rows is None:
        return give_rows(step, None)
    first = rows.at(0 if layout else 2)
    return [
        step.give(first if at == 0 else rows, output=at) if name else None for at, name in enumerate(step.node.outputs)
    ]


def _sum_of(step: Step) -> list[Fact | None]:
    return [step.give(broadcast(step, range(len(step.facts))))]


_AXIS_0 = (
    "AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool LRN InstanceNormalization "
    "GroupNormalization DepthToSpace SpaceToDepth Col2Im"
)
_REDUCTIONS = (
    "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare"
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_AXIS_0.split(), _first_axis),
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recur),
    **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger"), _convolve),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"), _layer_normalize),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "MatMul": multiply,
    "MatMulInteger": _matmul_integer,
    "QLinearMatMul": _qlinear_matmul,
    "QLinearConv": keep,
    "DeformConv": _deform,
    "MaxPool": _pool,
    "Gemm": _gemm,
    "BatchNormalization": _batch_normalize,
    "MeanVarianceNormalization": _mean_variance,
    "LpNormalization": _lp_normalize,
    "TopK": _top_k,
    "CumSum": _cumulate,
    "CumProd": _cumulate,
    "Einsum": _einsum,
    "Attention": _attend,
    "RotaryEmbedding": _rotary,
}
